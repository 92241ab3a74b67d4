// Gradient cases of the operators of mixers, in each form that they have.

#include "framework/ops/shaping.hpp"
#include "models/delta_rule.hpp"
#include "models/softmax_transformer/softmax_attention.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "tools/case_table.hpp"

namespace vla {
namespace {

constexpr DType kDouble = DType::float64;

struct OperatorSizes {
  Index batch = 2, time = 5, heads = 2, key = 3, value = 2, rank = 1;
};

// The recurrent operators are checked in both forms, and by chunk over the borders of chunks.
struct RowForm {
  const char* name;
  OperatorForm form;
  Index chunk = 0;
};
constexpr RowForm kRowForms[] = {{"step", OperatorForm::step}, {"chunk", OperatorForm::chunk, 3}};

// One row zero, one repeated: random normals never hit either.
Tensor with_edges(Tensor x) {
  if (x.size(1) < 4) return x;
  const Index row = x.elements() / x.size(0) / x.size(1);
  auto values = x.mutable_values<double>();
  for (Index i = 0; i < row; ++i) {
    values[static_cast<std::size_t>(2 * row + i)] = 0;
    values[static_cast<std::size_t>(3 * row + i)] = values[static_cast<std::size_t>(row + i)];
  }
  return x;
}

void add_delta_rule_cases(std::vector<GradientCase>& rows) {
  const auto row = [&](const std::string& name, OperatorSizes n, RowForm form, bool key, bool gate,
                       bool state) {
    Rng rng(13);
    const Shape keys{n.batch, n.time, n.heads, n.key}, values{n.batch, n.time, n.heads, n.value};
    std::vector<Tensor> inputs{with_edges(rng.normal(keys, kDouble)),
                               with_edges(rng.normal(keys, kDouble, 0, 0.5)),
                               rng.normal(values, kDouble)};
    if (key) inputs.push_back(with_edges(rng.normal(keys, kDouble, 0, 0.5)));
    if (gate) inputs.push_back(rng.uniform(values, kDouble, 0, 1));
    if (state) inputs.push_back(rng.normal({n.batch, n.heads, n.value, n.key}, kDouble));
    const auto function = [=](const std::vector<Var>& v) {
      std::size_t next = 3;
      DeltaRuleInputs in{.query = v[0], .coefficient = v[1], .value = v[2]};
      if (key) in.key = v[next++];
      if (gate) in.gate = v[next++];
      if (state) in.initial_state = v[next++];
      const DeltaRuleResult result = delta_rule(in, {.form = form.form, .chunk = form.chunk});
      return concat({reshape(result.output, {-1}), reshape(result.final_state, {-1})}, 0);
    };
    rows.push_back({"delta_rule " + name + ", " + form.name, function, inputs});
  };
  const OperatorSizes longer{.time = 2 * kDeltaRuleSegment + 3};
  for (const RowForm& form : kRowForms) {
    row("without key", {}, form, false, false, false);
    row("with key", {}, form, true, false, false);
    row("with initial state", {}, form, true, false, true);
    row("longer than a segment", longer, form, true, false, true);
    row("T = 1, d = 1", {.time = 1, .heads = 1, .key = 1, .value = 1}, form, true, false, true);
  }
  const RowForm& step = kRowForms[0];  // the only one with a gate
  row("gated", {}, step, true, true, true);
  row("gated without key", {}, step, false, true, true);
  row("gated, longer than a segment", longer, step, true, true, true);
}

void add_inverse_penalty_cases(std::vector<GradientCase>& rows) {
  struct Kind {
    bool weights = false, forget = false;
    Index vectors = 1, restore_period = 0;
  };
  const auto row = [&](const std::string& name, OperatorSizes n, Kind kind, RowForm form) {
    Rng rng(17);
    const Shape vectors{n.batch, n.time, n.heads, kind.vectors, n.key};
    const Shape directions{n.batch, n.time, n.heads, n.rank, n.key};
    std::vector<Tensor> inputs{with_edges(rng.normal(vectors, kDouble)),
                               with_edges(rng.normal(directions, kDouble, 0, 0.7)),
                               rng.uniform({n.heads}, kDouble, 0.5, 1.5)};
    if (kind.weights) inputs.push_back(rng.uniform(directions.without(-1), kDouble, 0.1, 1));
    if (kind.forget) inputs.push_back(rng.uniform({n.batch, n.time, n.heads}, kDouble, 0.7, 0.99));
    const auto function = [=](const std::vector<Var>& v) {
      std::size_t next = 3;
      Penalty penalty{.directions = v[1], .lambda0 = v[2]};
      if (kind.weights) penalty.weights = v[next++];
      if (kind.forget) penalty.forget = v[next++];
      return inverse_penalty(
                 v[0], penalty,
                 {.restore_period = kind.restore_period, .form = form.form, .chunk = form.chunk})
          .output;
    };
    rows.push_back({"inverse_penalty " + name + ", " + form.name, function, inputs});
  };
  for (const RowForm& form : kRowForms) {
    row("plain", {}, {}, form);
    row("weighted", {}, {.weights = true}, form);
    row("forgetting", {}, {.forget = true}, form);
    row("restored", {.time = 7}, {.weights = true, .forget = true, .restore_period = 3}, form);
    row("restored within chunks", {.time = 7}, {.forget = true, .restore_period = 2}, form);
    row("rank 3, two vectors", {.rank = 3}, {.weights = true, .forget = true, .vectors = 2}, form);
    row("rank 0", {.rank = 0}, {.forget = true}, form);
    row("longer than a refresh", {.batch = 1, .time = 70, .heads = 1}, {.weights = true}, form);
    row("T = 1, d = 1", {.time = 1, .heads = 1, .key = 1}, {.weights = true}, form);
  }
}

void add_softmax_attention_cases(std::vector<GradientCase>& rows) {
  const auto row = [&](const std::string& name, OperatorSizes n, Index before) {
    Rng rng(23);
    const auto normal = [&](Index time, Index width) {
      return with_edges(rng.normal({n.batch, time, n.heads, width}, kDouble));
    };
    const std::vector<Tensor> inputs{normal(n.time, n.key), normal(before + n.time, n.key),
                                     normal(before + n.time, n.value)};
    const auto function = [](const std::vector<Var>& v) {
      return softmax_attention(v[0], v[1], v[2]);
    };
    rows.push_back({"softmax_attention " + name, function, inputs});
  };
  row("plain", {}, 0);
  row("after carried keys", {}, 4);
  row("one query, carried keys", {.time = 1}, 6);
  row("T = 1, d = 1", {.time = 1, .heads = 1, .key = 1, .value = 1}, 0);
  row("T = 0, carried keys", {.time = 0}, 2);
}

}  // namespace

void add_recurrent_cases(std::vector<GradientCase>& rows) {
  add_delta_rule_cases(rows);
  add_inverse_penalty_cases(rows);
  add_softmax_attention_cases(rows);
}

}  // namespace vla
