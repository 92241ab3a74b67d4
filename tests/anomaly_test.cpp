// Which op made the first number that is not finite.

#include "framework/anomaly.hpp"

#include "framework/nn/layers.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "framework/recompute.hpp"
#include "framework/statistics.hpp"
#include "framework/tape.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/special_values.hpp"

namespace vla {
namespace {

std::string here(int line) { return concatenate(" (called at ", __FILE__, ":", line, ")"); }

}  // namespace

BOOST_AUTO_TEST_SUITE(anomaly)

BOOST_AUTO_TEST_CASE(the_op_that_made_it_is_named_with_its_line_and_inputs) {
  const Var w = Var::parameter(row({4, -1, 0}), "w");
  const DetectAnomalies detect;
  Tape tape;
  const Var h = w * 1.0;
  const std::string message = error_of([&] { exp(log(h)); });
  BOOST_TEST(message == "log" + here(__LINE__ - 1) +
                            ": result 0, float64(3), has 1 NaN and 1 Inf; input 0, result, "
                            "float64(3) from -1 to 4");
}

BOOST_AUTO_TEST_CASE(an_op_inside_a_model_is_told_with_the_line_that_calls_the_model) {
  Rng rng(1);
  VlaLanguageModel model({.vocabulary = 5, .width = 4, .heads = 1, .layers = 1, .hidden = 4}, rng);
  const Tensor tokens = Tensor::from<Index>({1, 3}, std::vector<Index>{1, 2, 3});
  const auto spoil = [&](double number) {
    for (Parameter parameter : parameters(model))
      if (parameter.name.ends_with("mlp.down.weight"))
        parameter.variable.mutable_value().mutable_values<float>()[0] = float(number);
  };
  const DetectAnomalies detect;
  spoil(kNaN);
  std::string message = error_of([&] { model(tokens); });
  std::string call = concatenate("for the call at ", __FILE__, ":", __LINE__ - 1, ")");
  BOOST_TEST(message.starts_with("linear (called at "), message);
  BOOST_TEST((message.find(call) != std::string::npos), message);

  // In the backward walk the call is over, and told all the same. Later ops are told without it.
  spoil(1);
  Tape tape;
  const Var logits = model(tokens);
  call = concatenate("for the call at ", __FILE__, ":", __LINE__ - 1, ")");
  spoil(kNaN);
  message = error_of([&] { tape.backward(sum(logits)); });
  BOOST_TEST((message.find(call) != std::string::npos), message);
  BOOST_TEST(error_of([&] { log(Var(row({-1}))); }).starts_with("log" + here(__LINE__)));
}

BOOST_AUTO_TEST_CASE(every_type_is_looked_at) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Var w = Var::parameter(row({1e3}, dtype), "w");
    BOOST_TEST(exp(w).value().item() == kInf);  // nobody looks on
    const DetectAnomalies detect;
    const std::string message = error_of([&] { exp(w); });
    BOOST_TEST(message == concatenate("exp", here(__LINE__ - 1), ": result 0, ", dtype,
                                      "(1), has 1 Inf; input 0, parameter 'w', ", dtype,
                                      "(1) from 1000 to 1000"));
  }
  BOOST_TEST(all_finite(row({1e3, -2}, DType::bfloat16)));
  BOOST_TEST(!all_finite(row({1e3, kNaN}, DType::bfloat16)));
  BOOST_TEST(all_finite(Tensor::zeros({3}, DType::int64)));
  BOOST_TEST(all_finite(Tensor::zeros({0}, DType::float32)));
  BOOST_TEST(all_finite(row({1e308, 1e308})));  // their sum and squares are not
}

BOOST_AUTO_TEST_CASE(inputs_that_were_not_finite_are_said_to_be) {
  const Var w = Var::parameter(row({1, kNaN, kInf, kInf}), "blocks.0.weight");
  const DetectAnomalies detect;
  Tape tape;
  const std::string message = error_of([&] { Var(row({1, 2, 3, 4})) * w; });
  BOOST_TEST(message == "mul" + here(__LINE__ - 1) +
                            ": result 0, float64(4), has 1 NaN and 2 Inf; input 0, constant, "
                            "float64(4) from 1 to 4; input 1, parameter 'blocks.0.weight', "
                            "float64(4) from 1 to 1, 1 NaN, 2 Inf: it was not finite before");
}

BOOST_AUTO_TEST_CASE(a_rule_that_makes_it_is_named) {
  const Var w = Var::parameter(row({4, 0}), "w");
  const DetectAnomalies detect;
  Tape tape;
  const Var root = sqrt(w);
  const int line = __LINE__ - 1;
  BOOST_TEST(error_of([&] { tape.backward(sum(root)); }) ==
             "backward of sqrt" + here(line) +
                 ": gradient of input 0, float64(2), has 1 Inf; upstream gradient 0, float64(2) "
                 "from 1 to 1; saved tensor 0, parameter 'w', float64(2) from 0 to 4; saved tensor "
                 "1, float64(2) from 0 to 2");
}

BOOST_AUTO_TEST_CASE(what_no_rule_made_is_told_apart) {
  const Var w = Var::parameter(row({0.25, 1}), "w");
  const DetectAnomalies detect;
  const auto contains = [&](const std::string& message) {
    check_contains(message,
                   "backward of square (called at program.cpp:7): the gradient that "
                   "reaches it is not finite, which comes of adding gradients up, of a "
                   "hook, or of the caller; upstream gradient 0, float64(2)");
  };
  {
    Tape tape;
    const Var h = square(w, {"program.cpp", 7});
    tape.on_gradient(h, [](const Tensor&) { return row({kNaN, 1}); });
    contains(error_of([&] { tape.backward(sum(h)); }));
  }
  {
    Tape tape;
    const Var h = square(w, {"program.cpp", 7});
    contains(error_of([&] { tape.backward(h, row({kInf, 1})); }));
  }
  Tape tape;  // each part is finite, and their sum is not
  const Var parts = w * row({1.5e308, 1}) + w * row({1.5e308, 1});
  BOOST_TEST(error_of([&] {
               tape.backward(parts, row({1, 1}));
             }) ==
             "backward: the gradient of parameter 'w', float64(2) from 2 to 2, 1 Inf, is not "
             "finite, which comes of adding gradients up, of a hook, or of the caller");
}

BOOST_AUTO_TEST_CASE(a_mask_is_no_anomaly) {
  const Var scores = Var::parameter(Tensor::zeros({3, 3}, DType::float64), "scores");
  {
    const DetectAnomalies detect;
    Tape tape;
    const Var loss = sum(square(softmax(causal_mask(scores))));
    BOOST_TEST(error_of([&] { tape.backward(loss); }) == "accepted");
  }
  const DetectAnomalies strict({.may_be_infinite = {}});
  check_contains(error_of([&] { causal_mask(scores); }), "has 3 Inf");
}

BOOST_AUTO_TEST_CASE(ops_are_seen_off_the_tape_and_in_recomputed_segments) {
  const Var w = Var::parameter(row({-1}), "w");
  const DetectAnomalies detect;
  check_contains(error_of([&] { log(Var(row({-1}))); }), "input 0, constant");
  {
    const PauseRecording pause;
    check_contains(error_of([&] { log(w); }), "log (called at ");
  }
  Tape tape;
  check_contains(
      error_of([&] { recompute([](const std::vector<Var>& in) { return log(in[0]); }, {w}); }),
      "log (called at ");
}

BOOST_AUTO_TEST_CASE(a_layer_is_named_with_the_line_that_calls_it) {
  Rng rng(1);
  Mlp mlp(2, 3, rng);
  parameters(mlp);
  mlp.down.weight.mutable_value().fill(kInf);
  const DetectAnomalies detect;
  const std::string message = error_of([&] { mlp(Var(Tensor::zeros({1, 2}, DType::float32))); });
  check_contains(message, "linear" + here(__LINE__ - 1) + ": result 0, float32(1, 2), has ");
  check_contains(message,
                 "; input 1, parameter 'down.weight', float32(2, 3) nothing finite, 6 Inf: "
                 "it was not finite before");
}

BOOST_AUTO_TEST_CASE(detection_ends_with_its_scope) {
  const Var w = Var::parameter(row({-1}), "w");
  { const DetectAnomalies detect; }
  BOOST_TEST(!OpObserver::any());
  Tape tape;
  BOOST_TEST(std::isnan(tape.backward(sum(log(w) * sqrt(w)))[w].item()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
