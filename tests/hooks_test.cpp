// Hooks on the gradients of a tape's variables.

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/tape.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

Var scalar_parameter(double value, const std::string& name = "") {
  return Var::parameter(Tensor::scalar(value, DType::float64), name);
}

Tensor scalar(double value) { return Tensor::scalar(value, DType::float64); }

}  // namespace

BOOST_AUTO_TEST_SUITE(hooks)

BOOST_AUTO_TEST_CASE(a_hook_sees_the_whole_gradient_once) {
  const Var w = scalar_parameter(3, "w");
  Tape tape;
  std::vector<std::pair<std::string, double>> seen;
  tape.on_gradient(w, [&](const Tensor& g) { seen.emplace_back("w", g.item()); });
  const Var h = square(w);
  tape.on_gradient(h, [&](const Tensor& g) { seen.emplace_back("h", g.item()); });
  const Var unused = square(w);
  tape.on_gradient(unused, [&](const Tensor&) { seen.emplace_back("unused", 0); });
  const Var loss = h * h + w;  // h is read twice, w twice
  tape.on_gradient(loss, [&](const Tensor& g) { seen.emplace_back("loss", g.item()); });
  tape.backward(loss);
  const std::vector<std::pair<std::string, double>> expected = {
      {"loss", 1}, {"h", 18}, {"w", 18 * 6 + 1}};
  BOOST_TEST((seen == expected));
}

BOOST_AUTO_TEST_CASE(a_replacement_is_what_goes_on) {
  const Var w = scalar_parameter(3);
  Tape tape;
  const Var h = square(w);
  tape.watch(h);
  tape.on_gradient(h, [](const Tensor& g) { return scalar(10 * g.item()); });
  double announced = 0;
  tape.on_final_gradient([&](const Var&, const Tensor& g) { announced = g.item(); });
  tape.on_gradient(w, [](const Tensor& g) { return scalar(g.item() + 1); });
  const Gradients g = tape.backward(2.0 * h);
  BOOST_TEST(g[h].item() == 20);
  BOOST_TEST(g[w].item() == 20 * 6 + 1);
  BOOST_TEST(announced == 20 * 6 + 1);
}

BOOST_AUTO_TEST_CASE(hooks_are_called_in_the_order_they_were_added) {
  const Var w = scalar_parameter(3);
  Tape tape;
  std::vector<double> seen;
  const auto hook = [&](double plus) {
    return [&seen, plus](const Tensor& g) {
      seen.push_back(g.item());
      return plus == 0 ? Tensor() : scalar(g.item() + plus);
    };
  };
  const Var h = square(w);
  tape.on_gradient(h, hook(10));
  tape.on_gradient(h, hook(0));  // only looks on
  tape.on_gradient(h, hook(100));
  tape.on_gradient(h, hook(0));
  tape.backward(h);
  BOOST_TEST(seen == (std::vector<double>{1, 11, 11, 111}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_hook_that_was_removed_is_not_called) {
  const Var w = scalar_parameter(3);
  HookHandle outlives;
  outlives.remove();  // of nothing
  {
    Tape tape;
    const Var h = square(w);
    HookHandle first = tape.on_gradient(h, [](const Tensor&) { return scalar(100); });
    outlives = tape.on_gradient(h, [](const Tensor& g) { return scalar(2 * g.item()); });
    int calls = 0;
    HookHandle own;
    own = tape.on_gradient(h, [&](const Tensor&) {
      ++calls;
      own.remove();  // while it is called
    });
    first.remove();
    first.remove();
    BOOST_TEST(tape.backward(h)[w].item() == 12);
    BOOST_TEST(calls == 1);
  }
  outlives.remove();  // its tape is gone
}

BOOST_AUTO_TEST_CASE(what_is_computed_in_a_hook_is_not_recorded) {
  const Var w = scalar_parameter(3);
  Tape outer;
  {
    Tape tape;
    const Var h = square(w);
    tape.on_gradient(h, [&](const Tensor& g) { return (Var(g) * w).value(); });
    BOOST_TEST(tape.backward(h)[w].item() == 18);
  }
  BOOST_TEST(outer.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_leaf_that_is_the_output_has_its_hook) {
  const Var w = scalar_parameter(3);
  Tape tape;
  tape.on_gradient(w, [](const Tensor& g) { return scalar(5 * g.item()); });
  BOOST_TEST(tape.backward(w)[w].item() == 5);
}

BOOST_AUTO_TEST_CASE(a_variable_of_an_outer_tape_has_hooks_on_the_inner) {
  const Var w = scalar_parameter(3);
  Tape outer;
  const Var h = square(w);
  Tape inner;
  inner.on_gradient(h, [](const Tensor& g) { return scalar(g.item() + 0.5); });
  BOOST_TEST(inner.backward(square(h))[h].item() == 18.5);
}

BOOST_AUTO_TEST_CASE(a_replacement_that_does_not_fit_is_an_error) {
  const Var w = Var::parameter(Tensor::zeros({2}, DType::float64), "w");
  const auto error = [&](bool of_leaf, const Tensor& replacement) {
    Tape tape;
    const Var h = square(w, {"program.cpp", 7});
    tape.on_gradient(of_leaf ? w : h, [&](const Tensor&) { return replacement; });
    return error_of([&] { tape.backward(sum(h)); });
  };
  BOOST_TEST(error(true, Tensor::zeros({3}, DType::float64)) ==
             "on_gradient: the replacement for the gradient of 'w' is float64(3) on cpu, the "
             "variable is float64(2) on cpu");
  BOOST_TEST(error(false, Tensor::zeros({2}, DType::float32)) ==
             "on_gradient: the replacement for the gradient of output 0 of square (called at "
             "program.cpp:7) is float32(2) on cpu, the variable is float64(2) on cpu");
  BOOST_TEST(error(false, Tensor::zeros({2}, DType::float64)) == "accepted");
}

BOOST_AUTO_TEST_CASE(hooks_are_refused_where_they_cannot_be_called) {
  {
    const Var x = Var::parameter(Tensor::scalar(2, DType::float64), "x");
    Tape tape;
    const Var y = square(x);
    tape.backward(y);
    BOOST_TEST(error_of([&] { tape.watch(y); }) ==
               "watch: this tape was walked; watch before backward");
  }
  const Var w = scalar_parameter(3);
  const auto nothing = [](const Tensor&) {};
  Tape tape;
  BOOST_TEST(error_of([&] { tape.on_gradient(Var(scalar(1)), nothing); }) ==
             "on_gradient: the variable requires no gradient");
  tape.backward(square(w));
  BOOST_TEST(error_of([&] { tape.on_gradient(w, nothing); }) ==
             "on_gradient: this tape was walked; add hooks before backward");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
