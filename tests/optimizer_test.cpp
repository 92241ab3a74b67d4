// Optimisers against the same rules written for one number, schedules at their edges, clipping.

#include "framework/optim/optimizer.hpp"

#include <functional>
#include <limits>
#include <numbers>

#include "framework/optim/schedule.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

constexpr int kSteps = 7;

// A parameter of five numbers, and a gradient for each step.
struct Problem {
  Tensor start;
  std::vector<Tensor> gradients;

  explicit Problem(DType dtype, std::uint64_t seed = 1) {
    Rng rng(seed);
    start = rng.normal({5}, dtype);
    for (int step = 0; step < kSteps; ++step) gradients.push_back(rng.normal({5}, dtype));
  }
};

Gradients gradients_of(const Var& variable, const Tensor& gradient) {
  Gradients result;
  result.add(variable, gradient);
  return result;
}

// The rule of an optimiser for one number: (step from 1, parameter, gradient) -> parameter.
using Rule = std::function<double(int step, double p, double g)>;

// Runs the optimiser that `make` builds against a fresh `make_rule()` for every number.
template <class Make>
void check_against_rule(const Make& make, const std::function<Rule()>& make_rule,
                        Optimizer::StepOptions options = {}) {
  for (auto [dtype, tolerance] : {std::pair{DType::float64, 1e-14}, {DType::float32, 1e-6}}) {
    const Problem problem(dtype);
    Var p = Var::parameter(problem.start.clone());
    auto optimizer = make(std::vector<Parameter>{{"p", p}});
    const Tensor start = problem.start.to(DType::float64);
    std::vector<double> expected(start.values<double>().begin(), start.values<double>().end());
    std::vector<Rule> rules(expected.size());
    for (Rule& rule : rules) rule = make_rule();

    for (int step = 1; step <= kSteps; ++step) {
      const Tensor& gradient = problem.gradients[static_cast<std::size_t>(step - 1)];
      const Tensor untouched = gradient.clone();
      optimizer.step(gradients_of(p, gradient), options);
      BOOST_TEST(optimizer.steps() == step);
      check_close(gradient, untouched, 0);
      const Tensor wide = gradient.to(DType::float64);
      for (std::size_t i = 0; i < expected.size(); ++i)
        expected[i] = rules[i](step, expected[i], wide.values<double>()[i]);
      BOOST_TEST_CONTEXT(dtype << ", step " << step)
      check_close(p.value(), Tensor::from<double>({5}, expected), tolerance);
    }
  }
}

// Adam as its paper states it; `decoupled` is AdamW.
Rule adam_rule(AdamOptions options, double rate_share = 1) {
  return [=, m = 0.0, v = 0.0](int step, double p, double g) mutable {
    const double rate = options.rate * rate_share;
    if (options.decoupled)
      p *= 1 - rate * options.weight_decay;
    else
      g += options.weight_decay * p;
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(options.beta1, step));
    const double v_hat = v / (1 - std::pow(options.beta2, step));
    return p - rate * m_hat / (std::sqrt(v_hat) + options.epsilon);
  };
}

Tensor numbers(const std::vector<double>& values) {
  return Tensor::from<double>({static_cast<Index>(values.size())}, values);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(optimizer)

BOOST_AUTO_TEST_CASE(sgd_follows_its_rule) {
  check_against_rule(
      [](auto parameters) { return Sgd(parameters, {.rate = 0.1, .weight_decay = 0.2}); },
      []() -> Rule { return [](int, double p, double g) { return p - 0.1 * (g + 0.2 * p); }; });
}

BOOST_AUTO_TEST_CASE(momentum_follows_its_rule) {
  check_against_rule(
      [](auto parameters) {
        return Sgd(parameters, {.rate = 0.1, .momentum = 0.9, .weight_decay = 0.2});
      },
      []() -> Rule {
        return [v = 0.0](int, double p, double g) mutable {
          v = 0.9 * v + g + 0.2 * p;
          return p - 0.1 * v;
        };
      });
}

BOOST_AUTO_TEST_CASE(adam_follows_its_rule) {
  const AdamOptions options{.rate = 0.05, .weight_decay = 0.3};
  check_against_rule([=](auto parameters) { return Adam(parameters, options); },
                     [=] { return adam_rule(options); });
}

BOOST_AUTO_TEST_CASE(adamw_follows_its_rule) {
  AdamOptions options{.rate = 0.05, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.3};
  // A large epsilon tells whether it is added outside the root and after the bias correction.
  options.epsilon = 0.1;
  AdamOptions reference = options;
  reference.decoupled = true;
  check_against_rule([=](auto parameters) { return AdamW(parameters, options); },
                     [=] { return adam_rule(reference); });
}

BOOST_AUTO_TEST_CASE(rate_share_scales_the_rate_and_with_it_the_decay) {
  const AdamOptions options{.rate = 0.05, .weight_decay = 0.3, .decoupled = true};
  check_against_rule([=](auto parameters) { return Adam(parameters, options); },
                     [=] { return adam_rule(options, 0.25); }, {.rate_share = 0.25});
}

BOOST_AUTO_TEST_CASE(the_first_adam_step_is_the_rate_by_hand) {
  // After one step the bias-corrected moments are g and g^2: the step is rate g / (|g| + epsilon).
  Var p = Var::parameter(numbers({1, 1, 1}));
  Adam adam({{"p", p}}, {.rate = 0.01, .epsilon = 0});
  adam.step(gradients_of(p, numbers({3, -2, 1e-3})));
  check_close(p.value(), numbers({0.99, 1.01, 0.99}), 1e-14);
}

BOOST_AUTO_TEST_CASE(a_parameter_without_a_gradient_is_left_alone) {
  Var used = Var::parameter(numbers({1, 2})), unused = Var::parameter(numbers({3, 4}));
  const std::vector<Parameter> parameters = {{"used", used}, {"unused", unused}};
  AdamW adam(parameters, {.weight_decay = 0.5});
  Sgd sgd(parameters, {.momentum = 0.9, .weight_decay = 0.5});
  for (Optimizer* optimizer : std::initializer_list<Optimizer*>{&adam, &sgd}) {
    Tensor gradient = numbers({1, -1});
    optimizer->step(gradients_of(unused, gradient));  // so that its state is not zero
    const Tensor before = unused.value().clone();
    std::vector<Tensor> state_before;
    for (const auto& [name, tensor] : optimizer->state()) state_before.push_back(tensor.clone());
    const Tensor used_before = used.value().clone();
    optimizer->step(gradients_of(used, gradient));
    check_close(unused.value(), before, 0);
    BOOST_TEST(relative_difference(used.value(), used_before) > 0);
    const auto state = optimizer->state();
    for (std::size_t i = 0; i < state.size(); ++i) {
      const bool of_unused = state[i].first.ends_with(".unused");
      BOOST_TEST((relative_difference(state[i].second, state_before[i]) == 0) == of_unused,
                 state[i].first);
    }
  }
}

BOOST_AUTO_TEST_CASE(state_has_names_and_is_open_to_a_loader) {
  const Problem problem(DType::float64);
  const auto names_of = [](const Optimizer& optimizer) {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : optimizer.state()) names.push_back(name);
    return names;
  };
  Var p = Var::parameter(problem.start.clone()), q = Var::parameter(problem.start.clone());
  Adam first({{"p", p}}), second({{"p", q}});
  BOOST_TEST(names_of(first) == (std::vector<std::string>{"first_moment.p", "second_moment.p"}),
             boost::test_tools::per_element());
  BOOST_TEST(
      names_of(Sgd({{"p", p}}, {.momentum = 0.5})) == (std::vector<std::string>{"velocity.p"}),
      boost::test_tools::per_element());
  BOOST_TEST(names_of(Sgd({{"p", p}})).empty());

  // Three steps, then the state is copied: the other optimiser goes on as the first does.
  for (int step = 0; step < 3; ++step)
    first.step(gradients_of(p, problem.gradients[static_cast<std::size_t>(step)]));
  q.mutable_value().copy_from(p.value());
  auto target = second.state();
  for (std::size_t i = 0; i < target.size(); ++i)
    target[i].second.copy_from(first.state()[i].second);
  second.set_steps(first.steps());
  first.step(gradients_of(p, problem.gradients[3]));
  second.step(gradients_of(q, problem.gradients[3]));
  check_close(q.value(), p.value(), 0);
}

BOOST_AUTO_TEST_CASE(the_global_norm_is_over_all_gradients_of_the_parameters) {
  Var a = Var::parameter(numbers({0, 0})), b = Var::parameter(numbers({0}));
  Var c = Var::parameter(numbers({0})), other = Var::parameter(numbers({0}));
  Gradients gradients = gradients_of(a, numbers({3, 4}));
  gradients.add(b, numbers({12}));
  gradients.add(other, numbers({100}));  // no parameter of ours
  BOOST_TEST(global_norm({{"a", a}, {"b", b}, {"c", c}}, gradients) == 13);
  BOOST_TEST(global_norm({{"c", c}}, gradients) == 0);
  // More than one block of the sum, in float32, where the square of 1e30 is infinite.
  Var large = Var::parameter(Tensor::zeros({40000}, DType::float32));
  const Gradients huge = gradients_of(large, Tensor::full({40000}, 1e30, DType::float32));
  BOOST_TEST(global_norm({{"large", large}}, huge) / 2e32 == 1.0,
             boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(clipping_scales_all_gradients_by_one_factor) {
  BOOST_TEST(clip_factor(0.5, 1) == 1);
  BOOST_TEST(clip_factor(0, 1) == 1);
  BOOST_TEST(clip_factor(4, 1) == 1 / (4 + 1e-6));
  for (double clip : {0.0, 1.0, 20.0}) {
    Var a = Var::parameter(numbers({0, 0})), b = Var::parameter(numbers({0}));
    Sgd sgd({{"a", a}, {"b", b}}, {.rate = 1});
    Gradients gradients = gradients_of(a, numbers({3, 4}));
    gradients.add(b, numbers({12}));
    const double norm = sgd.step(gradients, {.clip = clip}).item();
    const double factor = clip == 1 ? 1 / (13 + 1e-6) : 1;
    BOOST_TEST(norm == 13);
    check_close(a.value(), numbers({-3 * factor, -4 * factor}), 1e-15);
    check_close(b.value(), numbers({-12 * factor}), 1e-15);
    check_close(gradients[b], numbers({12}), 0);
  }
}

BOOST_AUTO_TEST_CASE(a_norm_that_is_not_finite_leaves_everything_as_it_was) {
  constexpr double kBad[] = {std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()};
  for (double bad : kBad) {
    Var a = Var::parameter(numbers({1, 2})), b = Var::parameter(numbers({3}));
    AdamW adam({{"a", a}, {"b", b}}, {.weight_decay = 0.1});
    Gradients gradients = gradients_of(a, numbers({1, 1}));
    gradients.add(b, numbers({bad}));
    BOOST_CHECK_EXCEPTION(adam.step(gradients, {.clip = 1}), Error,
                          says(concatenate("optimizer: the gradients' norm is ", bad,
                                           "; a finite one is needed to move the parameters")));
    BOOST_CHECK_THROW(adam.step(gradients), Diverged);  // without clipping too
    BOOST_TEST(adam.steps() == 0);
    check_close(a.value(), numbers({1, 2}), 0);
    check_close(b.value(), numbers({3}), 0);
    for (const auto& [name, tensor] : adam.state())
      for (double value : tensor.values<double>()) BOOST_TEST(value == 0, name);
  }
}

BOOST_AUTO_TEST_CASE(a_loss_that_is_not_finite_is_refused_like_a_norm) {
  Var a = Var::parameter(numbers({1}));
  Sgd sgd({{"a", a}});
  const Gradients gradients = gradients_of(a, numbers({1}));
  sgd.begin_step({});
  BOOST_CHECK_EXCEPTION(sgd.move(gradients, Tensor::scalar(-HUGE_VAL, DType::float32)), Diverged,
                        says("optimizer: the loss is -inf; a finite one is needed to move the "
                             "parameters"));
  check_close(a.value(), numbers({1}), 0);
  sgd.move(gradients, Tensor::scalar(5, DType::float32));
  check_close(a.value(), numbers({0.99}), 1e-15);
}

// Three good steps and two bad ones end where three good ones end, but for the bias correction of
// Adam, whose steps all count.
BOOST_AUTO_TEST_CASE(steps_that_are_not_finite_may_be_skipped_or_ignored) {
  const double bad = std::numeric_limits<double>::quiet_NaN();
  const auto after = [&](const std::vector<double>& gradients, NonFinite policy) {
    Var a = Var::parameter(numbers({1}));
    Sgd sgd({{"a", a}}, {.rate = 0.1, .momentum = 0.5});
    for (const double gradient : gradients)
      sgd.step(gradients_of(a, numbers({gradient})), {.clip = 10, .non_finite = policy});
    return std::pair(a.value().item(), sgd.skipped_steps());
  };
  const auto good = after({1, 2, 3}, NonFinite::refuse);
  BOOST_TEST(good.second == 0);
  const auto skipped = after({1, bad, 2, HUGE_VAL, 3}, NonFinite::skip);
  BOOST_TEST(skipped.first == good.first);
  BOOST_TEST(skipped.second == 2);
  BOOST_TEST(std::isnan(after({1, bad}, NonFinite::ignore).first));
}

BOOST_AUTO_TEST_CASE(a_gradient_of_another_shape_is_refused_before_anything_moves) {
  Var a = Var::parameter(numbers({1})), b = Var::parameter(numbers({3}));
  Sgd sgd({{"a", a}, {"b", b}});
  Gradients gradients = gradients_of(a, numbers({1}));
  gradients.add(b, numbers({1, 2}));
  BOOST_CHECK_EXCEPTION(sgd.step(gradients), Error,
                        says("optimizer: gradient of 'b' is float64(2) on cpu, the parameter is "
                             "float64(1) on cpu"));
  check_close(a.value(), numbers({1}), 0);
}

BOOST_AUTO_TEST_CASE(a_share_of_the_rate_out_of_range_is_refused_before_anything_moves) {
  for (double share : {-0.5, std::nan(""), std::numeric_limits<double>::infinity()}) {
    Var a = Var::parameter(numbers({1, 2}));
    Sgd sgd({{"a", a}});
    BOOST_CHECK_EXCEPTION(
        sgd.step(gradients_of(a, numbers({1, 1})), {.rate_share = share}), Error,
        says(concatenate("optimizer: rate share ", share, " is not allowed; 0 or more")));
    BOOST_TEST(sgd.steps() == 0);
    check_close(a.value(), numbers({1, 2}), 0);
  }
}

BOOST_AUTO_TEST_CASE(a_variable_that_stands_twice_is_refused) {
  const Var a = Var::parameter(numbers({1})), b = Var::parameter(numbers({1}));
  BOOST_CHECK_EXCEPTION(Sgd({{"table", a}, {"other", b}, {"head", a}}), Error,
                        says("optimizer: 'table' and 'head' are one variable, which would be "
                             "stepped twice; name it once"));
}

BOOST_AUTO_TEST_CASE(settings_out_of_range_are_refused) {
  BOOST_CHECK_EXCEPTION(Sgd({}, {.rate = -1}), Error,
                        says("sgd: rate -1 is not allowed; 0 or more"));
  BOOST_CHECK_EXCEPTION(Sgd({}, {.momentum = 1}), Error,
                        says("sgd: momentum 1 is not allowed; 0 or more and less than 1"));
  BOOST_CHECK_EXCEPTION(Adam({}, {.beta2 = 1.5}), Error,
                        says("adam: beta2 1.5 is not allowed; 0 or more and less than 1"));
  BOOST_CHECK_EXCEPTION(Adam({}, {.epsilon = -1e-8}), Error,
                        says("adam: epsilon -1e-08 is not allowed; 0 or more"));
  BOOST_CHECK_EXCEPTION(Adam({}, {.weight_decay = -0.1}), Error,
                        says("adam: weight decay -0.1 is not allowed; 0 or more"));
}

BOOST_AUTO_TEST_CASE(schedules_at_their_edges) {
  using Kind = Schedule::Kind;
  constexpr double kClose = 1e-15;
  const Schedule constant{.warm_up = 4};
  BOOST_TEST(Schedule{}(0) == 1);
  for (std::int64_t step = 0; step < 4; ++step)
    BOOST_TEST(constant(step) == static_cast<double>(step + 1) / 4);
  BOOST_TEST(constant(4) == 1);
  BOOST_TEST(constant(1000000) == 1);

  for (Kind kind : {Kind::cosine, Kind::linear}) {
    const Schedule schedule{.kind = kind, .warm_up = 10, .total = 30, .final_share = 0.1};
    BOOST_TEST(schedule(0) == 0.1);
    BOOST_TEST(schedule(9) == 1);
    BOOST_TEST(schedule(10) == 1);
    BOOST_TEST(std::abs(schedule(20) - 0.55) < kClose);  // half way
    const double quarter = kind == Kind::linear ? 0.75 : 0.5 + std::numbers::sqrt2 / 4;
    BOOST_TEST(std::abs(schedule(15) - (0.1 + 0.9 * quarter)) < kClose);
    for (std::int64_t step = 11; step < 30; ++step)
      BOOST_TEST((schedule(step) < schedule(step - 1) && schedule(step) > 0.1));
    for (std::int64_t step : {30, 31, 1000}) BOOST_TEST(schedule(step) == 0.1);
  }
  // A run that is no longer than its warm-up, and one without.
  for (Kind kind : {Kind::cosine, Kind::linear})
    for (std::int64_t step : {0, 6, 20})
      BOOST_CHECK_EXCEPTION((Schedule{.kind = kind, .warm_up = 10, .total = 10}(step)), Error,
                            says("schedule: a warm-up of 10 steps is not shorter than the 10 in "
                                 "total"));
  BOOST_TEST((Schedule{.kind = Kind::linear, .total = 2}(0)) == 1);
  BOOST_TEST((Schedule{.kind = Kind::linear, .total = 2}(1)) == 0.5);
  BOOST_CHECK_EXCEPTION(constant(-1), Error, says("schedule: step -1 is not allowed; 0 or more"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
