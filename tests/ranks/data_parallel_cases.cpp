// Training on several ranks is training on one with all of their examples.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>

#include "framework/distributed/data_parallel.hpp"
#include "framework/diverged.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/optim/optimizer.hpp"
#include "models/models.hpp"
#include "tests/ranks/cases.hpp"

namespace vla {
namespace {

constexpr Index kRows = 4, kTime = 24, kVocabulary = 16, kIgnored = -100;
constexpr int kSteps = 20;

struct Examples {
  Tensor tokens, targets;
  Index counted() const {
    const auto all = targets.values<Index>();
    return static_cast<Index>(all.size()) - std::ranges::count(all, kIgnored);
  }
  Examples rows(Index begin, Index end) const {
    return {slice(Var(tokens), 0, begin, end).value(), slice(Var(targets), 0, begin, end).value()};
  }
};

// In the first of `parts` nearly all targets are ignored, and in step 3 all.
Examples draw(Index rows, Index parts, int step, Rng& rng) {
  Tensor tokens({rows, kTime}, DType::int64), targets({rows, kTime}, DType::int64);
  auto token = tokens.mutable_values<Index>(), target = targets.mutable_values<Index>();
  for (std::size_t i = 0; i < token.size(); ++i) {
    token[i] = rng.below(kVocabulary);
    const bool few = static_cast<Index>(i) < rows / parts * kTime;
    const bool ignored = few ? rng.below(10) > 0 || step == 3 : rng.below(3) == 0;
    target[i] = ignored ? kIgnored : rng.below(kVocabulary);
  }
  return {tokens, targets};
}

LanguageModel make(DType dtype, std::uint64_t seed) {
  Rng rng(seed);
  const MixerConfig mixer{
      .attention = {.width = 32, .heads = 2, .deviation = 0.02, .dtype = dtype}};
  return LanguageModel({.body = {.vocabulary = kVocabulary,
                                 .width = 32,
                                 .layers = 2,
                                 .hidden = 48,
                                 .positions = kTime,
                                 .dtype = dtype}},
                       mixer_factory("vla", mixer), rng);
}

template <class Rule>
void compare(const Communicator& ranks, DType dtype, double tolerance, Rule make_rule,
             DataParallelOptions options) {
  // Other parameters on every rank, until those of rank 0 come.
  LanguageModel split = make(dtype, 7 + static_cast<std::uint64_t>(ranks.rank()));
  LanguageModel whole = make(dtype, 7);
  DataParallel parallel(ranks, parameters(split), options);
  auto split_rule = make_rule(parameters(split)), whole_rule = make_rule(parameters(whole));
  Rng rng(3);
  double worst_loss = 0;
  for (int step = 0; step < kSteps; ++step) {
    const Examples all = draw(kRows * ranks.size(), ranks.size(), step, rng);
    const Examples own = all.rows(kRows * ranks.rank(), kRows * (ranks.rank() + 1));
    double together = 0;
    {
      Tape tape;
      const Var loss = cross_entropy(split(own.tokens), own.targets);
      const auto [mean, share] = parallel.mean(loss, static_cast<double>(own.counted()));
      together = mean;
      split_rule.step(parallel.backward(tape, loss, share), {.clip = 0.5});
    }
    Tape tape;
    const Var loss = cross_entropy(whole(all.tokens), all.targets);
    worst_loss = std::max(worst_loss, std::abs(loss.value().item() - together));
    whole_rule.step(tape.backward(loss), {.clip = 0.5});
  }
  double worst = 0;
  const auto a = parameters(split), b = parameters(whole);
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, largest_difference(a[i].variable.value(), b[i].variable.value()));
  if (ranks.rank() == 0)
    std::cout << dtype << ", " << parallel.buckets() << " buckets: parameters differ by " << worst
              << ", losses by " << worst_loss << std::endl;
  check(worst <= tolerance, "parameters differ by ", worst, "; at most ", tolerance);
  check(worst_loss <= tolerance, "losses differ by ", worst_loss, "; at most ", tolerance);
}

void sgd_in_float32(const Communicator& ranks, const Words&) {
  const auto rule = [](std::vector<Parameter> p) { return Sgd(std::move(p), {.rate = 0.1}); };
  compare(ranks, DType::float32, 1e-6, rule, {});
  compare(ranks, DType::float32, 1e-6, rule, {.bucket_bytes = 4096});
  compare(ranks, DType::float32, 1e-6, rule, {.overlap = false});
}

void adamw_in_float64(const Communicator& ranks, const Words&) {
  const auto rule = [](std::vector<Parameter> p) {
    return AdamW(std::move(p), {.rate = 1e-3, .weight_decay = 0.01});
  };
  compare(ranks, DType::float64, 1e-10, rule, {.bucket_bytes = 10000});
}

// A parameter that took part on one rank alone has a gradient on all; one that took part nowhere
// has none.
void parts_of_a_model(const Communicator& ranks, const Words&) {
  std::vector<Parameter> all;
  for (const char* name : {"everywhere", "last", "nowhere"})
    all.push_back(
        {name, Var::parameter(Tensor::full({3}, ranks.rank() + 1, DType::float64), name)});
  DataParallel parallel(ranks, all);
  const bool last = ranks.rank() == ranks.size() - 1;
  Tape tape;
  Var loss = sum(all[0].variable);
  if (last) loss = loss + sum(all[1].variable);
  const auto [mean, share] = parallel.mean(loss, 2);
  const Gradients g = parallel.backward(tape, loss, share);
  check(std::abs(g[all[0].variable].at<double>({0}) - 1) < 1e-15, "everywhere");
  check(std::abs(g[all[1].variable].at<double>({0}) - 1.0 / ranks.size()) < 1e-15, "last");
  check(g.find(all[2].variable) == nullptr, "nowhere");
  check(all[2].variable.value().at<double>({0}) == 1, "not the values of rank 0");
}

// Its value; what goes back through it is refused.
Var refuse(const Var& x) {
  return record("refuse", x.value().clone(), {x}, {},
                [](const BackwardContext&) -> std::vector<Tensor> {
                  throw Diverged("refused on this rank");
                });
}

// What an operator of the last rank refuses in backward is NaN on all, which all skip.
void one_diverges(const Communicator& ranks, const Words&) {
  for (const bool overlap : {true, false}) {
    std::vector<Parameter> all;
    for (const char* name : {"a", "b", "c"})
      all.push_back({name, Var::parameter(Tensor::full({3}, 2, DType::float64), name)});
    DataParallel parallel(ranks, all,
                          {.bucket_bytes = 1, .overlap = overlap, .nan_for_diverged = true});
    AdamW adam(all, {.rate = 0.1});
    const bool last = ranks.rank() == ranks.size() - 1;
    for (int step = 0; step < 4; ++step) {
      const bool refuses = step == 1 || step == 2;
      const Var b = all[1].variable;
      Tape tape;
      Var loss = sum(all[0].variable);
      loss = loss + sum(last && refuses ? refuse(b) : b);
      loss = loss + sum(all[2].variable);
      const Gradients g = parallel.backward(tape, loss, 1.0 / ranks.size());
      for (const Parameter& parameter : all) {
        const double value = g[parameter.variable].at<double>({0});
        const bool reached = overlap && parameter.name == "c";  // backward came to it before
        check(refuses && !reached ? std::isnan(value) : std::abs(value - 1) < 1e-15, "step ", step,
              ", ", parameter.name, ": ", value);
      }
      adam.step(g, {.non_finite = NonFinite::skip});
    }
    check(adam.steps() == 4 && adam.skipped_steps() == 2, adam.skipped_steps(), " steps skipped");
    for (const Parameter& parameter : all) {
      Tensor difference = parameter.variable.value().clone();
      ranks.broadcast(difference);
      check(largest_difference(difference, parameter.variable.value()) == 0, "other parameters");
      check(parameter.variable.value().at<double>({0}) < 2, "nothing moved");
    }
  }
}

// A kernel of one rank finds an upstream gradient that is not finite, which a GPU tells later.
// Words: the device.
void one_diverges_in_a_kernel(const Communicator& ranks, const Words& words) {
  const Device device = parse_device(words.at(0), ranks);
  Rng rng(1);
  const auto numbers = [&] { return rng.normal({1, 4, 1, 3}, DType::float32).to(device); };
  const Penalty penalty{.directions = Var(numbers()),
                        .lambda0 = Var(Tensor::full({1}, 1, DType::float32, device))};
  for (const bool overlap : {true, false}) {
    const Var w = Var::parameter(numbers(), "w");
    DataParallel parallel(ranks, {{"w", w}}, {.overlap = overlap, .nan_for_diverged = true});
    AdamW adam({{"w", w}}, {.rate = 0.1});
    for (int step = 0; step < 3; ++step) {
      const bool refuses = step == 1;
      Tape tape;
      const Var y = inverse_penalty(w, penalty).output;
      Var loss = sum(y);
      if (refuses && ranks.rank() == 0) loss = loss + sum(sqrt(y - y));  // 0, of infinite slope
      const Gradients g = parallel.backward(tape, loss, 1.0 / ranks.size());
      check(std::isnan(sum(Var(g[w])).value().item()) == refuses, "step ", step, ": ", g[w]);
      adam.step(g, {.non_finite = NonFinite::skip});
    }
    check(adam.skipped_steps() == 1, adam.skipped_steps(), " steps skipped");
  }
}

// What is refused when all gradients are with the others already ends it, and so does any refusal
// unless NaN was asked for.
void one_diverges_late(const Communicator& ranks, const Words&) {
  const bool last = ranks.rank() == ranks.size() - 1;
  const Var w = Var::parameter(Tensor::full({3}, 2, DType::float64), "w");
  const Var other = Var::parameter(Tensor::full({3}, 1, DType::float64), "other");
  for (const bool nan_for_diverged : {true, false}) {
    DataParallel parallel(ranks, {{"w", w}}, {.nan_for_diverged = nan_for_diverged});
    Tape tape;
    Var loss = sum(last ? refuse(other) : other);
    loss = loss + sum(w);
    std::string refusal;
    bool diverged = false;
    try {
      parallel.backward(tape, loss, 1.0 / ranks.size());
    } catch (const Error& error) {
      refusal = error.what();
      diverged = dynamic_cast<const Diverged*>(&error) != nullptr;
    }
    check(refusal.empty() == !last, "refusal: ", refusal);
    check(diverged == (last && !nan_for_diverged), "diverged: ", diverged);
    check(refusal.find("the others have the gradients") != std::string::npos || !last ||
              !nan_for_diverged,
          "refusal: ", refusal);
    ranks.sum(0);  // MPI moves in calls alone: the others wait for this rank's share
  }
}

// Not a test: what it is worth that gradients travel while backward makes others.
void time_of_overlap(const Communicator& ranks, const Words&) {
  Rng rng(1);
  const MixerConfig mixer{.attention = {.width = 256, .heads = 4}};
  LanguageModel model(
      {.body = {.vocabulary = 64, .width = 256, .layers = 6, .hidden = 1024, .positions = 64}},
      mixer_factory("vla", mixer), rng);
  DataParallel with(ranks, parameters(model)),
      without(ranks, parameters(model), {.overlap = false});
  const Tensor tokens = Tensor::zeros({4, 64}, DType::int64);
  std::vector<double> seconds[2];
  for (int step = 0; step < 42; ++step) {
    Tape tape;
    const Var loss = cross_entropy(model(tokens), tokens);
    ranks.sum(0);  // begin together
    const auto begin = std::chrono::steady_clock::now();
    (step % 2 == 0 ? with : without).backward(tape, loss, 1.0 / ranks.size());
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    if (step >= 2) seconds[step % 2].push_back(passed.count() * 1000);
  }
  for (auto& times : seconds) std::ranges::sort(times);
  if (ranks.rank() == 0)
    std::cout << parameter_count(model) << " parameters, " << with.buckets()
              << " buckets; backward with overlap " << seconds[0][10] << " ms (least "
              << seconds[0][0] << "), without " << seconds[1][10] << " ms (least " << seconds[1][0]
              << ")" << std::endl;
}

}  // namespace

RankCases data_parallel_cases() {
  return {{"sgd_in_float32", sgd_in_float32},
          {"adamw_in_float64", adamw_in_float64},
          {"parts_of_a_model", parts_of_a_model},
          {"one_diverges", one_diverges},
          {"one_diverges_late", one_diverges_late},
          {"time_of_overlap", time_of_overlap},
          {"one_diverges_in_a_kernel", one_diverges_in_a_kernel}};
}

}  // namespace vla
