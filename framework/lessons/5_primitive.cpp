// Lesson 5: a primitive with a gradient derived by hand, and its check.
//
// Ops that are not elementwise are made with record(). We compute the value in whatever way we
// like, and hand over a rule for going backward. Ours is y = log(sum of exp(x_i)) for a vector x, a
// smooth maximum. The derivative of y with respect to x_i is exp(x_i) / sum of exp = exp(x_i - y).

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "framework/framework.hpp"

using namespace vla;

// The rule gets the gradient of the loss with respect to y, dy, and what we saved. It returns one
// gradient per input, of the input's shape and type: by the chain rule dx_i = dy exp(x_i - y).
std::vector<Tensor> right_rule(const BackwardContext& at) {
  const double dy = at.gradient().item(), y = at.saved(1).item();
  Tensor dx = at.saved(0).clone();
  for (double& x : dx.mutable_values<double>()) x = dy * std::exp(x - y);
  return {dx};
}

// A mistake that is easily made: the rule forgets dy. It is right wherever y itself is the loss.
std::vector<Tensor> wrong_rule(const BackwardContext& at) {
  Tensor dx = at.saved(0).clone();
  for (double& x : dx.mutable_values<double>()) x = std::exp(x - at.saved(1).item());
  return {dx};
}

Var log_sum_exp(const Var& x, const BackwardFunction& rule, CallSite site = CallSite::here()) {
  // The largest element is taken out first, so that exp cannot overflow.
  const auto values = x.value().values<double>();
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (double value : values) sum += std::exp(value - largest);
  const Tensor y = Tensor::scalar(largest + std::log(sum), DType::float64);
  // Its name, its value, its inputs, what the rule will need, and the rule.
  return record("log_sum_exp", y, {x}, {x.value(), y}, rule, site);
}

int main() {
  const Tensor point = Tensor::from<double>({4}, {1, 2, 3, 1000});
  std::printf("of 1, 2, 3, 1000: %.4f\n", log_sum_exp(Var(point), right_rule).value().item());

  const Var x = Var::parameter(Tensor::from<double>({3}, {1, 2, 3}), "x");
  Tape tape;
  const Gradients gradients = tape.backward(log_sum_exp(x, right_rule));
  std::printf("gradient at 1, 2, 3: %.4f %.4f %.4f\n", gradients[x].at<double>({0}),
              gradients[x].at<double>({1}), gradients[x].at<double>({2}));

  // The check moves the elements of x a little and looks how much a randomly weighted y moves. It
  // cannot be fooled by a rule that forgets dy.
  gradcheck("right rule", [](const auto& in) { return log_sum_exp(in[0], right_rule); },
            {x.value()});
  std::printf("the right rule passes\n");
  try {
    gradcheck("wrong rule", [](const auto& in) { return log_sum_exp(in[0], wrong_rule); },
              {x.value()});
  } catch (const Error& error) {
    std::printf("%s\n", error.what());
  }
}

/* It prints

of 1, 2, 3, 1000: 1000.0000
gradient at 1, 2, 3: 0.0900 0.2447 0.6652
the right rule passes
gradcheck: wrong rule: input 0, element (2) of (3): analytic gradient 0.665241, numeric -1.20047,
they differ by 1.87, allowed is 0.00121 (of the output summed with random weights)
*/
