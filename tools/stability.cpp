#include "tools/stability.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "tools/stability_models.hpp"

namespace vla {

void NumberRange::add(double x) {
  // Once not a number, for good.
  min = std::isnan(x) || x < min ? x : min;
  max = std::isnan(x) || x > max ? x : max;
}

namespace {

constexpr Index kEigenvalueTimes = 100;

// The largest step that leads from the first of `time` tokens to the last and is no longer than a
// hundredth of the way.
Index eigenvalue_step(Index time) {
  Index every = std::max<Index>(1, (time - 1) / kEigenvalueTimes);
  while ((time - 1) % every != 0) --every;
  return every;
}

// The numbers of one sequence and head over time.
using Numbers = std::vector<double>;

Numbers numbers_of(const Tensor& series) {
  const std::span<const double> values = series.values<double>();
  return {values.begin(), values.end()};
}

// Element `i` of the rows (1, N, 1, d).
Numbers column(const Tensor& rows, Index i) {
  Numbers result;
  for (Index row = 0; row < rows.size(1); ++row) result.push_back(rows.at<double>({0, row, 0, i}));
  return result;
}

}  // namespace

RandomSequence sequence_of(const StabilityOptions& options) {
  check(options.time >= 1, "--time ", options.time, " is not allowed; 1 or more");
  check(options.dimensions >= 1, "--dimensions ", options.dimensions, " is not allowed; 1 or more");
  check(options.keys == "random" || options.keys == "repeated", "--keys '", options.keys,
        "' is not allowed; random or repeated");
  return {options.dimensions, options.seed, options.keys == "repeated"};
}

std::vector<Index> log_spaced(Index count, Index most) {
  std::vector<Index> places;
  if (count <= most) {
    places.resize(static_cast<std::size_t>(count));
    std::iota(places.begin(), places.end(), 0);
    return places;
  }
  for (Index i = 0; i < most; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(most - 1);
    const Index place = std::llround(std::pow(static_cast<double>(count), share)) - 1;
    if (places.empty() || place > places.back()) places.push_back(place);
  }
  return places;
}

std::vector<Index> StabilitySeries::places() const {
  std::vector<Index> places = log_spaced(static_cast<Index>(numbers.size()), kMostPlaces);
  for (Index& place : places) place *= step;
  return places;
}

StabilityStates measure_states(const StabilityOptions& options) {
  const StabilityModel& model = stability_model(options.model);
  const RandomSequence sequence = sequence_of(options);
  const Index every = eigenvalue_step(options.time);
  Rng weights = sequence.weights();
  const Diagnostics found = model.diagnose(
      sequence.read(0, options.time).to(DType::float64, Device{}), weights, {.every = every});

  StabilityStates states{.every = every, .series = {}};
  const auto add = [&](const char* name, Numbers numbers, Index step) {
    StabilitySeries series{.name = name, .step = step, .numbers = std::move(numbers), .range = {}};
    for (double number : series.numbers) series.range.add(number);
    states.series.push_back(std::move(series));
  };
  add("memory_norm", numbers_of(found.memory_norm), 1);
  if (found.inverse_norm.defined()) {
    add("inverse_norm", numbers_of(found.inverse_norm), 1);
    add("smallest_eigenvalue", column(found.eigenvalues, 0), every);
    add("largest_eigenvalue", column(found.eigenvalues, options.dimensions - 1), every);
  }
  add("transition_norm", numbers_of(found.transition_norm), 1);
  add("transition_radius", numbers_of(found.transition_radius), 1);
  return states;
}

}  // namespace vla
