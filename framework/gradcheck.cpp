#include "framework/gradcheck.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "framework/random.hpp"

namespace vla {
namespace {

struct Evaluation {
  const std::string& name;
  const GradcheckFunction& function;
  const std::vector<Tensor>& inputs;
  Device device;
  Tensor weights;  // of the output's shape

  /// The output with input `place` replaced by `value`.
  Tensor at(std::size_t place, const Tensor& value) const {
    PauseRecording pause;
    std::vector<Var> variables;
    for (const Tensor& input : inputs) variables.emplace_back(input.to(device));
    variables[place] = Var(value.to(device));
    const Tensor output = function(variables).value().to(Device{});
    check(output.shape() == weights.shape() && output.dtype() == DType::float64,
          "gradcheck: ", name, ": output is ", output.dtype(), output.shape(), " when input ",
          place, " moves, before it was float64", weights.shape());
    return output;
  }

  /// sum(weights * (output(high) - output(low))), subtracted element by element: the difference of
  /// two sums would lose the digits that count.
  double rise(std::size_t place, const Tensor& low, const Tensor& high) const {
    const Tensor below = at(place, low), above = at(place, high);
    const auto w = weights.values<double>();
    const auto from = below.values<double>(), to = above.values<double>();
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); ++i) sum += w[i] * (to[i] - from[i]);
    return sum;
  }
};

struct Judge {
  const std::string& name;
  const GradcheckOptions& options;
  double worst = 0;

  void compare(std::size_t input, const std::string& where, double analytic, double numeric) {
    const double difference = std::abs(analytic - numeric);
    const double allowed = options.absolute + options.relative * std::abs(numeric);
    // Written so that NaN is a failure. Six digits: later ones of the numeric side are noise.
    if (!(difference <= allowed))
      fail("gradcheck: ", name, ": input ", input, ", ", where, ": analytic gradient ", analytic,
           ", numeric ", numeric, ", they differ by ", std::setprecision(3), difference,
           ", allowed is ", allowed, " (of the output summed with random weights)");
    if (difference > 0) worst = std::max(worst, difference / allowed);
  }
};

/// Where a flat index is: "element (2, 1) of (5, 3)".
std::string element_name(Index element, const Shape& shape) {
  if (shape.rank() == 0) return "its one element";
  std::vector<Index> place(static_cast<std::size_t>(shape.rank()));
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    place[static_cast<std::size_t>(axis)] = element % shape[axis];
    element /= shape[axis];
  }
  return concatenate("element ", Shape(place), " of ", shape);
}

/// Gradients of sum(weights * function(inputs)); fills in `weights`. An input that took no part has
/// gradient zero, which the numeric side then confirms or refutes.
std::vector<Tensor> analytic_gradients(const std::string& name, const GradcheckFunction& function,
                                       const std::vector<Tensor>& inputs, Device device, Rng& rng,
                                       Tensor& weights) {
  std::vector<Var> variables;
  for (const Tensor& input : inputs) {
    const Tensor there = input.clone().to(device);
    variables.push_back(is_floating(input.dtype()) ? Var::parameter(there) : Var(there));
  }
  Tape tape;
  const Var output = function(variables);
  check(output.dtype() == DType::float64, "gradcheck: ", name, ": output is ", output.dtype(),
        "; float64 is needed");
  weights = rng.normal(output.shape(), DType::float64);
  Gradients gradients;
  if (output.requires_gradient()) gradients = tape.backward(output, weights.to(device));
  std::vector<Tensor> result;
  for (const Var& variable : variables) {
    const Tensor* gradient = gradients.find(variable);
    result.push_back(gradient ? gradient->to(Device{})
                              : Tensor::zeros(variable.shape(), DType::float64));
  }
  return result;
}

/// The derivative along `direction`, both ways. Rounding changes the step where an input is large,
/// so the analytic side is taken along the step that was really made.
void compare_direction(const Evaluation& evaluation, Judge& judge, std::size_t place,
                       const Tensor& gradient, const Tensor& direction, const std::string& where) {
  const double epsilon = judge.options.epsilon;
  Tensor low = evaluation.inputs[place].clone(), high = low.clone();
  const auto lower = low.mutable_values<double>(), upper = high.mutable_values<double>();
  const auto step = direction.values<double>(), slope = gradient.values<double>();
  double analytic = 0;
  for (std::size_t i = 0; i < step.size(); ++i) {
    lower[i] -= epsilon * step[i];
    upper[i] += epsilon * step[i];
    // A slope of no consequence must not hide in 0 * infinity.
    if (step[i] != 0) analytic += slope[i] * ((upper[i] - lower[i]) / (2 * epsilon));
  }
  judge.compare(place, where, analytic, evaluation.rise(place, low, high) / (2 * epsilon));
}

}  // namespace

double gradcheck(const std::string& name, const GradcheckFunction& function,
                 const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  check(options.epsilon > 0, "gradcheck: epsilon ", options.epsilon, "; more than 0 is needed");
  for (std::size_t i = 0; i < inputs.size(); ++i)
    check(inputs[i].defined() && inputs[i].dtype() != DType::float32, "gradcheck: ", name,
          ": input ", i, " is ", inputs[i], "; float64 (or integers, which are not checked)");

  Rng rng(options.seed);
  Evaluation evaluation{name, function, inputs, options.device, {}};
  const std::vector<Tensor> gradients =
      analytic_gradients(name, function, inputs, options.device, rng, evaluation.weights);

  Judge judge{name, options};
  for (std::size_t place = 0; place < inputs.size(); ++place) {
    const Tensor& input = inputs[place];
    if (!is_floating(input.dtype()) || input.elements() == 0) continue;
    for (Index element :
         rng.distinct(std::min<Index>(options.elements, input.elements()), input.elements())) {
      Tensor direction = Tensor::zeros(input.shape(), DType::float64);
      direction.mutable_values<double>()[static_cast<std::size_t>(element)] = 1;
      compare_direction(evaluation, judge, place, gradients[place], direction,
                        element_name(element, input.shape()));
    }
    for (int i = 0; i < options.directions; ++i)
      compare_direction(evaluation, judge, place, gradients[place],
                        rng.normal(input.shape(), DType::float64),
                        concatenate("along random direction ", i));
  }
  return judge.worst;
}

}  // namespace vla
