// A sequence that is split over ranks has the outputs and gradients of the whole.
#include <algorithm>
#include <cmath>
#include <iostream>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "models/vla/sequence_parallel.hpp"
#include "tests/ranks/cases.hpp"

namespace vla {
namespace {

struct Sizes {
  Index batch, heads, key, value;
};

// q, k, v, beta of all tokens, lambda0, and what the loss weighs the output with.
struct Whole {
  Tensor query, key, value, weight, lambda0, loss_weight;

  Whole(const Sizes& n, Index time, DType dtype) {
    Rng rng(11);
    const auto unit_rows = [&] {
      return unit(elu_plus_one(Var(rng.normal({n.batch, time, n.heads, n.key}, dtype))), 1e-6)
          .value();
    };
    query = unit_rows();
    key = unit_rows();
    value = rng.normal({n.batch, time, n.heads, n.value}, dtype);
    weight = rng.uniform({n.batch, time, n.heads}, dtype);
    lambda0 = rng.uniform({n.heads}, dtype, 0.1, 0.5);
    loss_weight = rng.normal(value.shape(), dtype);
  }
};

struct Outcome {
  Tensor output;
  std::vector<Tensor> gradients;  // of q, k, v, beta, lambda0
  std::size_t peak = 0;           // bytes of tensors, beside those of the whole
};

// Of tokens begin .. end-1, by `op`.
template <class Op>
Outcome run(const Whole& whole, Index begin, Index end, Op op) {
  const auto part = [&](const Tensor& x) {
    return Var::parameter(slice(Var(x), 1, begin, end).value());
  };
  const std::size_t beside = memory_statistics().live;
  const LeastSquaresInputs in{.query = part(whole.query),
                              .key = part(whole.key),
                              .value = part(whole.value),
                              .weight = part(whole.weight),
                              .lambda0 = Var::parameter(whole.lambda0.clone())};
  const Var weights(part(whole.loss_weight).value());
  reset_peak_memory();
  Outcome result;
  {
    Tape tape;
    const Var output = op(in);
    result.output = output.value();
    const Gradients g = tape.backward(sum(square(output) * weights));
    for (const Var* each : {&in.query, &in.key, &in.value, &in.weight, &in.lambda0})
      result.gradients.push_back(g[*each]);
  }
  result.peak = memory_statistics().peak - beside;
  return result;
}

// Splits `time` tokens at these places and compares with the whole, which every rank computes.
double compare(const Communicator& ranks, const Sizes& n, const std::vector<Index>& ends,
               DType dtype, double tolerance, bool print = false) {
  const Index time = ends.back(), end = ends[static_cast<std::size_t>(ranks.rank())];
  const Index begin = ranks.rank() == 0 ? 0 : ends[static_cast<std::size_t>(ranks.rank() - 1)];
  const Whole whole(n, time, dtype);
  Outcome own = run(whole, begin, end, [&](const LeastSquaresInputs& in) {
    return sequence_parallel_least_squares(in, ranks);
  });
  const Outcome all = run(whole, 0, time, [&](const LeastSquaresInputs& in) {
    return recursive_least_squares(in).output;
  });
  // Against the size of the whole: a short part may be small by chance.
  ranks.sum(own.gradients[4]);
  double worst = 0;
  const char* names[] = {"output", "dq", "dk", "dv", "dbeta", "dlambda0"};
  std::string text;
  for (std::size_t i = 0; i < 6; ++i) {
    const Tensor& mine = i == 0 ? own.output : own.gradients[i - 1];
    const Tensor& theirs = i == 0 ? all.output : all.gradients[i - 1];
    const Tensor part = i == 5 ? theirs : slice(Var(theirs), 1, begin, end).value();
    const Tensor wide = part.to(DType::float64), other = mine.to(DType::float64);
    check(wide.shape() == other.shape(), names[i], " has shape ", other.shape());
    double square = 0, norm = 0;
    for (std::size_t j = 0; j < wide.values<double>().size(); ++j)
      square += std::pow(wide.values<double>()[j] - other.values<double>()[j], 2);
    const Tensor everything = theirs.to(DType::float64);
    for (double x : everything.values<double>()) norm += x * x;
    const double difference = std::sqrt((i == 5 ? square : ranks.sum(square)) / norm);
    text += concatenate(i == 0 ? "" : ", ", names[i], " ", difference);
    check(difference <= tolerance, names[i], " differs by ", difference, "; at most ", tolerance);
    worst = std::max(worst, difference);
  }
  if (print) {
    const double largest = static_cast<double>(own.peak) / (1 << 20);
    for (int r = 0; r < ranks.size(); ++r) {
      const double peak = ranks.broadcast(largest, r);
      if (ranks.rank() == 0)
        std::cout << dtype << ", " << time << " tokens, rank " << r << " of " << ranks.size()
                  << ": " << peak << " MiB at the peak (" << static_cast<double>(all.peak) / (1 << 20)
                  << " MiB in one process)\n";
    }
    if (ranks.rank() == 0) std::cout << "  relative differences: " << text << std::endl;
  }
  return worst;
}

std::vector<Index> even(Index time, int ranks) {
  std::vector<Index> ends;
  for (Index r = 1; r <= ranks; ++r) ends.push_back(time * r / ranks);
  return ends;
}

// Parts of one length and of others, short ones and some without a token.
void split_sequences(const Communicator& ranks, const Words&) {
  const Sizes n{2, 2, 16, 12};
  const auto both = [&](const std::vector<Index>& ends) {
    const double narrow = compare(ranks, n, ends, DType::float32, 1e-5);
    const double wide = compare(ranks, n, ends, DType::float64, 1e-10);
    if (ranks.rank() == 0)
      std::cout << "parts up to " << ends.front() << " ... " << ends.back() << ": " << narrow
                << " in float32, " << wide << " in float64" << std::endl;
  };
  both(even(2048, ranks.size()));
  both(even(301, ranks.size()));
  std::vector<Index> ends(static_cast<std::size_t>(ranks.size()), 100);
  both(ends);  // the first has all
  std::ranges::fill(ends, 0);
  ends.back() = 100;
  both(ends);  // the last has all
  ends.back() = 1;
  both(ends);
  for (std::size_t r = 0; r < ends.size(); ++r) ends[r] = static_cast<Index>(3 * r + 2);
  both(ends);
  for (std::size_t r = 0; r < ends.size(); ++r) ends[r] = 130 + static_cast<Index>(r % 2 * 7);
  both(ends);  // one in the middle has none
}

void long_sequence(const Communicator& ranks, const Words& words) {
  const Index time = std::stoll(words.at(0));
  compare(ranks, {1, 2, 32, 32}, even(time, ranks.size()), DType::float32, 1e-5, true);
}

}  // namespace

RankCases sequence_parallel_cases() {
  return {{"split_sequences", split_sequences}, {"long_sequence", long_sequence}};
}

}  // namespace vla
