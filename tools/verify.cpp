#include "tools/verify.hpp"

#include <ostream>

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tools/golden_case.hpp"

namespace vla {
namespace {

// A mixer on x with an upstream gradient: output and all gradients. `run` returns the output.
template <class Module, class Run>
void verify_layer(GoldenCase& c, Module& module, Run run) {
  ParameterMap parameters = parameter_map(module);
  load(c, "param.", parameters);
  const Var x = Var::parameter(c.array("x"), "x");
  Tape tape;
  const Var output = run(x);
  c.compare("out", output.value());
  const Gradients gradients = tape.backward(output, c.array("dout"));
  c.compare("dx", gradients[x]);
  compare_all(c, "grad.", parameters, [&](const Var& p) { return gradients[p]; });
}

AttentionOptions attention_of(const GoldenCase& c) {
  return {.width = c.integer("d_model"),
          .heads = c.integer_or("heads", 1),
          .convolution = c.integer_or("convolution", 0),
          .dtype = c.dtype()};
}

void verify_vla_exact(GoldenCase& c) {
  VlaOptions options{.attention = attention_of(c),
                     .forget = c.integer_or("forget", 0) != 0,
                     .forget_floor = 0,
                     .restore_period = c.integer_or("restore_period", 0),
                     .form = c.form(),
                     .unit_floor = c.number_or("unit_floor", 1e-6),
                     .lambda_floor = c.number_or("lambda_floor", 0.01),
                     .norm_epsilon = c.number_or("norm_eps", 1e-5)};
  const auto found = c.file().metadata.find("feature_map");
  const std::string map = found == c.file().metadata.end() ? "elu+1" : found->second;
  check(map == "elu+1" || map == "identity", c.name(), ": feature map '", map,
        "'; elu+1 or identity is needed");
  if (map == "identity") options.feature_map = FeatureMap::identity;
  Rng rng(0);
  Vla layer(options, rng);
  verify_layer(c, layer, [&](const Var& x) {
    const Vla::Result result = layer.run(x);
    if (c.has("M_final")) c.compare("M_final", result.penalty);
    if (c.has("S_final")) c.compare("S_final", result.memory);
    return result.output;
  });
}

template <class Layer, class Options>
void verify_mixer(GoldenCase& c, const Options& options) {
  Rng rng(0);
  Layer layer(options, rng);
  verify_layer(c, layer, [&](const Var& x) { return layer(x); });
}

constexpr double kReferenceFloor = 1e-12;  // of unit() in the reference's baselines

LinearTransformerOptions linear_of(const GoldenCase& c) {
  LinearTransformerOptions options{.attention = attention_of(c), .form = c.form()};
  if (c.file().metadata.contains("denominator_eps")) {
    options.guard = DenominatorGuard::add;
    options.guard_value = c.number("denominator_eps");
  } else {
    options.guard_value = c.number_or("denominator_floor", 1e-6);
  }
  return options;
}

void verify_inverse_penalty(GoldenCase& c) {
  const Tensor u = c.array("u");
  check(u.rank() == 2, c.name(), ": u has shape ", u.shape(), "; (T, d) is needed");
  const Index time = u.size(0), d = u.size(1);
  const auto leaf = [&](const std::string& array, const Shape& shape) {
    return Var::parameter(c.array(array).reshape(shape), array);
  };
  const Var k = leaf("k", {1, time, 1, d});
  Penalty penalty{.directions = leaf("u", {1, time, 1, d}),
                  .lambda0 = Var::parameter(
                      Tensor::full({1}, c.number("lambda_0"), c.dtype(), c.device()), "lambda_0")};
  if (c.has("forget")) penalty.forget = leaf("forget", {1, time, 1});
  Tape tape;
  const Var alpha = inverse_penalty(k, penalty, {.form = c.form()}).output;
  c.compare("alpha", alpha.value().reshape(Shape{time, d}));
  const Gradients gradients = tape.backward(alpha, c.array("dalpha").reshape(Shape{1, time, 1, d}));
  c.compare("dk", gradients[k].reshape(Shape{time, d}));
  c.compare("du", gradients[penalty.directions].reshape(Shape{time, d}));
  c.compare("dlambda_0", gradients[penalty.lambda0]);
  if (c.has("forget")) c.compare("dforget", gradients[penalty.forget].reshape(Shape{time}));

  // A applied to the unit vectors at every token: the last result is A at the end.
  Tensor unit_vectors = Tensor::zeros({1, time, 1, d, d}, c.dtype());
  dispatch_floating(c.dtype(), "verify", [&](auto zero) {
    auto* values = unit_vectors.mutable_data<decltype(zero)>();
    for (Index i = 0; i < time * d; ++i) values[i / d * d * d + i % d * (d + 1)] = 1;
  });
  const Var columns =
      inverse_penalty(Var(unit_vectors.to(c.device())), penalty, {.form = c.form()}).output;
  c.compare("A_final", slice(columns, 1, time - 1, time).value().reshape(Shape{d, d}));
}

void verify_vla_v1(GoldenCase& c) {
  VlaV1Options options{.attention = attention_of(c),
                       .rank = c.integer_or("rank", 1),
                       .symbolic = c.number_or("gamma", 0),
                       .recurrence = {.lambda0 = c.number("lambda_0"),
                                      .nudge_period = c.integer("nudge_period"),
                                      .nudge = c.number("nudge_eps"),
                                      .error_clip = c.number("error_clip")}};
  Rng rng(0);
  VlaV1 layer(options, rng);
  const Tensor relations = c.has("adjacency") ? c.array("adjacency") : Tensor();
  verify_layer(c, layer, [&](const Var& x) { return layer.run(x, relations).output; });
}

VlaV3Options vla_v3_of(const GoldenCase& c) {
  return {.attention = attention_of(c),
          .lambda0 = c.number("lambda_0"),
          .nudge_period = c.integer("nudge_period"),
          .nudge = c.number("nudge_eps"),
          .denominator_floor = c.number("denominator_floor")};
}

// A case whose operators have two forms, compared in each.
template <class Verify>
void verify_forms(GoldenCase& c, Verify verify) {
  for (OperatorForm form : {OperatorForm::step, OperatorForm::chunk}) {
    c.set_form(form);
    verify(c);
  }
}

void verify_delta_net(GoldenCase& c) {
  verify_mixer<DeltaNet>(c,
                         DeltaNetOptions{.attention = attention_of(c),
                                         .unit_query = false,
                                         .rate_from_key = true,
                                         .output_norm = false,
                                         .unit_floor = c.number_or("unit_floor", kReferenceFloor),
                                         .form = c.form()});
}

void verify_linear(GoldenCase& c) { verify_mixer<LinearTransformer>(c, linear_of(c)); }

void verify_case(GoldenCase& c) {
  if (c.is("inverse_penalty")) return verify_forms(c, verify_inverse_penalty);
  if (c.is("train3_")) return verify_training(c);
  if (c.is("vla_exact")) return verify_forms(c, verify_vla_exact);
  if (c.is("vla_v1")) return verify_vla_v1(c);
  if (c.is("vla_v3")) return verify_mixer<VlaV3>(c, vla_v3_of(c));
  if (c.is("deltanet_gated"))
    return verify_mixer<GatedDeltaNet>(
        c, GatedDeltaNetOptions{.attention = attention_of(c),
                                .unit_floor = c.number_or("unit_floor", kReferenceFloor)});
  if (c.is("deltanet")) return verify_forms(c, verify_delta_net);
  if (c.is("linear_")) return verify_forms(c, verify_linear);
  if (c.is("softmax_")) return verify_mixer<SoftmaxTransformer>(c, attention_of(c));
  c.fail_as_unknown();
}

}  // namespace

int run_verify(const std::vector<std::string>& files, DType dtype, Device device, double tolerance,
               std::ostream& out) {
  check(is_floating(dtype), "verify: element type ", dtype, " is not allowed; float64 or float32");
  // Chunks in float32 reach 1.03e-4 for the last A of inverse_penalty_exact, which is the
  // difference of numbers hundreds of times as large, and 2.2e-5 for anything else.
  if (tolerance <= 0) tolerance = dtype == DType::float64 ? 1e-9 : 3e-4;
  bool passed = true;
  std::string unreadable;
  for (const std::string& file : files) {
    try {
      GoldenCase c(file, dtype, device, tolerance, out);
      verify_case(c);
      passed = passed && c.passed();
    } catch (const Error& error) {  // the other files are still worth a verdict
      unreadable += (unreadable.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  check(unreadable.empty(), unreadable);
  return passed ? 0 : 1;
}

}  // namespace vla
