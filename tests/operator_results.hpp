// Everything an operator gives, so that two of its forms can be compared.
#pragma once

#include <functional>
#include <vector>

#include "framework/ops/shaping.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {

// What an operator gives: results, then the gradients of a random weighting of them.
inline std::vector<Tensor> results_and_gradients(
    const std::vector<Tensor>& inputs,
    const std::function<std::vector<Var>(const std::vector<Var>&)>& function) {
  std::vector<Var> variables;
  for (const Tensor& input : inputs) variables.push_back(Var::parameter(input));
  Tape tape;
  std::vector<Var> flat;
  std::vector<Tensor> all;
  for (const Var& result : function(variables)) {
    all.push_back(result.value());
    flat.push_back(reshape(result, {result.value().elements()}));
  }
  const Var joined = concat(flat, 0);
  Rng rng(99);
  Gradients gradients;  // none flow through results that depend on no input, as at T = 0
  if (joined.requires_gradient())
    gradients = tape.backward(joined, rng.normal(joined.shape(), joined.dtype()));
  for (const Var& variable : variables) {
    const Tensor* gradient = gradients.find(variable);
    all.push_back(gradient ? *gradient : Tensor::zeros(variable.shape(), variable.dtype()));
  }
  return all;
}

inline void compare(const std::vector<Tensor>& actual, const std::vector<Tensor>& reference,
                    double tolerance) {
  BOOST_REQUIRE_EQUAL(actual.size(), reference.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    BOOST_TEST_CONTEXT("result " << i) check_close(actual[i], reference[i], tolerance);
}

}  // namespace vla
