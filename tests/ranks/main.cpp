#include <cmath>
#include <exception>

#include "tests/ranks/cases.hpp"

namespace vla {
namespace {

Tensor difference(const Tensor& a, const Tensor& b) {
  check(a.shape() == b.shape(), "shapes ", a.shape(), " and ", b.shape());
  Tensor result = a.to(Device{}).to(DType::float64).clone();
  const Tensor other = b.to(Device{}).to(DType::float64);
  auto values = result.mutable_values<double>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] -= other.values<double>()[i];
  return result;
}

}  // namespace

double largest_difference(const Tensor& a, const Tensor& b) {
  double largest = 0;
  for (double value : difference(a, b).values<double>())
    largest = std::isnan(value) ? HUGE_VAL : std::max(largest, std::abs(value));
  return largest;
}

}  // namespace vla

int main(int count, char** texts) {
  using namespace vla;
  try {
    check(count >= 2, "the name of a case is needed");
    RankCases cases = communicator_cases();
    cases.merge(data_parallel_cases());
    cases.merge(sequence_parallel_cases());
    cases.merge(training_cases());
    const auto found = cases.find(texts[1]);
    check(found != cases.end(), "no case ", texts[1]);
    found->second(Communicator::world(), Words(texts + 2, texts + count));
  } catch (const std::exception& error) {
    return end_job("vla_ranks", error.what(), 3);
  }
  return 0;
}
