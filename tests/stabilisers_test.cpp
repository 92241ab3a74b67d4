// Each stabiliser while it acts: against finite differences, in float32, and by hand for d = 1.

#include "framework/gradcheck.hpp"
#include "framework/ops/reduce.hpp"
#include "tests/error_of.hpp"
#include "tests/stabilized_setting.hpp"

namespace vla {
namespace {

struct Stabiliser {
  std::string name;
  StabilizedInputs in;
  StabilizedOptions options;
};

Tensor matrix(Index rows, Index columns, const std::vector<double>& values) {
  return Tensor::from<double>({1, 1, rows, columns}, values);
}

// Two tokens of d = d_v = 2 from an A that is not positive definite, as only such a one lets delta
// be less than 1. The first has an update like any other, which the gradient of the second's, with
// the direction u, has to reach through A.
StabilizedInputs from_indefinite(const std::vector<double>& a, const std::vector<double>& u) {
  const auto leaf = [](const Shape& shape, const std::vector<double>& values) {
    return Var::parameter(Tensor::from<double>(shape, values));
  };
  const Shape vectors{1, 2, 1, 2};
  return {.query = leaf(vectors, {1, -0.5, 0.4, 2}),
          .key = leaf(vectors, {0.8, 0.3, -0.7, 1.1}),
          .value = leaf(vectors, {1.2, -0.6, 0.5, 0.9}),
          .directions = leaf({1, 2, 1, 1, 2}, {0, 0.7, u[0], u[1]}),
          .initial_inverse = matrix(2, 2, a)};
}

// A is small along a long u: then A u is small, and the step of a finite difference in u moves
// delta far less than the 1e-6 to which fallback and floor look.
std::vector<Stabiliser> of_small_delta() {
  StabilizedOptions v3 = kPlain;
  v3.delta_floor = 1e-4;
  return {{"fallback, delta = 0", from_indefinite({-1e-6, 1e-7, 1e-7, 0.5}, {1000, 0}), kPlain},
          {"floor of version 1, delta = -1", from_indefinite({-2e-6, 1e-6, 1e-6, 0.5}, {1000, 0}),
           kPlain},
          {"floor of version 3, delta = 5e-5",
           from_indefinite({-0.99995e-4, 1e-5, 1e-5, 0.5}, {100, 0}), v3}};
}

std::vector<Stabiliser> all_stabilisers() {
  std::vector<Stabiliser> rows = of_small_delta();
  const auto row = [&](std::string name, const Setting& s, auto change) {
    StabilizedOptions o = kPlain;
    change(o);
    rows.push_back({std::move(name), random_inputs(s), o});
  };
  const Setting usual{.time = 6};
  row("error clip", usual, [](auto& o) { o.error_clip = 1.5; });
  row("renormalisation", usual, [](auto& o) { o.renormalize_above = 0.5; });
  row("guard by |A|", usual, [](auto& o) { o.guard_above = 1, o.guard = 0.1; });
  row("guard by |S|", {.time = 6, .value_scale = 4},
      [](auto& o) { o.guard_above = 2.2, o.guard = 0.1; });
  row("nudge", usual, [](auto& o) { o.nudge_period = 2, o.nudge = 0.1; });
  row("nudge of rank 2 with a symbolic direction", {.time = 6, .directions = 2, .symbolic = true},
      [](auto& o) { o.nudge_period = 3, o.nudge = 0.1; });
  row("unit coefficient", usual, [](auto& o) { o.unit_coefficient = true, o.unit_floor = 1e-2; });
  row("floor of the unit coefficient", usual,
      [](auto& o) { o.unit_coefficient = true, o.unit_floor = 0.6; });
  return rows;
}

std::vector<Var> variables_of(const StabilizedInputs& in) {
  std::vector<Var> result{in.query, in.key, in.value, in.directions};
  if (in.symbolic.defined()) result.push_back(in.symbolic);
  return result;
}

StabilizedInputs with_variables(StabilizedInputs in, const std::vector<Var>& variables) {
  in.query = variables[0];
  in.key = variables[1];
  in.value = variables[2];
  in.directions = variables[3];
  if (in.symbolic.defined()) in.symbolic = variables[4];
  return in;
}

void check_finite_differences(const Stabiliser& row) {
  std::vector<Tensor> inputs;
  for (const Var& x : variables_of(row.in)) inputs.push_back(x.value());
  const auto function = [&](const std::vector<Var>& variables) {
    return stabilized_recurrence(with_variables(row.in, variables), row.options).output;
  };
  BOOST_CHECK_NO_THROW(gradcheck(row.name, function, inputs, {.elements = 16}));
}

// Output and gradients for inputs of one element type.
std::vector<Tensor> results_in(DType dtype, const Stabiliser& row, const Recurrence& recurrence) {
  StabilizedInputs in = row.in;
  std::vector<Var> variables;
  for (const Var& x : variables_of(in)) variables.push_back(Var::parameter(x.value().to(dtype)));
  in = with_variables(in, variables);
  if (in.initial_inverse.defined()) in.initial_inverse = in.initial_inverse.to(dtype);
  Tape tape;
  const Var output = recurrence(in, row.options).output;
  const Gradients gradients =
      tape.backward(output, Rng(3).normal(output.shape(), DType::float64).to(dtype));
  std::vector<Tensor> results{output.value().to(DType::float64)};
  for (const Var& x : variables) results.push_back(gradients[x].to(DType::float64));
  return results;
}

const Recurrence kOperator = [](const auto& in, const auto& options) {
  return stabilized_recurrence(in, options);
};

// One token with d = d_v = 1, from A = `inverse`: o = v k q A'^2 with A' the inverse after the
// token, do/dv, do/dk and do/dq that over v, k and q, and do/du = 2 v k q A' dA'/du.
struct ByHand {
  double u, inverse, after, slope;  // A' and dA'/du
};

void check_by_hand(const ByHand& row, const StabilizedOptions& o) {
  const double q = 3, k = 2, v = 0.5;
  const auto leaf = [](const Shape& shape, double value) {
    return Var::parameter(Tensor::full(shape, value, DType::float64));
  };
  const StabilizedInputs in{.query = leaf({1, 1, 1, 1}, q),
                            .key = leaf({1, 1, 1, 1}, k),
                            .value = leaf({1, 1, 1, 1}, v),
                            .directions = leaf({1, 1, 1, 1, 1}, row.u),
                            .initial_inverse = matrix(1, 1, {row.inverse})};
  Tape tape;
  const StabilizedResult result = stabilized_recurrence(in, o);
  const Gradients gradients = tape.backward(sum(result.output));
  const auto close = boost::test_tools::tolerance(1e-9);
  const double expected = v * k * q * row.after * row.after;
  BOOST_TEST(result.inverse.item() == row.after, close);
  BOOST_TEST(result.memory.item() == v * k * row.after, close);
  BOOST_TEST(result.output.value().item() == expected, close);
  BOOST_TEST(gradients[in.value].item() == expected / v, close);
  BOOST_TEST(gradients[in.key].item() == expected / k, close);
  BOOST_TEST(gradients[in.query].item() == expected / q, close);
  BOOST_TEST(gradients[in.directions].item() == 2 * v * k * q * row.after * row.slope, close);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stabilisers)

BOOST_AUTO_TEST_CASE(gradients_agree_with_finite_differences) {
  check_finite_differences({"plain", random_inputs({.time = 6}), kPlain});
  for (const Stabiliser& row : all_stabilisers())
    BOOST_TEST_CONTEXT(row.name) check_finite_differences(row);
}

// Were a stabiliser of the table idle, its row would test nothing.
BOOST_AUTO_TEST_CASE(every_row_acts) {
  for (const Stabiliser& row : all_stabilisers()) {
    StabilizedOptions idle = kPlain;
    idle.delta_floor = idle.fallback_below = 1e-12;
    if (row.name == "floor of the unit coefficient") idle.unit_coefficient = true;
    BOOST_TEST_CONTEXT(row.name)
    BOOST_TEST(relative_difference(stabilized_recurrence(row.in, row.options).output.value(),
                                   stabilized_recurrence(row.in, idle).output.value()) > 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(small_delta_agrees_with_the_composed_form) {
  for (const Stabiliser& row : of_small_delta()) {
    const auto actual = results_in(DType::float64, row, kOperator);
    const auto reference = results_in(DType::float64, row, composed_stabilized_recurrence);
    for (std::size_t i = 0; i < actual.size(); ++i)
      BOOST_TEST_CONTEXT(row.name << ", result " << i) check_close(actual[i], reference[i], 1e-9);
  }
}

BOOST_AUTO_TEST_CASE(float32_agrees_with_float64) {
  std::vector<Stabiliser> rows = all_stabilisers();
  rows.push_back({"plain", random_inputs({.time = 37}), kPlain});
  for (const Stabiliser& row : rows) {
    const auto actual = results_in(DType::float32, row, kOperator);
    const auto reference = results_in(DType::float64, row, kOperator);
    for (std::size_t i = 0; i < actual.size(); ++i)
      BOOST_TEST_CONTEXT(row.name << ", result " << i) check_close(actual[i], reference[i], 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(one_token_by_hand) {
  // 1 / A' = 1 / A + u^2 = 3, and dA'/du = -2 u A'^2.
  check_by_hand({.u = 1, .inverse = 0.5, .after = 1. / 3, .slope = -2. / 9}, kPlain);
  // delta = 1 - 1 = 0: A' = A + 1e-6, whatever u is.
  check_by_hand({.u = 1, .inverse = -1, .after = -0.999999, .slope = 0}, kPlain);
  // z = A u = -2e-3, delta = -1 and so 1e-6: A' = A - z^2 / 1e-6, dA'/du = -2 z A / 1e-6.
  check_by_hand({.u = 1000, .inverse = -2e-6, .after = -4.000002, .slope = -8e-3}, kPlain);
  // delta = 5e-5 and so 1e-4: A' = A - 0.99995^2 / 1e-4, dA'/du = -2 * 0.99995^2 / 1e-4.
  StabilizedOptions v3 = kPlain;
  v3.delta_floor = 1e-4;
  check_by_hand({.u = 1, .inverse = -0.99995, .after = -9999.999975, .slope = -19998.00005}, v3);
}

BOOST_AUTO_TEST_CASE(options_that_are_not_allowed_are_named) {
  const auto message_of = [](auto change) {
    StabilizedOptions o;
    change(o);
    return error_of([&] { operator_outcome({}, o); });
  };
  const std::string start = "stabilized_recurrence: ";
  const std::string above = "; a finite number above 0 is needed";
  const std::string least = "; 0 or a finite number above it is needed";
  BOOST_TEST(message_of([](auto& o) { o.lambda0 = 0; }) == start + "lambda0 is 0" + above);
  BOOST_TEST(message_of([](auto& o) { o.lambda0 = INFINITY; }) == start + "lambda0 is inf" + above);
  BOOST_TEST(message_of([](auto& o) { o.lambda0 = NAN; }) == start + "lambda0 is nan" + above);
  BOOST_TEST(message_of([](auto& o) { o.delta_floor = 0; }) == start + "delta_floor is 0" + above);
  BOOST_TEST(message_of([](auto& o) { o.unit_floor = -1; }) == start + "unit_floor is -1" + above);
  BOOST_TEST(message_of([](auto& o) { o.fallback_below = -1; }) ==
             start + "fallback_below is -1" + least);
  BOOST_TEST(message_of([](auto& o) { o.nudge_period = -1; }) ==
             start + "nudge_period is -1; 0 (never) or more is needed");
  BOOST_TEST(message_of([](auto& o) { o.nudge = -0.5; }) == start + "nudge is -0.5" + least);
  BOOST_TEST(message_of([](auto& o) { o.error_clip = NAN; }) ==
             start + "error_clip is nan" + least);
  BOOST_TEST(message_of([](auto& o) { o.renormalize_above = -1; }) ==
             start + "renormalize_above is -1" + least);
  BOOST_TEST(message_of([](auto& o) { o.guard_above = -1; }) ==
             start + "guard_above is -1" + least);
  BOOST_TEST(message_of([](auto& o) { o.guard = -1; }) == start + "guard is -1" + least);
}

// 1e20 squared is finite in float64 only.
BOOST_AUTO_TEST_CASE(an_inverse_that_overflows_is_refused) {
  StabilizedOptions tiny = kPlain, large = kPlain;
  tiny.lambda0 = 1e-20;
  large.nudge_period = 2;
  large.nudge = 1e20;
  for (const StabilizedOptions& o : {tiny, large}) {
    BOOST_CHECK_NO_THROW(operator_outcome({}, o));
    for (const OperatorForm form : {OperatorForm::step, OperatorForm::automatic})
      BOOST_CHECK_EXCEPTION(
          stabilized_recurrence(random_inputs({.dtype = DType::float32}), o, form), Error,
          says(o.nudge > 1
                   ? "stabilized_recurrence: nudge is 1e+20; 1.84467e+19 or less is needed in "
                     "float32, where A overflows"
                   : "stabilized_recurrence: lambda0 is 1e-20; 5.42101e-20 or more is needed in "
                     "float32, where A = I / lambda0 overflows"));
  }
  // What is just allowed lasts for a token at least.
  tiny.lambda0 = 1e-19;
  const RecurrenceOutcome first = operator_outcome({.time = 1, .dtype = DType::float32}, tiny);
  for (const float element : first.values[1].values<float>()) BOOST_TEST(std::isfinite(element));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
