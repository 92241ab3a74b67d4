#include "tools/attention_cases.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "models/attention.hpp"
#include "models/delta_rule.hpp"
#include "models/softmax_transformer/softmax_attention.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/recursive_least_squares.hpp"
#include "tools/settings.hpp"

namespace vla {
namespace {

// Operations forward, as models/vla/README.md counts them: products of chunks of about d tokens,
// of which a triangle counts half, so that a token and head takes so many d^2:
//   vla       kVlaOperations = 20: 10 multiply-adds for the inverse penalty and the memory together
//   deltanet  half of it: K A^T, Q A^T, the solution for E and (Q A^T) E, triangles; K S^T, Q S^T
//             and E^T A
//   linear    6: of those without the keys, Q K^T and (Q K^T) V, triangles; Q S^T and V^T K
// and with backward kOperationsWithBackward = 4 times as many. Softmax: Q K^T and W V, of which
// the causal half counts, 2 T d a token and head; with backward 3.5 times as many, because there
// are five such products backward (Q K^T again, dO V^T, W^T dO, dW K, dW^T Q).
template <int squares>
double of_square(const AttentionShape& shape) {
  return squares * shape.token_heads() * std::pow(static_cast<double>(shape.width), 2);
}
double of_softmax(const AttentionShape& shape) {
  return 2 * shape.token_heads() * static_cast<double>(shape.time * shape.width);
}
constexpr double kSoftmaxWithBackward = 3.5;

Var positive_unit(const Var& x) { return unit(elu_plus_one(x)); }

LeastSquaresInputs least_squares_inputs(const AttentionNumbers& numbers) {
  return {.query = numbers.spread(positive_unit(numbers.query)),
          .key = numbers.spread(positive_unit(numbers.key)),
          .value = numbers.spread(numbers.value),
          .weight = numbers.spread(numbers.weight),
          .lambda0 = Var::parameter(numbers.lambda0.value())};
}

std::vector<Var> parts_of(const LeastSquaresInputs& in) {
  return {in.query, in.key, in.value, in.weight, in.lambda0};
}

Workload least_squares(const AttentionNumbers& numbers) {
  const LeastSquaresInputs in = least_squares_inputs(numbers);
  return {parts_of(in), [=] { return recursive_least_squares(in).output; }};
}

DeltaRuleInputs delta_net_inputs(const AttentionNumbers& numbers) {
  const Var key = unit(numbers.key);
  return {.query = numbers.spread(unit(numbers.query)),
          .key = numbers.spread(key),
          .coefficient = numbers.spread(scale_heads(key, numbers.weight)),
          .value = numbers.spread(numbers.value)};
}

DeltaRuleInputs linear_inputs(const AttentionNumbers& numbers) {
  return {.query = numbers.spread(elu_plus_one(numbers.query)),
          .coefficient = numbers.spread(elu_plus_one(numbers.key)),
          .value = numbers.spread(numbers.value)};
}

std::vector<Var> parts_of(const DeltaRuleInputs& in) {
  std::vector<Var> parts;
  for (const Var& part : {in.query, in.key, in.coefficient, in.value})
    if (part.defined()) parts.push_back(part);
  return parts;
}

using MakeDeltaRule = DeltaRuleInputs (*)(const AttentionNumbers&);

template <MakeDeltaRule make>
Workload memory(const AttentionNumbers& numbers) {
  const DeltaRuleInputs in = make(numbers);
  return {parts_of(in), [=] { return delta_rule(in).output; }};
}

Workload softmax_alone(const AttentionNumbers& numbers) {
  const Var query = numbers.spread(numbers.query), key = numbers.spread(numbers.key),
            value = numbers.spread(numbers.value);
  return {{query, key, value}, [=] { return softmax_attention(query, key, value); }};
}

// The memory after one more token, from the one that was carried.
Tensor next_memory(DeltaRuleInputs in, const std::vector<Tensor>& carried) {
  if (!carried.empty()) in.initial_state = Var(carried[0]);
  return delta_rule(in).final_state.value();
}

template <MakeDeltaRule make>
AttentionStep memory_step(const AttentionNumbers& numbers) {
  const DeltaRuleInputs in = make(numbers);
  return {parts_of(in), [=](const std::vector<Tensor>& carried, Index) {
            return std::vector<Tensor>{next_memory(in, carried)};
          }};
}

// As models/vla/vla.cpp advances. Carried are S and the packed penalty, or S, M, A and the product
// of gamma.
AttentionStep least_squares_step(const AttentionNumbers& numbers) {
  const LeastSquaresInputs in = least_squares_inputs(numbers);
  return {
      parts_of(in), [=](const std::vector<Tensor>& carried, Index tokens) {
        if (has_least_squares_steps(in)) {
          LeastSquaresState state;
          if (!carried.empty()) state = {{carried[1], carried[2], carried[3]}, carried[0], tokens};
          state = least_squares_steps(in, state).state;
          const PackedPenalty& packed = state.penalty;
          return std::vector<Tensor>{state.memory, packed.penalty, packed.matrix, packed.diagonal};
        }
        PenaltyState before;
        if (!carried.empty()) before = {carried[1], carried[2], carried[3], tokens};
        const InversePenaltyResult solved = inverse_penalty(
            in.key, {.directions = in.key, .weights = in.weight, .lambda0 = in.lambda0},
            {.initial = before});
        const Tensor memory = next_memory({.query = in.query,
                                           .key = in.key,
                                           .coefficient = scale_heads(solved.output, in.weight),
                                           .value = in.value},
                                          carried);
        const PenaltyState& after = solved.state;
        return std::vector<Tensor>{memory, after.penalty, after.inverse, after.kept};
      }};
}

Index parse_size(std::string_view word) {
  Index size = 0;
  const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), size);
  return error == std::errc() && stop == word.data() + word.size() ? size : 0;
}

}  // namespace

std::string to_text(const AttentionShape& shape) {
  return concatenate(shape.batch, "x", shape.heads, "x", shape.time, "x", shape.width);
}

std::vector<AttentionShape> parse_attention_shapes(const std::string& name,
                                                   const std::string& text) {
  std::vector<AttentionShape> shapes;
  for (const std::string& word : split_list(text)) {
    std::vector<Index> sizes;
    std::istringstream numbers(word + "x");
    for (std::string number; std::getline(numbers, number, 'x');)
      sizes.push_back(parse_size(number));
    check(sizes.size() == 4 && std::ranges::min(sizes) >= 1, name, " '", word,
          "' is not allowed; four numbers of 1 or more, BxHxTxd, such as 8x16x1024x64");
    (void)Shape(sizes);  // throws if that is more than can be counted
    shapes.push_back({sizes[0], sizes[1], sizes[2], sizes[3]});
  }
  return shapes;
}

AttentionNumbers::AttentionNumbers(const AttentionShape& shape, DType dtype, Device device)
    : shape_(shape), dtype_(dtype), device_(device) {
  const DType drawn = dtype == DType::float64 ? DType::float64 : DType::float32;
  const Shape vectors{1, std::min(shape.time, kDrawnTokens), shape.heads, shape.width};
  Rng rng(1);
  for (Var* part : {&query, &key, &value, &upstream})
    *part = Var(rng.normal(vectors, drawn).to(device));
  weight = Var(rng.uniform(vectors.without(-1), drawn).to(device));
  lambda0 = Var(Tensor::full({shape.heads}, 0.1, drawn, device));
}

Var AttentionNumbers::spread(const Var& x) const {
  Var all = cast(x, dtype_);
  const auto repeat = [&](int axis, Index size) {
    const Index times = (size + all.size(axis) - 1) / all.size(axis);
    if (times > 1) all = concat(std::vector<Var>(static_cast<std::size_t>(times), all), axis);
    if (all.size(axis) > size) all = slice(all, axis, 0, size);
  };
  repeat(1, shape_.time);
  repeat(0, shape_.batch);
  return Var::parameter(all.value());
}

const std::vector<AttentionOperator>& attention_operators() {
  static const std::vector<AttentionOperator> operators = {
      {"vla", of_square<static_cast<int>(kVlaOperations)>, kOperationsWithBackward, least_squares,
       least_squares_step},
      {"deltanet", of_square<static_cast<int>(kVlaOperations) / 2>, kOperationsWithBackward,
       memory<delta_net_inputs>, memory_step<delta_net_inputs>},
      {"linear", of_square<6>, kOperationsWithBackward, memory<linear_inputs>,
       memory_step<linear_inputs>},
      {"softmax", of_softmax, kSoftmaxWithBackward, softmax_alone, nullptr}};
  return operators;
}

}  // namespace vla
