// A sequence that is split over ranks has the outputs and gradients of the whole.
#include <algorithm>
#include <cmath>
#include <iostream>

#include "framework/distributed/data_parallel.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/random.hpp"
#include "models/models.hpp"
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
                  << ": " << peak << " MiB at the peak ("
                  << static_cast<double>(all.peak) / (1 << 20) << " MiB in one process)\n";
    }
    const double share = static_cast<double>(own.peak) / static_cast<double>(all.peak);
    check(share <= 1.05 / ranks.size(), "a rank needs ", share, " of the memory of one process");
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
  std::ranges::fill(ends, 130);
  ends.back() = 137;
  both(ends);  // one in the middle has none
}

void long_sequence(const Communicator& ranks, const Words& words) {
  const Index time = std::stoll(words.at(0));
  compare(ranks, {1, 2, 32, 32}, even(time, ranks.size()), DType::float32, 1e-5, true);
}

// --- A whole model ------------------------------------------------------------------------------

LanguageModel make_model(const std::string& kind, const MixerConfig& mixer, DType dtype) {
  Rng rng(5);
  return LanguageModel({.body = {.vocabulary = 20,
                                 .width = 24,
                                 .layers = 2,
                                 .hidden = 32,
                                 .positions = 400,
                                 .dtype = dtype}},
                       mixer_factory(kind, mixer), rng);
}

MixerConfig mixer_of(DType dtype) {
  return {.attention = {.width = 24, .heads = 2, .deviation = 0.2, .dtype = dtype}};
}

// Loss and gradients of the parameters, of a sequence split at these places and of the whole; a
// third of the targets is ignored, and nearly all of the first rank's.
void compare_models(const Communicator& ranks, const std::vector<Index>& ends, DType dtype,
                    double tolerance) {
  const Index end = ends[static_cast<std::size_t>(ranks.rank())], time = ends.back();
  const Index begin = ranks.rank() == 0 ? 0 : ends[static_cast<std::size_t>(ranks.rank() - 1)];
  Rng rng(9);
  Tensor tokens({2, time}, DType::int64), targets({2, time}, DType::int64);
  for (Index i = 0; i < 2 * time; ++i) {
    const bool ignored = rng.below(3) == 0 || (i % time < ends.front() && i % time > 1);
    tokens.mutable_values<Index>()[static_cast<std::size_t>(i)] = rng.below(20);
    targets.mutable_values<Index>()[static_cast<std::size_t>(i)] = ignored ? -100 : rng.below(20);
  }
  const auto part = [&](const Tensor& x) { return slice(Var(x), 1, begin, end).value(); };
  LanguageModel split = make_model("vla", mixer_of(dtype), dtype);
  LanguageModel whole = make_model("vla", mixer_of(dtype), dtype);
  DataParallel parallel(ranks, parameters(split));
  Tape tape;
  const Tensor own_targets = part(targets);
  const auto counted =
      own_targets.elements() - std::ranges::count(own_targets.values<Index>(), -100);
  const Var loss = cross_entropy(split.split(part(tokens), ranks), own_targets);
  const auto [mean, share] = parallel.mean(loss, static_cast<double>(counted));
  const Gradients mine = parallel.backward(tape, loss, share);
  Tape other;
  const Var reference = cross_entropy(whole(tokens), targets);
  const Gradients theirs = other.backward(reference);
  check(std::abs(mean - reference.value().item()) <= tolerance, "losses ", mean, " and ",
        reference.value().item());
  double square = 0, norm = 0, largest = 0;
  const auto a = parameters(split), b = parameters(whole);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor x = mine[a[i].variable].to(DType::float64);
    const Tensor y = theirs[b[i].variable].to(DType::float64);
    for (std::size_t j = 0; j < x.values<double>().size(); ++j) {
      const double difference = x.values<double>()[j] - y.values<double>()[j];
      square += difference * difference;
      norm += std::pow(y.values<double>()[j], 2);
      largest = std::max(largest, std::abs(difference));
    }
  }
  const double difference = std::sqrt(square / norm);
  if (ranks.rank() == 0)
    std::cout << dtype << ", parts up to " << ends.front() << " ... " << time
              << ": gradients differ by " << difference << " (largest " << largest << ")"
              << std::endl;
  check(difference <= tolerance, "gradients differ by ", difference, "; at most ", tolerance);
}

void language_model(const Communicator& ranks, const Words&) {
  std::vector<Index> ends = even(400, ranks.size());
  compare_models(ranks, ends, DType::float32, 1e-5);
  compare_models(ranks, ends, DType::float64, 1e-10);
  // Shorter than a convolution, and an empty one.
  for (std::size_t r = 0; r < ends.size(); ++r) ends[r] = 2 * static_cast<Index>(r) + 2;
  compare_models(ranks, ends, DType::float64, 1e-10);
  std::ranges::fill(ends, 150);
  ends.back() = 151;
  compare_models(ranks, ends, DType::float64, 1e-10);
}

// What needs whole sequences says so.
void refused_models(const Communicator& ranks, const Words&) {
  const DType dtype = DType::float32;
  MixerConfig forgets = mixer_of(dtype), plain = mixer_of(dtype);
  forgets.forget = true;
  plain.attention.convolution = 0;
  const auto refused = [&](const std::string& kind, const MixerConfig& mixer,
                           const std::string& part) {
    LanguageModel model = make_model(kind, mixer, dtype);
    try {
      model.split(Tensor::zeros({1, 5}, DType::int64), ranks);
    } catch (const Error& error) {
      const std::string text = error.what();
      check(text.find(part) != std::string::npos && text.find('\n') == std::string::npos, kind,
            ": '", text, "' has no '", part, "'");
      return;
    }
    fail(kind, " was not refused");
  };
  refused("vla", forgets,
          "vla: sequences are split over ranks by exact VLA with its usual penalty");
  for (const char* kind : {"vla-v1", "vla-v3", "deltanet", "linear", "softmax"})
    for (const MixerConfig& mixer : {plain, mixer_of(dtype)})
      refused(kind, mixer, "this kind of model needs whole sequences");
}

}  // namespace

RankCases sequence_parallel_cases() {
  return {{"split_sequences", split_sequences},
          {"long_sequence", long_sequence},
          {"language_model", language_model},
          {"refused_models", refused_models}};
}

}  // namespace vla
