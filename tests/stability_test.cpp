// vla stability: the state of a memory over time against what theory bounds and what a direct
// computation gives; streaming in float32; what the command writes and refuses.

#include "framework/ops/xtensor.hpp"
// The door above comes first.
#include <nlohmann/json.hpp>
#include <set>
#include <xtensor-blas/xlinalg.hpp>

#include "framework/ops/shaping.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/program.hpp"
#include "tools/stability_models.hpp"
#include "tools/stability_streaming.hpp"

namespace vla {
namespace {

using Matrix = xt::xarray<double>;

Matrix outer(const Matrix& a, const Matrix& b) { return xt::linalg::outer(a, b); }
double frobenius(const Matrix& a) { return std::sqrt(xt::sum(a * a)()); }

// Token t of x (1, T, 1, d).
Matrix token(const Var& x, Index t) {
  Matrix result = xt::zeros<double>({x.size(3)});
  for (Index i = 0; i < x.size(3); ++i) result(i) = x.value().at<double>({0, t, 0, i});
  return result;
}

const StabilitySeries& series(const StabilityStates& states, const std::string& name) {
  for (const StabilitySeries& each : states.series)
    if (each.name == name) return each;
  fail("there is no series ", name);
}

// So short that the states of all tokens are listed.
StabilityOptions few(const std::string& model, const std::string& keys = "random") {
  return {.model = model, .time = 40, .dimensions = 5, .seed = 7, .keys = keys};
}

MemoryTokens features(const StabilityOptions& options) {
  return stability_model(options.model)
      .features(sequence_of(options).read(0, options.time).to(DType::float64, Device{}));
}

// What the norm of I - k alpha^T of exact VLA can be at most, with beta <= kappa lambda0: see
// models/vla/README.md, where c = alpha . k.
double largest_norm(double kappa) {
  double largest = 1;
  for (double c = 0; c < 1; c += 1e-4)
    largest =
        std::max(largest, std::sqrt(1 - c) * (std::sqrt(kappa * c) + std::sqrt(kappa * c + 4)) / 2);
  return largest;
}

void check_norms(const StabilitySeries& found, const std::vector<double>& expected) {
  BOOST_TEST_CONTEXT(found.name) {
    BOOST_REQUIRE(found.numbers.size() == expected.size());
    for (std::size_t t = 0; t < expected.size(); ++t)
      BOOST_TEST(std::abs(found.numbers[t] / expected[t] - 1) <= 1e-10, "token " << t);
    BOOST_TEST(found.range.max == *std::ranges::max_element(found.numbers));
    BOOST_TEST(found.range.min == *std::ranges::min_element(found.numbers));
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stability)

BOOST_AUTO_TEST_CASE(exact_vla_keeps_the_bounds_of_its_theory) {
  for (const char* keys : {"random", "repeated"})
    for (Index d : {2, 8, 32})
      for (std::uint64_t seed : {1, 2, 3}) {
        const StabilityStates states = measure_states(
            {.model = "vla", .time = 2001, .dimensions = d, .seed = seed, .keys = keys});
        BOOST_TEST_CONTEXT(keys << " keys, d = " << d << ", seed " << seed) {
          BOOST_TEST(series(states, "transition_radius").range.max <= 1 + 1e-9);
          BOOST_TEST(series(states, "transition_norm").range.max <= largest_norm(1 / 0.1));
          BOOST_TEST(series(states, "smallest_eigenvalue").range.min > 0);
          const StabilitySeries& inverse = series(states, "inverse_norm");
          BOOST_TEST(inverse.range.max == inverse.numbers.front());  // A only shrinks
          BOOST_TEST(inverse.range.min == inverse.last());
        }
      }
}

// One key over and over, then one that has a little of another direction: what random keys never
// do. An unweighted alpha of length 1 could not exceed 1.618.
BOOST_AUTO_TEST_CASE(the_norm_of_the_transition_comes_near_its_bound) {
  constexpr Index kTime = 20'001;
  const double aside = 0.267;
  Tensor keys({1, kTime, 1, 2}, DType::float64);
  for (Index t = 0; t < kTime; ++t) {
    const double second = t + 1 < kTime ? 0 : aside;
    keys.mutable_data<double>()[2 * t] = std::sqrt(1 - second * second);
    keys.mutable_data<double>()[2 * t + 1] = second;
  }
  const Var key(keys), beta(Tensor::full({1, kTime, 1}, 1, DType::float64));
  const Penalty penalty{
      .directions = key, .weights = beta, .lambda0 = Var(Tensor::full({1}, 0.1, DType::float64))};
  const Var alpha = inverse_penalty(key, penalty).output;
  const Diagnostics seen =
      diagnose({.memory = {.query = key, .key = key, .coefficient = alpha, .value = key},
                .penalty = penalty},
               {.every = kTime - 1});
  const auto norms = seen.transition_norm.values<double>();
  BOOST_TEST(norms.back() > 1.8);
  BOOST_TEST(*std::ranges::max_element(norms) <= largest_norm(1 / 0.1));
  BOOST_TEST(std::abs(largest_norm(10) - 1.8712) < 1e-3);
  for (double radius : seen.transition_radius.values<double>()) BOOST_TEST(radius <= 1 + 1e-9);
}

BOOST_AUTO_TEST_CASE(the_states_of_linear_attention_are_sums) {
  for (const char* keys : {"random", "repeated"}) {
    const StabilityOptions options = few("linear", keys);
    const MemoryTokens read = features(options);
    Matrix memory = xt::zeros<double>({options.dimensions, options.dimensions});
    std::vector<double> norms;
    for (Index t = 0; t < options.time; ++t) {
      memory += outer(token(read.value, t), token(read.key, t));
      norms.push_back(frobenius(memory));
    }
    const StabilityStates states = measure_states(options);
    check_norms(series(states, "memory_norm"), norms);
    BOOST_TEST(series(states, "transition_norm").range.max == 1);
    BOOST_TEST(states.series.size() == 3);  // no penalty
  }
}

BOOST_AUTO_TEST_CASE(the_states_of_exact_vla_are_ridge_regressions) {
  const StabilityOptions options = few("vla");
  const MemoryTokens read = features(options);
  const Index d = options.dimensions;
  Matrix moments = xt::zeros<double>({d, d}), penalty = 0.1 * xt::eye<double>(d);
  std::vector<double> memories, inverses, smallest, largest;
  for (Index t = 0; t < options.time; ++t) {
    const double rate = read.rate.value().at<double>({0, t, 0});
    const Matrix key = token(read.key, t);
    BOOST_TEST(std::abs(frobenius(key) - 1) <= 1e-12);
    penalty += rate * outer(key, key);
    moments += rate * outer(token(read.value, t), key);
    const Matrix inverse = xt::linalg::inv(penalty), of_m = xt::linalg::eigvalsh(penalty);
    memories.push_back(frobenius(xt::linalg::dot(moments, inverse)));
    inverses.push_back(frobenius(inverse));
    smallest.push_back(1 / of_m(d - 1));
    largest.push_back(1 / of_m(0));
  }
  const StabilityStates states = measure_states(options);
  check_norms(series(states, "memory_norm"), memories);
  check_norms(series(states, "inverse_norm"), inverses);
  check_norms(series(states, "smallest_eigenvalue"), smallest);
  check_norms(series(states, "largest_eigenvalue"), largest);
}

BOOST_AUTO_TEST_CASE(the_first_states_of_the_others) {
  const MemoryTokens read = features(few("deltanet"));
  BOOST_TEST(
      std::abs(series(measure_states(few("deltanet")), "memory_norm").numbers[0] /
                   (read.rate.value().at<double>({0, 0, 0}) * frobenius(token(read.value, 0))) -
               1) <= 1e-12);
  // A_1 = (lambda0 I + u u^T)^-1: lambda0 is 1 in version 1, 0.1 with |u|^2 = 1 / d in version 3.
  const StabilityStates v1 = measure_states(few("vla-v1")), v3 = measure_states(few("vla-v3"));
  BOOST_TEST(std::abs(series(v1, "largest_eigenvalue").numbers[0] - 1) <= 1e-12);
  BOOST_TEST(series(v1, "smallest_eigenvalue").numbers[0] < 1);
  BOOST_TEST(std::abs(series(v3, "largest_eigenvalue").numbers[0] - 10) <= 1e-12);
  BOOST_TEST(std::abs(series(v3, "smallest_eigenvalue").numbers[0] - 1 / (0.1 + 0.2)) <= 1e-12);
}

BOOST_AUTO_TEST_CASE(a_sequence_is_the_same_however_it_is_cut) {
  const RandomSequence sequence(3, 5, false), repeating(3, 5, true);
  const MemoryTokens whole = sequence.read(0, 600), first = sequence.read(0, 7),
                     rest = sequence.read(7, 593);
  check_close(concat({first.query, rest.query}, 1).value(), whole.query.value(), 0);
  check_close(concat({first.key, rest.key}, 1).value(), whole.key.value(), 0);
  check_close(concat({first.value, rest.value}, 1).value(), whole.value.value(), 0);
  check_close(concat({first.rate, rest.rate}, 1).value(), whole.rate.value(), 0);
  const Var keys = repeating.read(0, 600).key;
  std::set<float> different;
  for (Index t = 0; t < 600; ++t) different.insert(keys.value().at<float>({0, t, 0, 0}));
  BOOST_TEST(different.size() == 8);
}

BOOST_AUTO_TEST_CASE(the_first_and_the_last_token_are_always_among_those_listed) {
  for (Index time : {1, 2, 100, 1000, 3002, 20'000}) {
    const StabilityStates states = measure_states({.model = "vla", .time = time, .dimensions = 2});
    BOOST_TEST_CONTEXT(time << " tokens") {
      for (const StabilitySeries& each : states.series) {
        const std::vector<Index> places = each.places();
        BOOST_TEST(places.front() == 0);
        BOOST_TEST(places.back() == time - 1);
        BOOST_TEST(places.size() <= 200);
        BOOST_TEST(each.at(time - 1) == each.last());
        const bool of_eigenvalues = each.name.find("eigenvalue") != std::string::npos;
        BOOST_TEST(each.step == (of_eigenvalues ? states.every : 1));
      }
    }
  }
  BOOST_TEST(measure_states({.time = 1000, .dimensions = 2}).every == 9);
}

BOOST_AUTO_TEST_CASE(streamed_in_float32_outputs_stay_close_to_float64) {
  for (const char* model : {"vla", "deltanet", "linear"})
    for (const char* keys : {"random", "repeated"}) {
      const StreamedErrors found = measure_streaming(
          {.model = model, .time = 20'000, .dimensions = 16, .keys = keys}, Device{});
      BOOST_TEST_CONTEXT(model << ", " << keys << " keys") {
        BOOST_REQUIRE(found.blocks.size() == 2);
        BOOST_TEST(found.blocks[0].tokens == kStreamedBlock);
        BOOST_TEST(found.blocks[1].tokens == 20'000);
        for (const StreamedBlock& block : found.blocks) {
          BOOST_TEST(block.error > 0);
          BOOST_TEST(block.error <= found.largest.error);
        }
        // With few keys A stays 1 / lambda0 where no key ever points and shrinks along them, so
        // that rounding of A is large beside A k.
        BOOST_TEST(found.largest.error < (keys == std::string("repeated") ? 1e-3 : 1e-4));
      }
    }
  const StreamedErrors many = measure_streaming({.time = 20'000, .dimensions = 4}, Device{}, 64);
  BOOST_TEST(many.blocks.size() <= 200);
  BOOST_TEST(many.blocks.front().tokens == 64);
  BOOST_TEST(many.blocks.back().tokens == 20'000);
}

BOOST_AUTO_TEST_CASE(the_command_prints_and_writes_what_was_measured) {
  const Place place;
  const Outcome states =
      place.run("stability --model vla --time 40 --dimensions 5 --seed 7 --json states.json");
  BOOST_TEST(states.errors == "");
  BOOST_TEST(states.code == 0);
  check_contains(states.out, "memory_norm");
  const auto json = nlohmann::json::parse(read(place / "states.json"));
  const StabilityStates expected = measure_states(few("vla"));
  BOOST_TEST(json["model"] == "vla");
  BOOST_TEST(json["time"] == 40);
  BOOST_TEST(json["series"].size() == 6);
  for (const StabilitySeries& each : expected.series) {
    BOOST_TEST((json["series"][each.name]["numbers"] == nlohmann::json(each.numbers)));
    BOOST_TEST((json["series"][each.name]["tokens"][39] == 40));
    BOOST_TEST((json["max"][each.name] == nlohmann::json(each.range.max)));
    BOOST_TEST((json["last"][each.name] == nlohmann::json(each.last())));
  }

  const Outcome streamed = place.run(
      "stability --model deltanet --time 500 --dimensions 5 --against-float64 --json errors.json");
  BOOST_TEST(streamed.code == 0);
  check_contains(streamed.out, "largest: ");
  const auto errors = nlohmann::json::parse(read(place / "errors.json"));
  BOOST_TEST((errors["tokens"] == nlohmann::json({500})));
  BOOST_TEST((errors["error"][0] == errors["largest"]["error"]));
  BOOST_TEST(errors["error"][0].get<double>() > 0);
  BOOST_TEST(errors["seconds"]["float64"].get<double>() > 0);
}

BOOST_AUTO_TEST_CASE(what_is_not_allowed_is_refused) {
  const Place place;
  check_refused(place, "stability --model softmax",
                {"softmax keeps its tokens and has no state; allowed: vla, vla-v1, vla-v3"});
  check_refused(place, "stability --model best", {"unknown model 'best'; allowed: vla, vla-v1"});
  check_refused(place, "stability --model vla-v3 --against-float64",
                {"vla-v3 is not compared with float64; allowed: vla, deltanet, linear"});
  check_refused(place, "stability --time 0", {"--time 0 is not allowed; 1 or more"});
  check_refused(place, "stability --dimensions 0", {"--dimensions 0 is not allowed; 1 or more"});
  check_refused(place, "stability --keys zero", {"--keys 'zero' is not allowed; random or"});
  check_refused(place, "stability --device gpu", {"gpu"});
  check_refused(place, "stability --json missing/states.json", {"missing/states.json"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
