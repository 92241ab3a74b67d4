// The engine, mostly with ops made here: it knows none of its own.

#include "framework/tape.hpp"

#include <map>

#include "framework/diverged.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

Var scalar_parameter(double value, const std::string& name = "") {
  return Var::parameter(Tensor::scalar(value, DType::float64), name);
}

// A copy of x with a backward rule of the test's own.
template <class Rule>
Var custom(const Var& x, Rule rule, CallSite site = CallSite::here()) {
  return record("custom", x.value().clone(), {x}, {}, rule, site);
}

std::string here(int line) { return concatenate(__FILE__, ":", line); }

}  // namespace

BOOST_AUTO_TEST_SUITE(tape)

BOOST_AUTO_TEST_CASE(without_a_tape_nothing_is_recorded) {
  BOOST_TEST(Tape::current() == nullptr);
  const Var w = scalar_parameter(3);
  const Var y = square(w);
  BOOST_TEST(!y.requires_gradient());
  BOOST_TEST(y.value().item() == 9);
  Tape tape;
  square(Var(Tensor::scalar(2, DType::float64)));
  BOOST_TEST(tape.size() == 0u);  // of a constant: nothing either
}

BOOST_AUTO_TEST_CASE(gradients_of_a_small_program) {
  const Var a = scalar_parameter(2, "a"), b = scalar_parameter(5, "b"),
            unused = scalar_parameter(1);
  Tape tape;
  const Var loss = a * b + square(a);
  BOOST_TEST(tape.size() == 3u);
  const Gradients g = tape.backward(loss);
  BOOST_TEST(g.size() == 2u);
  BOOST_TEST(g[a].item() == 9);
  BOOST_TEST(g[b].item() == 2);
  BOOST_TEST(g.find(unused) == nullptr);
  BOOST_TEST((*g.begin()).first.name() == "a");
}

BOOST_AUTO_TEST_CASE(the_innermost_tape_records) {
  const Var w = scalar_parameter(3);
  Tape outer;
  const Var y = square(w);
  {
    Tape inner;
    BOOST_TEST(Tape::current() == &inner);
    const Var z = square(y);
    const Gradients g = inner.backward(z);
    BOOST_TEST(g[y].item() == 18);  // a variable of an outer tape is a leaf
    BOOST_TEST(g.find(w) == nullptr);
    BOOST_TEST(outer.size() == 1u);
  }
  BOOST_TEST(Tape::current() == &outer);
  BOOST_TEST(outer.backward(square(y))[w].item() == 4 * 27);
}

BOOST_AUTO_TEST_CASE(a_variable_of_a_tape_that_is_gone_is_a_leaf) {
  const Var w = scalar_parameter(3);
  Var y;
  {
    Tape gone;
    y = square(w);
  }
  Tape tape;
  const Gradients g = tape.backward(square(y));
  BOOST_TEST(g[y].item() == 18);
  BOOST_TEST(g.find(w) == nullptr);
}

BOOST_AUTO_TEST_CASE(recording_can_be_paused) {
  const Var w = scalar_parameter(3);
  Tape tape;
  Var y;
  {
    PauseRecording pause;
    BOOST_TEST(Tape::current() == nullptr);
    y = square(w);
  }
  BOOST_TEST(tape.size() == 0u);
  BOOST_TEST(tape.backward(y * w)[w].item() == 9);
}

BOOST_AUTO_TEST_CASE(a_detached_value_is_a_constant) {
  const Var w = scalar_parameter(3);
  Tape tape;
  BOOST_TEST(tape.backward(detach(square(w)) * w)[w].item() == 9);
}

BOOST_AUTO_TEST_CASE(a_saved_tensor_changed_in_place_is_an_error) {
  Var w = scalar_parameter(3);
  Tape tape;
  const Var y = square(w);
  const int line = __LINE__ - 1;
  w.mutable_value().fill(4);
  BOOST_CHECK_EXCEPTION(tape.backward(y), Error,
                        says("square (called at " + here(line) +
                             "): saved tensor 0 was changed in place before backward"));
}

BOOST_AUTO_TEST_CASE(a_wrong_number_of_gradients_is_an_error) {
  const Var w = scalar_parameter(3), constant(Tensor::scalar(2, DType::float64));
  const Var matrix = Var::parameter(Tensor::zeros({2, 3}, DType::float64));
  for (std::size_t count : {std::size_t{0}, std::size_t{2}, std::size_t{4}}) {
    Tape tape;
    const auto rule = [count](const BackwardContext& at) {
      return std::vector<Tensor>(count, at.gradient());
    };
    const Var y =
        record("custom", Tensor::scalar(1, DType::float64), {w, constant, matrix}, {}, rule);
    const int line = __LINE__ - 1;
    BOOST_CHECK_EXCEPTION(
        tape.backward(y), Error,
        says(concatenate("custom (called at ", here(line), "): backward returned ", count,
                         " gradients; needed is one for each of its inputs, float64(), a "
                         "constant, float64(2, 3)")));
  }
}

BOOST_AUTO_TEST_CASE(a_gradient_that_does_not_fit_its_input_is_an_error) {
  const Var w = Var::parameter(Tensor::zeros({2}, DType::float64));
  const CallSite site{"program.cpp", 7};
  const std::string start = "custom (called at program.cpp:7): ";
  const std::map<std::string, Tensor> wrong = {
      {start + "gradient of input 0 is float64(3) on cpu, the input is float64(2) on cpu",
       Tensor::zeros({3}, DType::float64)},
      {start + "gradient of input 0 is float64(2, 1) on cpu, the input is float64(2) on cpu",
       Tensor::zeros({2, 1}, DType::float64)},
      {start + "gradient of input 0 is float32(2) on cpu, the input is float64(2) on cpu",
       Tensor::zeros({2}, DType::float32)},
      {start + "backward returned no gradient for input 0, which is float64(2) and wants one",
       Tensor()}};
  for (const auto& [message, gradient] : wrong) {
    Tape tape;
    const Var y = custom(
        w, [gradient = gradient](const BackwardContext&) { return std::vector<Tensor>{gradient}; },
        site);
    BOOST_CHECK_EXCEPTION(tape.backward(sum(y)), Error, says(message));
  }
}

BOOST_AUTO_TEST_CASE(an_error_inside_a_rule_tells_whose_rule_it_was) {
  const Var w = Var::parameter(Tensor::zeros({2}, DType::float64));
  const CallSite site{"program.cpp", 7};
  const auto rule = [](const BackwardContext& at) -> std::vector<Tensor> {
    return {(Var(at.gradient()) + Var(Tensor::zeros({3}, DType::float64))).value()};
  };
  std::string reason;
  try {
    Var(Tensor::zeros({2}, DType::float64)) + Var(Tensor::zeros({3}, DType::float64));
  } catch (const Error& error) {
    reason = error.what();
  }
  BOOST_TEST(reason != "");
  Tape tape;
  const Var y = custom(w, rule, site);
  BOOST_CHECK_EXCEPTION(tape.backward(sum(y)), Error,
                        says("custom (called at program.cpp:7): in its backward rule: " + reason));
}

BOOST_AUTO_TEST_CASE(a_rule_that_diverges_is_a_training_that_diverged) {
  const Var w = scalar_parameter(3);
  const auto rule = [](const BackwardContext&) -> std::vector<Tensor> { throw Diverged("nan"); };
  Tape tape;
  const Var y = custom(w, rule, {"program.cpp", 7});
  BOOST_CHECK_EXCEPTION(tape.backward(y), Diverged,
                        says("custom (called at program.cpp:7): in its backward rule: nan"));
}

BOOST_AUTO_TEST_CASE(a_rule_that_runs_out_of_memory_says_so_as_ever) {
  const Var w = scalar_parameter(3);
  const OutOfMemory none({}, 1, 2, 3, {});
  Tape tape;
  const Var y =
      custom(w, [&](const BackwardContext&) -> std::vector<Tensor> { throw OutOfMemory(none); });
  BOOST_CHECK_EXCEPTION(tape.backward(y), OutOfMemory, says(none.what()));
}

BOOST_AUTO_TEST_CASE(a_rule_that_is_missing_is_refused_where_it_is_missing) {
  const CallSite site{"program.cpp", 7};
  BOOST_CHECK_EXCEPTION(
      record("custom", Tensor::scalar(1, DType::float64), {scalar_parameter(3)}, {}, nullptr, site),
      Error, says("custom (called at program.cpp:7): record was given no backward rule"));
}

BOOST_AUTO_TEST_CASE(an_input_that_wants_no_gradient_may_get_none) {
  const Var w = scalar_parameter(3), constant(Tensor::scalar(2, DType::float64));
  Tape tape;
  std::vector<bool> wanted;
  const Var y = record("custom", Tensor::scalar(6, DType::float64), {constant, w}, {},
                       [&](const BackwardContext& at) -> std::vector<Tensor> {
                         wanted = {at.wants(0), at.wants(1)};
                         return {{}, at.gradient()};
                       });
  BOOST_TEST(tape.backward(y)[w].item() == 1);
  BOOST_TEST(wanted == (std::vector<bool>{false, true}));
}

BOOST_AUTO_TEST_CASE(an_intermediate_has_a_gradient_only_if_it_is_watched) {
  const Var a = scalar_parameter(2);
  Tape tape;
  Var h = square(a);
  h.set_name("h");
  const Gradients g = tape.backward(square(h));
  BOOST_CHECK_EXCEPTION(
      g[h], Error,
      says("no gradient for 'h' of shape (): it took no part in the loss, or is an intermediate "
           "result that was not watched: call tape.watch with it before backward"));
}

BOOST_AUTO_TEST_CASE(a_variable_that_took_no_part_has_no_gradient) {
  const Var a = scalar_parameter(2), b = scalar_parameter(1, "bias");
  Tape tape;
  square(b);
  const Gradients g = tape.backward(square(a));
  BOOST_CHECK_EXCEPTION(g[b], Error,
                        says("no gradient for 'bias' of shape (): it took no part in the loss"));
  const Var nameless = Var::parameter(Tensor::zeros({2, 3}, DType::float32));
  BOOST_CHECK_EXCEPTION(
      g[nameless], Error,
      says("no gradient for a variable without a name of shape (2, 3): it took no "
           "part in the loss"));
}

BOOST_AUTO_TEST_CASE(gradients_add_up_over_batches) {
  const Var a = scalar_parameter(2), b = scalar_parameter(3);
  const auto gradients_of = [](const auto& loss) {
    Tape tape;
    return tape.backward(loss());
  };
  const Gradients first = gradients_of([&] { return square(a); });
  const Gradients second = gradients_of([&] { return a * b; });
  Gradients total;
  total += first;
  total += second;
  total += second;
  BOOST_TEST(total[a].item() == 4 + 3 + 3);
  BOOST_TEST(total[b].item() == 2 + 2);
  BOOST_TEST(first[a].item() == 4);  // the parts are as they were
  BOOST_TEST(second[a].item() == 3);
  BOOST_TEST(second[b].item() == 2);
}

BOOST_AUTO_TEST_CASE(an_intermediate_can_be_watched) {
  const Var w = scalar_parameter(3);
  Tape tape;
  const Var h = square(w);
  const Var other = square(w);
  tape.watch(h);
  const Gradients g = tape.backward(square(h) + other);
  BOOST_TEST(g[h].item() == 18);
  BOOST_TEST(g.find(other) == nullptr);
  BOOST_TEST(g[w].item() == 18 * 6 + 6);
  BOOST_CHECK_EXCEPTION(tape.watch(scalar_parameter(1)), Error,
                        says("watch: the variable was not recorded by this tape"));
}

BOOST_AUTO_TEST_CASE(a_gradient_is_announced_once_when_it_is_final) {
  const Var first = scalar_parameter(2, "first"), second = scalar_parameter(3, "second");
  const Var unused = scalar_parameter(1, "unused");
  Tape tape;
  std::vector<std::pair<std::string, double>> announced;
  tape.on_final_gradient([&](const Var& variable, const Tensor& gradient) {
    announced.emplace_back(variable.name(), gradient.item());
  });
  const Var h = first * first;  // twice in its first node, and once more below
  square(unused);
  const Var y = h * second;
  const Gradients g = tape.backward(y + first);
  const std::vector<std::pair<std::string, double>> expected = {{"second", 4}, {"first", 13}};
  BOOST_TEST((announced == expected));
  BOOST_TEST(g[first].item() == 13);
}

BOOST_AUTO_TEST_CASE(a_tape_is_walked_once) {
  const Var w = scalar_parameter(3);
  Tape tape;
  const Var y = square(w);
  tape.backward(y);
  BOOST_CHECK_EXCEPTION(tape.backward(y), Error,
                        says("backward: this tape was walked before; record a new one"));
}

BOOST_AUTO_TEST_CASE(a_loss_is_one_number_that_depends_on_a_parameter) {
  const Var w = Var::parameter(Tensor::zeros({2, 3}, DType::float32));
  {
    Tape tape;
    const Var y = square(w);
    BOOST_CHECK_EXCEPTION(
        tape.backward(y), Error,
        says("backward: the loss has shape (2, 3); one element is needed (or give "
             "the upstream gradient)"));
    BOOST_CHECK_EXCEPTION(tape.backward(y, Tensor::zeros({3, 2}, DType::float32)), Error,
                          says("backward: upstream gradient is float32(3, 2), the output is "
                               "float32(2, 3)"));
  }
  Tape tape;
  BOOST_CHECK_EXCEPTION(tape.backward(Var(Tensor::scalar(1, DType::float32))), Error,
                        says("backward: the loss depends on no parameter of this tape; was it "
                             "computed while the tape was alive, and from a Var::parameter?"));
}

BOOST_AUTO_TEST_CASE(a_chain_of_200000_ops) {
  const Var w = scalar_parameter(1);
  Tape tape;
  Var y = w;
  for (int i = 0; i < 200'000; ++i) y = shift(y, 1);
  BOOST_TEST(tape.size() == 200'000u);
  BOOST_TEST(y.value().item() == 200'001);
  BOOST_TEST(tape.backward(y)[w].item() == 1);
}

BOOST_AUTO_TEST_CASE(an_op_with_several_outputs) {
  const Var w = scalar_parameter(3);
  const auto powers = [](const Var& x) {
    const double v = x.value().item();
    return record(
        "powers",
        std::vector<Tensor>{Tensor::scalar(v * v, DType::float64),
                            Tensor::scalar(v * v * v, DType::float64)},
        {x}, {x.value()}, [](const BackwardContext& at) -> std::vector<Tensor> {
          const double x = at.saved(0).item();
          return {Tensor::scalar(2 * x * at.gradient(0).item() + 3 * x * x * at.gradient(1).item(),
                                 DType::float64)};
        });
  };
  {
    Tape tape;
    const std::vector<Var> y = powers(w);
    BOOST_TEST(tape.backward(y[0] + 10.0 * y[1])[w].item() == 6 + 270);
  }
  Tape tape;  // an output that nobody uses counts as zeros
  BOOST_TEST(tape.backward(powers(w)[1])[w].item() == 27);
}

BOOST_AUTO_TEST_CASE(an_error_names_the_line_of_the_call) {
  Var w = Var::parameter(Tensor::full({2}, 3, DType::float64));
  const auto message_of = [&](const auto& function) {
    Tape tape;
    const Var y = function();
    w.mutable_value().fill(3);
    std::string text;
    try {
      tape.backward(sum(y));
    } catch (const Error& error) {
      text = error.what();
    }
    return text;
  };
  const auto starts = [](const std::string& text, const std::string& start) {
    BOOST_TEST(text.starts_with(start), "'" << text << "' starts with '" << start << "'");
  };
  starts(message_of([&] { return w * w; }), "mul (called at " + here(__LINE__) + ")");
  starts(message_of([&] { return 1.0 - w / w; }), "div (called at " + here(__LINE__) + ")");
  starts(message_of([&] { return exp(w * 2.0) + square(w) + 1.0; }),
         "square (called at " + here(__LINE__ - 1) + ")");
}

BOOST_AUTO_TEST_CASE(one_gradient_for_two_inputs_is_not_corrupted) {
  const Var a = Var::parameter(Tensor::zeros({3}, DType::float64));
  const Var b = Var::parameter(Tensor::zeros({3}, DType::float64));
  Tape tape;
  const Var h = a + b;          // hands the same tensor to both
  const Var y = h + a + a + b;  // and both receive more
  const Tensor upstream = Tensor::full({3}, 1, DType::float64);
  const Gradients g = tape.backward(y, upstream);
  check_close(g[a], Tensor::full({3}, 3, DType::float64), 0);
  check_close(g[b], Tensor::full({3}, 2, DType::float64), 0);
  check_close(upstream, Tensor::full({3}, 1, DType::float64), 0);
}

BOOST_AUTO_TEST_CASE(saved_tensors_are_counted_and_released) {
  const Var w = Var::parameter(Tensor::zeros({1000}, DType::float64));
  const std::size_t before = memory_statistics().live;
  Tape tape;
  Var y = w;
  for (int i = 0; i < 5; ++i) y = exp(y);
  BOOST_TEST(tape.saved_bytes() == 5 * 2 * 8000u);  // input and output of each
  const Var loss = sum(y);
  y = {};
  const Gradients g = tape.backward(loss);
  BOOST_TEST(tape.saved_bytes() == 0u);
  BOOST_TEST(memory_statistics().live <= before + 8000 + 8000 / 8 + 64);  // the gradient, the loss
}

BOOST_AUTO_TEST_CASE(parameters_are_floating) {
  BOOST_CHECK_EXCEPTION(Var::parameter(Tensor::zeros({2}, DType::int64), "tokens"), Error,
                        says("parameter 'tokens': a floating tensor is needed"));
  BOOST_CHECK_EXCEPTION(Var().value(), Error, says("use of a variable that is not defined"));
}

BOOST_AUTO_TEST_CASE(after_its_backward_a_tape_hands_recording_back) {
  const Var w = Var::parameter(Tensor::from<double>({1}, std::vector<double>{2}), "w");
  Tape outer;
  Tape inner;
  const Var first = mul(w, w);
  BOOST_TEST(inner.backward(first)[w].item() == 4);
  const Var second = mul(w, w);  // on the outer tape, though the inner one is alive
  BOOST_TEST(inner.size() == 1u);
  BOOST_TEST(outer.backward(add(second, w))[w].item() == 5);
  BOOST_TEST(!mul(w, w).requires_gradient());
}

BOOST_AUTO_TEST_CASE(a_loss_of_another_tape_is_refused) {
  const Var w = Var::parameter(Tensor::from<double>({1}, std::vector<double>{2}), "w");
  Var loss;
  {
    Tape tape;
    loss = mul(w, w);
  }
  Tape other;
  mul(w, w);
  BOOST_CHECK_EXCEPTION(other.backward(loss), Error,
                        says("backward: the loss depends on no parameter of this tape; was it "
                             "computed while the tape was alive, and from a Var::parameter?"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
