// The table of gradient cases, and edge values of the ops that no finite difference can judge.

#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"
#include "tools/cases.hpp"

namespace vla {
namespace {

constexpr GradcheckOptions kStrict{.absolute = 1e-8, .relative = 1e-6};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The output of a case, then the gradient of a fixed random weighting of it for every input.
std::vector<Tensor> output_and_gradients(const GradientCase& row, const std::vector<Tensor>& inputs,
                                         DType dtype) {
  std::vector<Var> variables;
  for (const Tensor& input : inputs) variables.push_back(Var::parameter(input.to(dtype)));
  Tape tape;
  const Var output = row.function(variables);
  std::vector<Tensor> result{output.value()};
  const Tensor weights = Rng(5).normal(output.shape(), DType::float64);
  const Gradients gradients = tape.backward(output, weights.to(dtype));
  for (const Var& variable : variables) result.push_back(gradients[variable]);
  return result;
}

double norm_of_difference(const Tensor& a, const Tensor& b) {
  return norm(sub(Var(a), Var(b))).value().item();
}

// 2 x whose rule claims a slope of 2.002 in one element.
Var broken_double(const Var& x) {
  return record("broken_double", scale(detach(x), 2).value(), {x}, {},
                [](const BackwardContext& at) -> std::vector<Tensor> {
                  Tensor dx = scale(Var(at.gradient()), 2).value();
                  dx.mutable_values<double>()[0] *= 1.001;
                  return {dx};
                });
}

Tensor row_of(const std::vector<double>& values) {
  return Tensor::from({1, static_cast<Index>(values.size())}, values);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(op)

BOOST_AUTO_TEST_CASE(every_gradient_agrees_with_finite_differences) {
  const auto check_rows = [](const std::vector<GradientCase>& rows,
                             const GradcheckOptions& options) {
    BOOST_TEST(!rows.empty());
    for (const GradientCase& row : rows) {
      try {
        BOOST_TEST(gradcheck(row.name, row.function, row.inputs, options) <= 1, row.name);
      } catch (const Error& error) {
        BOOST_ERROR(error.what());  // names the row, the element and both values
      }
    }
  };
  check_rows(op_cases(), kStrict);
  check_rows(layer_cases(), {});
}

BOOST_AUTO_TEST_CASE(row_names_differ) {
  std::set<std::string> names;
  for (const std::vector<GradientCase>& rows : {op_cases(), layer_cases()})
    for (const GradientCase& row : rows)
      BOOST_TEST(names.insert(row.name).second, "two rows are named '" << row.name << "'");
}

BOOST_AUTO_TEST_CASE(float32_agrees_with_float64) {
  // Both see the same inputs, rounded to float32, so what differs is the arithmetic alone: sums of
  // at most some thousand terms, each rounded to 6e-8, and logarithms of sums of size 1e3, where
  // the spacing of float32 is 6e-5. The absolute part is for results that cancel to nothing, the
  // worst being a layer norm of width 1, where rounding is multiplied by 1 / sqrt(epsilon) = 316.
  constexpr double kRelative = 1e-4, kAbsolute = 1e-5;
  for (const GradientCase& row : op_cases()) {
    std::vector<Tensor> inputs;
    for (const Tensor& input : row.inputs)
      inputs.push_back(input.to(DType::float32).to(DType::float64));
    const std::vector<Tensor> narrow = output_and_gradients(row, inputs, DType::float32);
    const std::vector<Tensor> wide = output_and_gradients(row, inputs, DType::float64);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      const Tensor zero = Tensor::zeros(wide[i].shape(), DType::float64);
      const double error = norm_of_difference(narrow[i].to(DType::float64), wide[i]);
      const double allowed = kRelative * norm_of_difference(wide[i], zero) + kAbsolute;
      BOOST_TEST_CONTEXT(row.name << ", " << (i ? "gradient " : "output ") << i) {
        BOOST_TEST(narrow[i].dtype() == DType::float32);
        BOOST_TEST(error <= allowed);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_table_notices_a_gradient_that_is_off_by_a_thousandth) {
  for (const GradientCase& row : op_cases()) {
    bool flat = true;  // no slope to get wrong: size 0, or a constant
    const std::vector<Tensor> results = output_and_gradients(row, row.inputs, DType::float64);
    for (std::size_t i = 1; i < results.size(); ++i)
      for (double value : results[i].values<double>()) flat &= std::abs(value) < 1e-4;
    if (flat) continue;
    const auto broken = [&](const std::vector<Var>& inputs) {
      const Var y = row.function(inputs);
      return record("broken", y.value().clone(), {y}, {},
                    [](const BackwardContext& at) -> std::vector<Tensor> {
                      return {scale(Var(at.gradient()), 1.001).value()};
                    });
    };
    BOOST_TEST_CONTEXT(row.name)
    BOOST_CHECK_THROW(gradcheck(row.name, broken, row.inputs, kStrict), Error);
  }
}

BOOST_AUTO_TEST_CASE(a_broken_gradient_is_reported_by_name) {
  const auto function = [](const std::vector<Var>& v) { return add(v[0], broken_double(v[1])); };
  const std::vector<Tensor> inputs = {row_of({1, 2}), row_of({3, 4})};
  BOOST_CHECK_EXCEPTION(gradcheck("doubling", function, inputs, kStrict), Error,
                        [](const Error& error) {
                          const std::string text = error.what();
                          BOOST_TEST_MESSAGE(text);
                          return text.starts_with(
                                     "gradcheck: doubling: input 1, element (0, 0) of (1, 2): "
                                     "analytic gradient ") &&
                                 text.find(", numeric ") != std::string::npos;
                        });
}

BOOST_AUTO_TEST_CASE(softmax_of_infinities) {
  const Var x =
      Var::parameter(Tensor::from<double>({3, 2}, {-kInfinity, -kInfinity, -kInfinity, 3, 1, 1}));
  Tape tape;
  const Var y = softmax(x);
  const Gradients gradients = tape.backward(y, row_of({1, 2, 3, 4, 5, 6}).reshape({3, 2}));
  const std::vector<double> expected = {0, 0, 0, 1, 0.5, 0.5};
  const std::vector<double> slopes = {0, 0, 0, 0, -0.25, 0.25};
  BOOST_TEST(y.value().values<double>() == expected, boost::test_tools::per_element());
  BOOST_TEST(gradients[x].values<double>() == slopes, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(huge_values_stay_finite) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor targets = Tensor::from<std::int64_t>({1}, {0});
    const Var weight(Tensor::full({3}, 2, dtype)), bias(Tensor::full({3}, 1, dtype));
    // Name, function, and whether it is for positive values alone.
    const std::vector<std::tuple<std::string, std::function<Var(const Var&)>, bool>> functions = {
        {"softmax", [](const Var& x) { return softmax(x); }, false},
        {"log_softmax", [](const Var& x) { return log_softmax(x); }, false},
        {"cross_entropy", [&](const Var& x) { return cross_entropy(x, targets); }, false},
        {"neg", [](const Var& x) { return neg(x); }, false},
        {"abs", [](const Var& x) { return abs(x); }, false},
        {"exp of the negative", [](const Var& x) { return exp(neg(abs(x))); }, false},
        {"log", [](const Var& x) { return log(x); }, true},
        {"sqrt", [](const Var& x) { return sqrt(x); }, true},
        {"pow 0", [](const Var& x) { return pow(x, 0); }, false},
        {"pow 0.5", [](const Var& x) { return pow(x, 0.5); }, true},
        {"pow 1", [](const Var& x) { return pow(x, 1); }, false},
        {"pow -1", [](const Var& x) { return pow(x, -1); }, false},
        {"pow -2", [](const Var& x) { return pow(x, -2); }, false},
        {"softplus", [](const Var& x) { return softplus(x); }, false},
        {"sigmoid", [](const Var& x) { return sigmoid(x); }, false},
        {"silu", [](const Var& x) { return silu(x); }, false},
        {"tanh", [](const Var& x) { return tanh(x); }, false},
        {"relu", [](const Var& x) { return relu(x); }, false},
        {"clamp", [](const Var& x) { return clamp(x, -1, 1); }, false},
        {"gelu", [](const Var& x) { return gelu(x); }, false},
        {"gelu_tanh", [](const Var& x) { return gelu_tanh(x); }, false},
        {"elu", [](const Var& x) { return elu(x); }, false},
        {"elu_plus_one", [](const Var& x) { return elu_plus_one(x); }, false},
        {"unit", [](const Var& x) { return unit(x); }, false},
        {"norm", [](const Var& x) { return norm(x); }, false},
        {"rms_norm", [&](const Var& x) { return rms_norm(x, weight); }, false},
        {"layer_norm", [&](const Var& x) { return layer_norm(x, weight, bias); }, false}};
    for (double size : {1e4, dtype == DType::float32 ? 1e30 : 1e200}) {
      for (const auto& [name, function, positive] : functions) {
        const Var huge =
            Var::parameter(row_of({positive ? size : -size, size, 0.75 * size}).to(dtype));
        Tape tape;
        const Var y = function(huge);
        const Gradients gradients = tape.backward(y, Tensor::full(y.shape(), 1, dtype));
        for (const Tensor& result : {y.value(), gradients[huge]}) {
          const Tensor values = result.to(DType::float64);
          for (double value : values.values<double>())
            BOOST_TEST(std::isfinite(value), name << " in " << dtype << ": " << result);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gelu_tanh_has_its_limits_far_out) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const double size = dtype == DType::float32 ? 1e20 : 1e200;
    const Var x = Var::parameter(row_of({-size, -50, 50, size}).to(dtype));
    Tape tape;
    const Var y = gelu_tanh(x);
    const Tensor slopes = tape.backward(y, Tensor::full(y.shape(), 1, dtype))[x];
    check_close(slopes.to(DType::float64), row_of({0, 0, 1, 1}), 0);
    check_close(y.value(), row_of({0, 0, 50, size}).to(dtype), 0);
  }
}

// A normalisation of x times any factor is that of x, and the gradient is divided by the factor.
BOOST_AUTO_TEST_CASE(normalisations_do_not_depend_on_the_scale) {
  const Var weight(Tensor::from<double>({3}, {2, 1, -1})),
      bias(Tensor::from<double>({3}, {0, 1, 2}));
  const std::vector<std::pair<std::string, std::function<Var(const Var&)>>> functions = {
      {"unit", [](const Var& x) { return unit(x, 1e-250); }},
      {"rms_norm", [&](const Var& x) { return rms_norm(x, weight, 0); }},
      {"layer_norm", [&](const Var& x) { return layer_norm(x, weight, bias, 0); }}};
  const auto results = [](const auto& function, double factor) {
    const Var x = Var::parameter(row_of({-3 * factor, factor, 2 * factor}));
    Tape tape;
    const Var y = function(x);
    const Tensor slope = tape.backward(y, row_of({1, 2, -1}))[x];
    return std::pair{y.value(), scale(Var(slope), factor).value()};
  };
  for (const auto& [name, function] : functions) {
    for (double factor : {1e-200, 1e-160, 1e160, 1e200, 1e300}) {
      if (name == "layer_norm" && factor < 1) continue;  // small variance is what epsilon is for
      BOOST_TEST_CONTEXT(name << " at " << factor) {
        const auto [y, slope] = results(function, factor);
        const auto [plain_y, plain_slope] = results(function, 1);
        check_close(y, plain_y, 1e-14);
        check_close(slope, plain_slope, 1e-14);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(slopes_at_kinks_are_as_documented) {
  const Var x = Var::parameter(row_of({-1, 0, 1}));
  const auto slopes = [&](const auto& function) {
    Tape tape;
    const Var y = function(x);
    const Tensor slope = tape.backward(y, Tensor::full({1, 3}, 1, DType::float64))[x];
    return std::vector<double>(slope.values<double>().begin(), slope.values<double>().end());
  };
  BOOST_TEST(slopes([](const Var& v) { return abs(v); }) == (std::vector<double>{-1, 0, 1}));
  BOOST_TEST(slopes([](const Var& v) { return relu(v); }) == (std::vector<double>{0, 0, 1}));
  BOOST_TEST(slopes([](const Var& v) { return clamp(v, 0, 1); }) == (std::vector<double>{0, 1, 1}));
}

BOOST_AUTO_TEST_CASE(nan_is_not_hidden) {
  const Var x(row_of({std::nan("")}));
  for (const Var& y : {relu(x), clamp(x, -1, 1), abs(x), softmax(x), unit(x)})
    BOOST_TEST(std::isnan(y.value().item()));
}

BOOST_AUTO_TEST_CASE(clamp_refuses_crossed_limits) {
  BOOST_CHECK_EXCEPTION(clamp(Var(row_of({1})), 2, -1), Error,
                        says("clamp: low 2 is above high -1"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
