// Segments that backward runs again: the same gradients to the bit, from less memory.

#include "framework/nn/layers.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/recompute.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

using Vars = std::vector<Var>;

// The variables of a module's parameters, with the input first.
template <class Module>
Vars with_parameters(const Var& x, Module& module) {
  Vars inputs = {x};
  for (const Parameter& parameter : parameters(module)) inputs.push_back(parameter.variable);
  return inputs;
}

void check_identical(const Gradients& a, const Gradients& b, std::size_t count) {
  BOOST_TEST(a.size() == count);
  BOOST_TEST(b.size() == count);
  for (const auto& [variable, gradient] : a) check_close(b[variable], gradient, 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(recomputing)

BOOST_AUTO_TEST_CASE(the_gradients_are_the_same_to_the_bit_from_less_memory) {
  Rng rng(1);
  std::vector<Mlp> blocks;
  for (int i = 0; i < 4; ++i) blocks.emplace_back(16, 64, rng);
  const Var x = Var::parameter(rng.normal({64, 16}, DType::float32), "x");
  std::size_t saved[2];
  Gradients gradients[2];
  for (const bool again : {false, true}) {
    Tape tape;
    Var h = x;
    for (Mlp& block : blocks) {
      const auto segment = [&block](const Vars& in) { return in[0] + block(in[0]); };
      h = again ? recompute(segment, with_parameters(h, block)) : segment({h});
    }
    const Var loss = mean(square(h));
    saved[again] = tape.saved_bytes();
    gradients[again] = tape.backward(loss);
  }
  check_identical(gradients[false], gradients[true], 17);
  // Of each block its input and its parameters, which are there anyway.
  std::size_t inputs = 4 * x.value().bytes();
  for (Mlp& block : blocks) inputs += 4 * static_cast<std::size_t>(parameter_count(block));
  const std::size_t loss = x.value().bytes();  // what `square` keeps
  BOOST_TEST(saved[true] < inputs + 2 * loss + 1);
  BOOST_TEST(saved[true] * 4 < saved[false], saved[true] << " of " << saved[false]);
}

BOOST_AUTO_TEST_CASE(a_block_of_a_model_can_be_recomputed) {
  Rng rng(2);
  VlaLanguageModel model({.vocabulary = 16, .width = 16, .heads = 2, .positions = 12}, rng);
  const Tensor tokens = Tensor::range(0, 12).reshape({1, 12});
  SequenceModel& body = model.body();
  Gradients gradients[2];
  double losses[2];
  for (const bool again : {false, true}) {
    Tape tape;
    Var h = body.embed(tokens);
    for (Block& block : body.blocks()) {
      const auto segment = [&](const Vars& in) { return block(in[0], tokens); };
      h = again ? recompute(segment, with_parameters(h, block)) : segment({h});
    }
    const Var loss = mean(square(h));
    losses[again] = loss.value().item();
    gradients[again] = tape.backward(loss);
  }
  BOOST_TEST(losses[false] == losses[true]);
  BOOST_TEST(gradients[false].size() > 20u);
  check_identical(gradients[false], gradients[true], gradients[false].size());
}

BOOST_AUTO_TEST_CASE(dropout_draws_the_same_words_again) {
  Rng rng(3);
  Linear linear(8, 8, rng);
  const Var x = Var::parameter(rng.normal({4, 8}, DType::float32), "x");
  Gradients gradients[2];
  RandomState after[2];
  for (const bool again : {false, true}) {
    Dropout dropout(0.5, Rng(7));
    Tape tape;
    Var h = x;
    for (int i = 0; i < 2; ++i) {
      const auto segment = [&](const Vars& in) { return dropout(linear(in[0])); };
      h = again ? recompute(segment, with_parameters(h, linear), {.random = {&dropout.rng}})
                : segment({h});
    }
    gradients[again] = tape.backward(sum(square(h)));
    after[again] = dropout.rng.state();
  }
  check_identical(gradients[false], gradients[true], 3);
  BOOST_TEST((after[false] == after[true]));
  BOOST_TEST(after[true].position == 64u);
}

BOOST_AUTO_TEST_CASE(a_stream_that_is_not_given_is_an_error) {
  Dropout dropout(0.5, Rng(7));
  const Var x = Var::parameter(Tensor::full({3}, 1, DType::float32), "x");
  Tape tape;
  const std::string message = error_of([&] {
    recompute([&](const Vars& in) { return dropout(in[0]); }, {x}, {}, {"p.cpp", 3});
  });
  BOOST_TEST(message ==
             "recompute (called at p.cpp:3): the function draws 3 random words in its ops, and the "
             "streams given in `random` moved on by 0; give every stream that it draws from");
}

BOOST_AUTO_TEST_CASE(a_parameter_that_is_not_given_is_an_error) {
  Rng rng(4);
  Linear linear(2, 2, rng);
  parameters(linear);  // gives them their names
  const Var x(rng.normal({3, 2}, DType::float32));
  Tape tape;
  const auto segment = [&](const Vars& in) { return linear(in[0]); };
  const std::string message = error_of([&] {
    recompute(segment, {x, linear.weight}, {}, {"p.cpp", 3});
  });
  check_contains(message, "recompute (called at p.cpp:3): linear (called at ");
  check_contains(message,
                 ") reads 'bias' of shape (2), which requires a gradient and is not "
                 "among the inputs");
  check_contains(error_of([&] {
                   const Var h = square(linear.weight);
                   recompute([&](const Vars&) { return square(h); }, {x});
                 }),
                 "reads a variable without a name of shape (2, 2)");
  BOOST_TEST(error_of([&] { recompute(segment, {x, linear.weight, linear.bias}); }) == "accepted");
}

BOOST_AUTO_TEST_CASE(several_results_unused_inputs_and_constants) {
  const Var a = Var::parameter(Tensor::scalar(3, DType::float64), "a");
  const Var b = Var::parameter(Tensor::scalar(5, DType::float64), "b");
  const Var c(Tensor::scalar(2, DType::float64));
  const auto segment = [](const Vars& in) {
    return Vars{in[0] * in[2], square(in[0]), in[2] + 1.0, in[0]};
  };
  Tape tape;
  const Vars y = recompute(segment, {a, b, c, Var(), a});
  BOOST_REQUIRE_EQUAL(y.size(), 4u);
  const Gradients g = tape.backward(y[0] + 10.0 * y[1] + y[2] + 100.0 * y[3]);
  BOOST_TEST(g[a].item() == 2 + 60 + 100);
  BOOST_TEST(g[b].item() == 0);
  Tape constant;  // no result depends on a parameter
  BOOST_TEST(
      constant.backward(recompute([&](const Vars& in) { return in[1]; }, {a, c}))[a].item() == 0);
}

BOOST_AUTO_TEST_CASE(segments_nest) {
  const Var w = Var::parameter(Tensor::scalar(0.5, DType::float64), "w");
  const auto inner = [](const Vars& in) { return exp(in[0]) * in[1]; };
  const auto outer = [&](const Vars& in) {
    return square(recompute(inner, {square(in[0]), in[0]}));
  };
  Tape tape, plain;
  const double direct = plain.backward(square(exp(square(w)) * w))[w].item();
  Tape again;
  BOOST_TEST(again.backward(recompute(outer, {w}))[w].item() == direct);
}

BOOST_AUTO_TEST_CASE(without_a_tape_it_is_a_call) {
  const Var w = Var::parameter(Tensor::scalar(3, DType::float64), "w");
  const Var y = recompute([](const Vars& in) { return square(in[0]); }, {w});
  BOOST_TEST(y.value().item() == 9);
  BOOST_TEST(!y.requires_gradient());
}

BOOST_AUTO_TEST_CASE(an_input_changed_in_place_is_an_error) {
  Var w = Var::parameter(Tensor::scalar(3, DType::float64), "w");
  Tape tape;
  const Var y = recompute([](const Vars& in) { return square(in[0]); }, {w}, {}, {"p.cpp", 3});
  w.mutable_value().fill(4);
  BOOST_TEST(error_of([&] { tape.backward(y); }) ==
             "recompute (called at p.cpp:3): saved tensor 0 was changed in place before backward");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
