#include "framework/ops/arithmetic.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/ops/shaping.hpp"
#include "tools/case_table.hpp"

namespace vla {
namespace {

using Unary = Var (*)(const Var&, CallSite);

// A function of one variable at odd sizes, sizes 1 and 0, without axes, and at values of its own.
void add_unary(CaseTable& table, const std::string& name, Unary op, double low, double high,
               bool signs, const std::vector<double>& extremes = {}) {
  const auto function = [op](const Vars& v) { return op(v[0], CallSite::here()); };
  const auto draw = [&](const Shape& shape) {
    return signs ? table.away_from_zero(shape, low, high) : table.uniform(shape, low, high);
  };
  table.add(name, function, {draw({3, 7})});
  table.add(name + ", size 1", function, {draw({1})});
  table.add(name + ", no axes", function, {draw({})});
  table.add(name + ", size 0", function, {draw({0, 3})});
  if (!extremes.empty()) table.add(name + ", extreme values", function, {vector_of(extremes)});
}

void add_pointwise(CaseTable& table) {
  const std::vector<double> extremes = {-1e3, -40, -1e-3, 0, 1e-3, 40, 1e3};
  const std::vector<double> without_zero = {-1e3, -40, -1e-3, 1e-3, 40, 1e3};
  add_unary(table, "neg", neg, 0, 2, true, extremes);
  add_unary(table, "abs", abs, 0.1, 2, true, without_zero);
  add_unary(table, "exp", exp, 0, 2, true, {-1e3, -30, 0, 5});
  add_unary(table, "log", log, 0.5, 3, false, {1e-2, 1, 1e6});
  add_unary(table, "sqrt", sqrt, 0.5, 3, false, {1e-2, 1, 1e6});
  add_unary(table, "square", square, 0, 2, true, {-1e3, 0, 1e3});
  add_unary(table, "tanh", tanh, 0, 2, true, extremes);
  add_unary(table, "sigmoid", sigmoid, 0, 2, true, extremes);
  add_unary(table, "silu", silu, 0, 2, true, extremes);
  add_unary(table, "relu", relu, 0.1, 2, true, without_zero);
  add_unary(table, "gelu", gelu, 0, 2, true, extremes);
  add_unary(table, "gelu_tanh", gelu_tanh, 0, 2, true, extremes);
  add_unary(table, "elu", elu, 0.1, 2, true, without_zero);
  add_unary(table, "elu_plus_one", elu_plus_one, 0.1, 2, true, without_zero);
  add_unary(table, "softplus", softplus, 0, 2, true, extremes);

  for (double exponent : {3.0, 2.0, 1.0, 0.0})
    table.add_normal(concatenate("pow ", exponent),
                     [exponent](const Vars& v) { return pow(v[0], exponent); }, {{3, 5}});
  for (double exponent : {0.5, -1.0, -2.5})
    table.add(concatenate("pow ", exponent),
              [exponent](const Vars& v) { return pow(v[0], exponent); },
              {table.uniform({3, 5}, 0.5, 2)});
  table.add("pow 2, size 0", [](const Vars& v) { return pow(v[0], 2); }, {table.normal({0})});

  const auto limited = [](const Vars& v) { return clamp(v[0], -0.5, 1); };
  table.add("clamp", limited, {vector_of({-1e3, -0.6, -0.4, 0, 0.9, 1.1, 1e3})});
  table.add("clamp, size 1", limited, {vector_of({0.3})});
  table.add("clamp, size 0", limited, {table.normal({2, 0})});
}

using Binary = Var (*)(const Var&, const Var&, CallSite);

void add_binary(CaseTable& table, const std::string& name, Binary op) {
  const auto function = [op](const Vars& v) { return op(v[0], v[1], CallSite::here()); };
  // Broadcast from the left and from the right: every shape the kernels treat on its own.
  const std::vector<std::pair<Shape, Shape>> shapes = {{{3, 5}, {3, 5}},
                                                       {{1}, {1}},
                                                       {{}, {}},
                                                       {{2, 3, 5}, {5}},
                                                       {{2, 3, 5}, {3, 5}},
                                                       {{2, 3, 5}, {2, 3, 1}},
                                                       {{2, 3, 5}, {2, 1, 1}},
                                                       {{3, 5}, {}},
                                                       {{3, 5}, {1, 1}},
                                                       {{4, 1}, {1, 3}},
                                                       {{4, 1}, {3}},
                                                       {{2, 3, 5}, {2, 1, 5}},
                                                       {{2, 1, 5}, {3, 1}},
                                                       {{2, 3, 5}, {1, 3, 1}},
                                                       {{2, 1, 3, 1}, {4, 1, 5}},
                                                       {{0, 3}, {3}},
                                                       {{2, 0}, {2, 1}},
                                                       {{0}, {1}},
                                                       {{0}, {}},
                                                       {{1, 3}, {0, 3}}};
  for (const auto& [left, right] : shapes) {
    table.add(concatenate(name, " ", left, " ", right), function,
              {table.normal(left), table.away_from_zero(right, 0.5, 2)});
    if (left == right) continue;
    table.add(concatenate(name, " ", right, " ", left), function,
              {table.normal(right), table.away_from_zero(left, 0.5, 2)});
  }
  table.add(name + ", both sides one variable",
            [op](const Vars& v) { return op(v[0], v[0], CallSite::here()); },
            {table.away_from_zero({3, 5}, 0.5, 2)});
}

void add_arithmetic(CaseTable& table) {
  add_binary(table, "add", add);
  add_binary(table, "sub", sub);
  add_binary(table, "mul", mul);
  add_binary(table, "div", div);
  for (const Shape& shape : Shapes{{3, 5}, {}, {0, 2}}) {
    table.add_normal(concatenate("scale ", shape), [](const Vars& v) { return scale(v[0], -2.5); },
                     {shape});
    table.add_normal(concatenate("shift ", shape), [](const Vars& v) { return shift(v[0], 3.5); },
                     {shape});
  }
  table.add_normal("operators of constants",
                   [](const Vars& v) {
                     return 1.0 - (2.0 * v[0] + 3.0) * (v[0] - 0.5) / 7.0 + (0.25 + -v[0]) * 2.0;
                   },
                   {{3, 5}});

  const auto mask = [](const Shape& shape) {
    Tensor result(shape, DType::uint8);
    std::uint8_t i = 0;
    for (std::uint8_t& value : result.mutable_values<std::uint8_t>()) value = i++ % 3 == 0 ? 2 : 0;
    return result;
  };
  const std::vector<Shapes> shapes = {{{3, 5}, {3, 5}, {3, 5}}, {{3, 5}, {5}, {}},
                                      {{3, 1}, {1, 5}, {3, 5}}, {{5}, {2, 3, 1}, {1, 3, 5}},
                                      {{}, {3}, {2, 1}},        {{0, 3}, {3}, {0, 1}},
                                      {{1}, {1}, {1}}};
  for (const Shapes& s : shapes)
    table.add_normal(concatenate("where ", s[0], " ", s[1], " ", s[2]),
                     [condition = mask(s[0])](const Vars& v) {
                       return where(condition.to(v[0].device()), v[0], v[1]);
                     },
                     {s[1], s[2]});
}

struct Axes {
  Shape shape;
  std::vector<int> axes;
  bool keep = false;
};

std::string describe(const std::string& name, const Axes& row) {
  std::string text = concatenate(name, " ", row.shape, " over");
  for (int axis : row.axes) text += concatenate(" ", axis);
  return text + (row.axes.empty() ? " all" : "") + (row.keep ? ", kept" : "");
}

void add_reductions(CaseTable& table) {
  const std::vector<Axes> some = {{{3, 5}, {}},
                                  {{3, 5}, {}, true},
                                  {{3, 5}, {1}},
                                  {{3, 5}, {-1}, true},
                                  {{3, 5}, {0}},
                                  {{2, 3, 5}, {1}},
                                  {{2, 3, 5}, {0, 2}},
                                  {{2, 3, 5}, {2, 0}, true},
                                  {{2, 3, 5}, {-3, -2}},
                                  {{2, 1, 5}, {0, 2}},
                                  {{2, 1, 5}, {1}},
                                  {{2, 3, 4, 5}, {0, 2}, true},
                                  {{1}, {}},
                                  {{}, {}},
                                  {{3, 67}, {1}},
                                  {{0, 3}, {1}}};
  for (const Axes& row : some) {
    const std::vector<int> axes = row.axes;
    const ReduceOptions options{.keep = row.keep};
    table.add_normal(describe("sum", row), [=](const Vars& v) { return sum(v[0], axes, options); },
                     {row.shape});
    table.add_normal(describe("mean", row),
                     [=](const Vars& v) { return mean(v[0], axes, options); }, {row.shape});
    table.add_normal(describe("max", row), [=](const Vars& v) { return max(v[0], axes, options); },
                     {row.shape});
    table.add(describe("norm", row), [=](const Vars& v) { return norm(v[0], axes, options); },
              {table.away_from_zero(row.shape, 0.2, 2)});
  }
  for (const Axes& row : {Axes{{0, 3}, {0}}, Axes{{2, 0}, {}}, Axes{{2, 0, 3}, {1}, true}}) {
    table.add_normal(describe("sum", row), [=](const Vars& v) { return sum(v[0], row.axes); },
                     {row.shape});
    table.add_normal(describe("norm", row), [=](const Vars& v) { return norm(v[0], row.axes); },
                     {row.shape});
  }
  // Large enough for every level of the kernel: lanes, segments, tiles of columns.
  for (const Axes& row : {Axes{{9001}, {}}, Axes{{2, 4100}, {1}}, Axes{{519, 3}, {0}},
                          Axes{{5, 1030}, {0}}, Axes{{2, 300, 7}, {1}}}) {
    table.add_normal(describe("sum", row), [=](const Vars& v) { return sum(v[0], row.axes); },
                     {row.shape});
    table.add_normal(describe("max", row), [=](const Vars& v) { return max(v[0], row.axes); },
                     {row.shape});
  }
  const auto rows_norm = [](const Vars& v) { return norm(v[0], {-1}); };
  table.add("norm, zero rows and equal values", rows_norm, {edge_rows(table, 6, 3)});
  // Scaled back, because the difference of huge outputs has no digits left.
  table.add_normal("norm, huge values",
                   [=](const Vars& v) { return scale(rows_norm({scale(v[0], 1e9)}), 1e-9); },
                   {{3, 5}});

  for (const Axes& row :
       {Axes{{7}, {0}}, Axes{{3, 5}, {0}}, Axes{{3, 5}, {-1}}, Axes{{2, 3, 5}, {1}},
        Axes{{3, 600}, {0}}, Axes{{1, 1}, {1}}, Axes{{0, 3}, {0}}, Axes{{0, 3}, {1}}})
    table.add_normal(describe("cumulative_sum", row),
                     [=](const Vars& v) { return cumulative_sum(v[0], row.axes[0]); }, {row.shape});
}

void add_shaping(CaseTable& table) {
  table.add_normal("reshape", [](const Vars& v) { return reshape(v[0], {5, -1}); }, {{2, 3, 5}});
  table.add_normal("reshape, no axes", [](const Vars& v) { return reshape(v[0], {}); }, {{1, 1}});
  table.add_normal("reshape, size 0", [](const Vars& v) { return reshape(v[0], {3, 0}); }, {{0}});
  for (const Axes& row :
       {Axes{{2, 3, 4, 5}, {0, 2, 1, 3}}, Axes{{2, 3, 4, 5}, {3, 2, 1, 0}}, Axes{{3, 5}, {1, 0}},
        Axes{{2, 3, 5}, {-1, 0, 1}}, Axes{{2, 3, 5}, {0, 1, 2}}, Axes{{4}, {0}}, Axes{{}, {}},
        Axes{{1, 3, 1}, {2, 1, 0}}, Axes{{2, 0, 3}, {1, 2, 0}}})
    table.add_normal(describe("permute", row),
                     [=](const Vars& v) { return permute(v[0], row.axes); }, {row.shape});

  struct Part {
    Shape shape;
    int axis;
    Index begin, end;
  };
  for (const Part& part : {Part{{5, 3}, 0, 1, 4}, Part{{2, 5, 3}, 1, 0, 2}, Part{{2, 5}, -1, 3, 5},
                           Part{{4}, 0, 0, 4}, Part{{4, 2}, 0, 2, 2}, Part{{0, 2}, 1, 0, 1}})
    table.add_normal(
        concatenate("slice ", part.shape, " axis ", part.axis, " ", part.begin, " to ", part.end),
        [=](const Vars& v) { return slice(v[0], part.axis, part.begin, part.end); }, {part.shape});

  const auto concat_along = [](int axis) { return [=](const Vars& v) { return concat(v, axis); }; };
  table.add_normal("concat along 0", concat_along(0), {{2, 3}, {1, 3}, {0, 3}});
  table.add_normal("concat along 1", concat_along(1), {{2, 1, 5}, {2, 3, 5}});
  table.add_normal("concat along -1", concat_along(-1), {{2, 3}, {2, 1}, {2, 2}});
  table.add_normal("concat, one part", concat_along(0), {{3}});
  table.add_normal("concat, size 0", concat_along(0), {{2, 0}, {3, 0}});
  table.add_normal("concat, a variable twice",
                   [](const Vars& v) {
                     return concat({v[0], v[1], v[0]}, 0);
                   },
                   {{2, 3}, {1, 3}});
  const auto stack_along = [](int axis) { return [=](const Vars& v) { return stack(v, axis); }; };
  for (int axis : {0, 1, 2, -1})
    table.add_normal(concatenate("stack along ", axis), stack_along(axis), {{2, 3}, {2, 3}});
  table.add_normal("stack, no axes", stack_along(0), {{}, {}, {}});
  table.add_normal("stack, size 0", stack_along(1), {{2, 0}, {2, 0}});

  // exp turns -infinity into 0, which a difference can be taken of.
  for (const Shape& shape : Shapes{{4, 4}, {2, 3, 5, 5}, {1, 1}, {2, 0, 0}})
    table.add_normal(concatenate("causal_mask ", shape),
                     [](const Vars& v) { return exp(causal_mask(v[0])); }, {shape});
}

}  // namespace

std::vector<GradientCase> op_cases() {
  CaseTable table;
  add_pointwise(table);
  add_arithmetic(table);
  add_reductions(table);
  add_shaping(table);
  add_product_cases(table);
  add_row_cases(table);
  return table.rows;
}

}  // namespace vla
