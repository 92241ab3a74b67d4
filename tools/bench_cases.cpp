#include "tools/bench_cases.hpp"

#include <memory>

#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "models/models.hpp"

namespace vla {
namespace {

// The forms that each operator has.
constexpr OperatorForm kForms[] = {OperatorForm::step, OperatorForm::chunk};

// The operators' inputs as they are in exact VLA: q and k are unit(elu(.) + 1), beta in (0, 1).
struct Operands {
  Var query, key, value, beta, lambda0;

  explicit Operands(const BenchShape& shape) {
    Rng rng(1);
    const Shape vectors{shape.batch, shape.time, shape.heads, shape.head_width()};
    const auto normal = [&] { return rng.normal(vectors, shape.dtype).to(shape.device); };
    const auto features = [&] { return Var::parameter(unit(elu_plus_one(Var(normal()))).value()); };
    query = features();
    key = features();
    value = Var::parameter(normal());
    beta = Var::parameter(rng.uniform(vectors.without(-1), shape.dtype).to(shape.device));
    lambda0 = Var::parameter(Tensor::full({shape.heads}, 0.1, shape.dtype, shape.device));
  }
  Var solved(OperatorForm form) const {
    return inverse_penalty(key, {.directions = key, .weights = beta, .lambda0 = lambda0},
                           {.form = form})
        .output;
  }
  Var recalled(const Var& coefficient, OperatorForm form) const {
    return delta_rule({.query = query, .key = key, .coefficient = coefficient, .value = value},
                      {.form = form})
        .output;
  }
};

Workload penalty_alone(const BenchShape& shape, OperatorForm form) {
  Operands in(shape);
  in.query = in.value = {};  // so that the peak of memory is without them
  return {{in.key, in.beta, in.lambda0}, [=] { return in.solved(form); }};
}

// Directions that are not what A is applied to, and two vectors for every token.
Workload penalty_of_two(const BenchShape& shape, OperatorForm form) {
  Operands in(shape);
  in.query = in.value = {};
  Rng rng(2);
  const Shape pairs{shape.batch, shape.time, shape.heads, 2, shape.head_width()};
  const Var x = Var::parameter(rng.normal(pairs, shape.dtype).to(shape.device));
  return {{x, in.key, in.lambda0}, [=] {
            return inverse_penalty(x, {.directions = in.key, .lambda0 = in.lambda0}, {.form = form})
                .output;
          }};
}

Workload memory_alone(const BenchShape& shape, OperatorForm form) {
  const Operands in(shape);
  const Var coefficient = Var::parameter(scale_heads(detach(in.key), detach(in.beta)).value());
  return {{in.query, in.key, coefficient, in.value},
          [=] { return in.recalled(coefficient, form); }};
}

Workload both_operators(const BenchShape& shape, OperatorForm form) {
  const Operands in(shape);
  return {{in.query, in.key, in.value, in.beta, in.lambda0},
          [=] { return in.recalled(scale_heads(in.solved(form), in.beta), form); }};
}

Workload layer(const BenchShape& shape, const MixerFactory& make_mixer) {
  Rng rng(1);
  const std::shared_ptr<Mixer> mixer = make_mixer(rng);
  move_to(*mixer, shape.device);
  const Var x = Var::parameter(
      rng.normal({shape.batch, shape.time, shape.width}, shape.dtype).to(shape.device));
  Workload result{{x}, [=] { return (*mixer)(x); }};
  for (const Parameter& parameter : parameters(*mixer)) result.inputs.push_back(parameter.variable);
  return result;
}

AttentionOptions attention(const BenchShape& shape) {
  return {.width = shape.width, .heads = shape.heads, .deviation = 0.02, .dtype = shape.dtype};
}

}  // namespace

std::vector<BenchCase> bench_operators() {
  std::vector<BenchCase> cases;
  const auto add = [&](const char* name, double operations, auto make) {
    for (OperatorForm form : kForms)
      cases.push_back({name, std::string(form_name(form)), operations,
                       [=](const BenchShape& shape) { return make(shape, form); }});
  };
  add("inverse-penalty", kVlaOperations / 2, penalty_alone);
  add("inverse-penalty-two", 0, penalty_of_two);
  add("delta-rule", kVlaOperations / 2, memory_alone);
  add("vla-operators", kVlaOperations, both_operators);
  return cases;
}

std::vector<BenchCase> bench_layers() {
  std::vector<BenchCase> cases;
  const auto add = [&](std::string_view name, std::string_view kind, MixerConfig config) {
    cases.push_back({std::string(name), config.form == "auto" ? "whole" : config.form, 0,
                     [=](const BenchShape& shape) {
                       MixerConfig sized = config;
                       sized.attention = attention(shape);
                       return layer(shape, mixer_factory(kind, sized));
                     }});
  };
  for (const auto& [kind, description] : model_kinds()) {
    if (kind == "softmax") {
      add(kind, kind, {});
      continue;
    }
    add(kind, kind, {.form = "step"});
    if (!kind.starts_with("vla-v")) add(kind, kind, {.form = "chunk"});
    if (kind == "vla-v3")
      for (OperatorForm form : kForms)
        add("vla-v3-no-nudge", kind, {.nudge_period = 0, .form = std::string(form_name(form))});
  }
  return cases;
}

}  // namespace vla
