// The two recurrent operators against the same maths composed of primitive ops: outputs, states and
// every gradient.

#include "framework/ops/shaping.hpp"
#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "models/vla/penalty_tracker.hpp"
#include "tests/compare.hpp"
#include "tests/operator_results.hpp"

namespace vla {
namespace {

constexpr double kTolerance = 1e-10;

struct Sizes {
  Index batch = 2, time = 7, heads = 2, key = 5, value = 3;
  double largest = 0;  // of the directions of one token; 0: as the others
};

void set_rows(Tensor& x, Index t, double value) {  // all of token t, in the first sequence
  const Index row = x.elements() / std::max<Index>(x.size(0) * x.size(1), 1);
  for (Index i = 0; i < row && t < x.size(1); ++i)
    x.mutable_values<double>()[static_cast<std::size_t>(t * row + i)] = value;
}

void compare_delta_rule(const Sizes& n, bool key, bool gate, bool state) {
  Rng rng(3);
  const Shape keys{n.batch, n.time, n.heads, n.key}, values{n.batch, n.time, n.heads, n.value};
  std::vector<Tensor> inputs{rng.normal(keys, DType::float64),
                             rng.normal(keys, DType::float64, 0, 0.3),
                             rng.normal(values, DType::float64)};
  if (key) inputs.push_back(rng.normal(keys, DType::float64, 0, 0.3));
  if (gate) inputs.push_back(rng.uniform(values, DType::float64));
  if (state) inputs.push_back(rng.normal({n.batch, n.heads, n.value, n.key}, DType::float64));
  set_rows(inputs[1], 2, 0);  // a zero key
  set_rows(inputs.back(), 3, 0);
  const auto run = [&](auto op) {
    return results_and_gradients(inputs, [&](const std::vector<Var>& v) {
      DeltaRuleInputs in{.query = v[0], .coefficient = v[1], .value = v[2]};
      std::size_t next = 3;
      if (key) in.key = v[next++];
      if (gate) in.gate = v[next++];
      if (state) in.initial_state = v[next++];
      const DeltaRuleResult result = op(in);
      return std::vector<Var>{result.output, result.final_state};
    });
  };
  compare(run([](const DeltaRuleInputs& in) { return delta_rule(in); }),
          run([](const DeltaRuleInputs& in) { return composed_delta_rule(in); }), kTolerance);
}

struct Form {
  bool weights = false, forget = false;
  Index rank = 1, vectors = 1, restore_period = 0;
};

std::vector<Tensor> inverse_penalty_inputs(const Sizes& n, const Form& form) {
  Rng rng(4);
  const Shape tokens{n.batch, n.time, n.heads};
  std::vector<Tensor> inputs{
      rng.normal({n.batch, n.time, n.heads, form.vectors, n.key}, DType::float64),
      rng.normal({n.batch, n.time, n.heads, form.rank, n.key}, DType::float64),
      rng.uniform({n.heads}, DType::float64, 0.05, 1)};
  set_rows(inputs[1], 1, 0);                                 // no direction at all
  set_rows(inputs[1], 2, 0.5), set_rows(inputs[1], 3, 0.5);  // the same one twice
  if (n.largest > 0) set_rows(inputs[1], 4, n.largest);
  if (form.weights) {
    inputs.push_back(rng.uniform({n.batch, n.time, n.heads, form.rank}, DType::float64));
    set_rows(inputs.back(), 5, 0);
  }
  // The composed form never factorises M, so M must not vanish over a long sequence.
  const double least = n.time > 20 ? 0.97 : 0.5;
  if (form.forget) inputs.push_back(rng.uniform(tokens, DType::float64, least, 1));
  return inputs;
}

using PenaltyOperator = InversePenaltyResult (*)(const Var&, const Penalty&,
                                                 const InversePenaltyOptions&);
template <OperatorForm form>
InversePenaltyResult in_form(const Var& x, const Penalty& penalty,
                             const InversePenaltyOptions& given) {
  InversePenaltyOptions options = given;
  options.form = form;
  return inverse_penalty(x, penalty, options);
}
constexpr PenaltyOperator by_step = in_form<OperatorForm::step>;
constexpr PenaltyOperator by_chunk = in_form<OperatorForm::chunk>;

void compare_inverse_penalty(const Sizes& n, const Form& form, double tolerance,
                             PenaltyOperator actual = by_step,
                             PenaltyOperator reference = composed_inverse_penalty) {
  const std::vector<Tensor> inputs = inverse_penalty_inputs(n, form);
  const auto run = [&](PenaltyOperator op) {
    return results_and_gradients(inputs, [&](const std::vector<Var>& v) {
      Penalty penalty{.directions = v[1], .lambda0 = v[2]};
      std::size_t next = 3;
      if (form.weights) penalty.weights = v[next++];
      if (form.forget) penalty.forget = v[next++];
      const InversePenaltyResult result =
          op(v[0], penalty, InversePenaltyOptions{.restore_period = form.restore_period});
      return std::vector<Var>{result.output, Var(result.state.penalty)};
    });
  };
  compare(run(actual), run(reference), tolerance);
}

const std::vector<Form> kForms{{},
                               {.weights = true},
                               {.forget = true},
                               {.weights = true, .forget = true},
                               {.rank = 0},
                               {.weights = true, .forget = true, .rank = 3, .vectors = 2},
                               {.forget = true, .restore_period = 3},
                               {.weights = true, .forget = true, .rank = 2, .restore_period = 1},
                               {.weights = true, .forget = true, .restore_period = 40}};

}  // namespace

BOOST_AUTO_TEST_SUITE(operators)

BOOST_AUTO_TEST_CASE(delta_rule_equals_its_composed_form) {
  for (Index time : {0, 1, 7, 15, 16, 17, 40})
    for (int mask = 0; mask < 8; ++mask) BOOST_TEST_CONTEXT("T " << time << ", parts " << mask)
  compare_delta_rule({.time = time}, mask & 1, mask & 2, mask & 4);
}

BOOST_AUTO_TEST_CASE(delta_rule_at_odd_sizes) {
  compare_delta_rule({.batch = 1, .time = 1, .heads = 1, .key = 1, .value = 1}, true, true, true);
  compare_delta_rule({.batch = 0}, true, false, false);
  compare_delta_rule({.batch = 3, .time = 5, .heads = 1, .key = 17, .value = 33}, true, true, true);
}

BOOST_AUTO_TEST_CASE(delta_rule_is_the_same_on_one_thread_and_two) {
  const int before = thread_count();
  Rng rng(8);
  const Shape shape{3, 20, 2, 8};
  const DeltaRuleInputs in{.query = rng.normal(shape, DType::float32),
                           .key = rng.normal(shape, DType::float32, 0, 0.2),
                           .coefficient = rng.normal(shape, DType::float32, 0, 0.2),
                           .value = rng.normal(shape, DType::float32)};
  set_thread_count(1);
  const Tensor one = delta_rule(in).output.value();
  set_thread_count(2);
  const Tensor two = delta_rule(in).output.value();
  set_thread_count(before);
  BOOST_TEST(relative_difference(one, two) == 0);
}

BOOST_AUTO_TEST_CASE(delta_rule_refuses_shapes_that_do_not_fit) {
  const auto zeros = [](Shape shape) { return Var(Tensor::zeros(shape, DType::float32)); };
  BOOST_CHECK_EXCEPTION(
      delta_rule(
          {.query = zeros({1, 2, 3}), .coefficient = zeros({1, 2, 3}), .value = zeros({1, 2, 3})}),
      Error, says("delta_rule: query has shape (1, 2, 3); (B, T, H, d) is needed"));
  BOOST_CHECK_EXCEPTION(
      delta_rule({.query = zeros({1, 2, 3, 4}),
                  .coefficient = zeros({1, 2, 3, 5}),
                  .value = zeros({1, 2, 3, 6})}),
      Error, says("delta_rule: coefficient (1, 2, 3, 5) does not fit query (1, 2, 3, 4)"));
}

BOOST_AUTO_TEST_CASE(inverse_penalty_equals_its_composed_form) {
  for (Index time : {0, 1, 7, 20, 70})
    for (std::size_t i = 0; i < kForms.size(); ++i) {
      BOOST_TEST_CONTEXT("T " << time << ", form " << i)
      compare_inverse_penalty({.time = time}, kForms[i], 1e-9);
      // A huge direction makes the penalty ill-conditioned (1e9), which the composed form's
      // Sherman-Morrison steps feel.
      BOOST_TEST_CONTEXT("huge, T " << time << ", form " << i)
      compare_inverse_penalty({.time = time, .largest = 1e4}, kForms[i], 1e-5);
    }
}

BOOST_AUTO_TEST_CASE(inverse_penalty_by_chunk_equals_by_step) {
  for (Index time : {0, 1, 63, 64, 65, 199, 600})
    for (std::size_t i = 0; i < kForms.size(); ++i)
      BOOST_TEST_CONTEXT("T " << time << ", form " << i)
  compare_inverse_penalty({.time = time}, kForms[i], 1e-10, by_chunk, by_step);
  for (Index width : {1, 16, 33})
    compare_inverse_penalty({.time = 130, .key = width}, kForms[5], 1e-9, by_chunk, by_step);
  compare_inverse_penalty({.time = 200, .largest = 1e4}, kForms[5], 1e-6, by_chunk, by_step);
}

BOOST_AUTO_TEST_CASE(inverse_penalty_at_odd_sizes) {
  compare_inverse_penalty({.batch = 1, .time = 3, .heads = 1, .key = 1}, {.weights = true}, 1e-9);
  compare_inverse_penalty({.batch = 0}, {}, kTolerance);
  compare_inverse_penalty({.time = 4, .key = 17}, {.forget = true}, 1e-9);
}

BOOST_AUTO_TEST_CASE(the_refresh_keeps_float32_close_to_float64) {
  // Keys that are all positive make A badly scaled: the case in which errors grow.
  Rng rng(21);
  const Shape shape{1, 4000, 1, 16};
  Tensor keys = rng.uniform(shape, DType::float64, 0.1, 1);
  for (auto& value : keys.mutable_values<double>()) value /= 2;
  const auto solve = [&](DType dtype) {
    return inverse_penalty(Var(keys.to(dtype)), {.directions = Var(keys.to(dtype)),
                                                 .lambda0 = Var(Tensor::full({1}, 0.1, dtype))})
        .output.value();
  };
  check_close(solve(DType::float32), solve(DType::float64), 2e-3);
}

BOOST_AUTO_TEST_CASE(the_tracker_inverts_its_penalty) {
  PenaltyTracker tracker(6, 0.1);
  Rng rng(2);
  for (int t = 0; t < 150; ++t) {
    const Tensor u = rng.normal({6}, DType::float64);
    tracker.forget(0.97);
    tracker.add(u.data<double>(), 0.5);
    tracker.close_token(10);
    for (Index i = 0; i < 6; ++i)
      for (Index j = 0; j < 6; ++j) {
        double product = 0;
        for (Index k = 0; k < 6; ++k)
          product += tracker.penalty()[static_cast<std::size_t>(i * 6 + k)] *
                     tracker.inverse()[static_cast<std::size_t>(k * 6 + j)];
        BOOST_TEST(std::abs(product - (i == j)) < 1e-10);
      }
  }
}

BOOST_AUTO_TEST_CASE(inverse_penalty_refuses_bad_values) {
  const Var x(Tensor::zeros({1, 2, 1, 3}, DType::float64));
  const Penalty good{.directions = x, .lambda0 = Var(Tensor::full({1}, 0.1, DType::float64))};
  Penalty bad = good;
  bad.lambda0 = Var(Tensor::zeros({1}, DType::float64));
  BOOST_CHECK_EXCEPTION(
      inverse_penalty(x, bad), Error,
      says("inverse penalty: lambda0 of head 0 is 0; a positive number is needed"));
  bad = good;
  bad.forget = Var(Tensor::zeros({1, 2, 1}, DType::float64));
  BOOST_CHECK_EXCEPTION(
      inverse_penalty(x, bad), Error,
      says("inverse penalty: forgetting factor 0 of sequence 0, head 0 at token 0; 0 < gamma <= "
           "1 is needed"));
  bad = good;
  bad.weights = Var(Tensor::full({1, 2, 1}, -5, DType::float64));
  BOOST_CHECK_EXCEPTION(inverse_penalty(x, bad), Error,
                        says("inverse penalty: weight -5 of sequence 0, head 0 at token 0; 0 or "
                             "more is needed"));
  bad = good;
  bad.directions = Var(Tensor::full({1, 2, 1, 3}, INFINITY, DType::float64));
  BOOST_CHECK_EXCEPTION(
      inverse_penalty(x, bad), Error,
      says("inverse penalty: the direction of sequence 0, head 0 at token 0 is not "
           "finite"));
  bad = good;
  bad.directions = Var(Tensor::zeros({1, 3, 1, 3}, DType::float64));
  BOOST_CHECK_EXCEPTION(inverse_penalty(x, bad), Error,
                        says("inverse_penalty: directions (1, 3, 1, 3) do not fit x (1, 2, 1, 3)"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
