#include "framework/ops/convolution.hpp"
#include "framework/ops/dropout.hpp"
#include "framework/ops/embedding.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/shaping.hpp"
#include "framework/ops/softmax.hpp"
#include "tools/case_table.hpp"

namespace vla {
namespace {

void add_normalizations(CaseTable& table) {
  const auto layer = [](const Vars& v) { return layer_norm(v[0], v[1], v[2]); };
  const auto rms = [](const Vars& v) { return rms_norm(v[0], v[1]); };
  const auto direction = [](const Vars& v) { return unit(v[0]); };
  for (const Shape& x : Shapes{{3, 5}, {2, 3, 7}, {5}, {2, 33}, {4, 1}, {0, 3}, {2, 0}}) {
    const Shape parameter{x[-1]};
    table.add_normal(concatenate("layer_norm ", x), layer, {x, parameter, parameter});
    table.add_normal(concatenate("rms_norm ", x), rms, {x, parameter});
    table.add_normal(concatenate("unit ", x), direction, {x});
  }
  const Shape five{5};
  table.add("layer_norm, zero rows and equal values", layer,
            {edge_rows(table, 6, 5), table.normal(five), table.normal(five)});
  table.add("layer_norm, huge values", layer,
            {table.normal({3, 5}, 1e4), table.normal(five), table.normal(five)});
  table.add("rms_norm, zero rows and equal values", rms,
            {edge_rows(table, 6, 5), table.normal(five)});
  table.add("rms_norm, huge values", rms, {table.normal({3, 5}, 1e4), table.normal(five)});
  // A floor well above the step of the difference keeps the zero rows on one side of the kink.
  table.add("unit, zero rows and equal values", [](const Vars& v) { return unit(v[0], 0.01); },
            {edge_rows(table, 6, 5)});
  table.add("unit, huge values", direction, {table.normal({3, 5}, 1e6)});

  const auto thinned = [](bool train, double rate) {
    return [=](const Vars& v) {
      Rng rng(3);
      return dropout(v[0], {.rate = rate, .train = train}, rng);
    };
  };
  table.add_normal("dropout", thinned(true, 0.3), {{5, 7}});
  table.add_normal("dropout, rate 0", thinned(true, 0), {{3, 5}});
  table.add_normal("dropout, not training", thinned(false, 0.3), {{3, 5}});
  table.add_normal("dropout, size 0", thinned(true, 0.3), {{0, 5}});
}

void add_softmax(CaseTable& table) {
  // Of both signs: far beyond where exp overflows and underflows.
  const auto huge = [&](const Shape& shape, double size) {
    Tensor x = table.normal(shape);
    double sign = 1;
    for (double& value : x.mutable_values<double>()) value += size * (sign = -sign);
    return x;
  };
  using Op = Var (*)(const Var&, CallSite);
  for (const auto& [name, op] : {std::pair<std::string, Op>{"softmax", softmax},
                                 std::pair<std::string, Op>{"log_softmax", log_softmax}}) {
    const auto function = [op = op](const Vars& v) { return op(v[0], CallSite::here()); };
    for (const Shape& shape : Shapes{{3, 5}, {2, 3, 7}, {1}, {4, 1}, {2, 67}, {0, 3}, {2, 0}})
      table.add_normal(concatenate(name, " ", shape), function, {shape});
    table.add(name + ", zero rows and equal values", function, {edge_rows(table, 6, 5)});
  }
  table.add("softmax, huge values", [](const Vars& v) { return softmax(v[0]); },
            {huge({3, 6}, 1e4)});
  table.add("log_softmax, huge values", [](const Vars& v) { return log_softmax(v[0]); },
            {huge({3, 6}, 1e3)});
  table.add_normal("softmax of causal_mask",
                   [](const Vars& v) { return softmax(causal_mask(v[0])); }, {{2, 4, 4}});

  const auto loss = [](const Shape& shape, const std::vector<std::int64_t>& targets,
                       CrossEntropyOptions options = {}) {
    const Tensor numbers = Tensor::from(shape, targets);
    return [numbers, options](const Vars& v) {
      return cross_entropy(v[0], numbers.to(v[0].device()), options);
    };
  };
  table.add_normal("cross_entropy", loss({4}, {0, 4, 2, 2}), {{4, 5}});
  table.add_normal("cross_entropy, three axes", loss({2, 3}, {0, 1, 2, 6, 5, 4}), {{2, 3, 7}});
  table.add_normal("cross_entropy, no batch", loss({}, {2}), {{5}});
  table.add_normal("cross_entropy, one class", loss({2}, {0, 0}), {{2, 1}});
  table.add_normal("cross_entropy, some ignored", loss({4}, {0, -100, 2, -100}), {{4, 5}});
  table.add_normal("cross_entropy, all ignored", loss({2}, {-100, -100}), {{2, 5}});
  table.add_normal("cross_entropy, a class ignored", loss({3}, {0, 1, 2}, {.ignore_index = 1}),
                   {{3, 5}});
  table.add_normal("cross_entropy, smoothed", loss({3}, {0, 4, 2}, {.label_smoothing = 0.1}),
                   {{3, 5}});
  table.add_normal("cross_entropy, smoothed, some ignored",
                   loss({3}, {0, -100, 2}, {.label_smoothing = 1}), {{3, 5}});
  table.add_normal("cross_entropy, no targets", loss({0}, {}), {{0, 5}});
  table.add("cross_entropy, zero rows and equal values", loss({6}, {0, 1, 2, 3, 4, 0}),
            {edge_rows(table, 6, 5)});
  table.add("cross_entropy, huge values", loss({2}, {1, 3}), {huge({2, 6}, 1e3)});
}

}  // namespace

void add_product_cases(CaseTable& table) {
  struct Sizes {
    Shape a, b;  // of a b, neither transposed
  };
  const auto transposed = [](const Shape& shape) {
    return shape.with(-1, shape[-2]).with(-2, shape[-1]);
  };
  for (const Sizes& sizes :
       {Sizes{{3, 5}, {5, 7}}, Sizes{{1, 1}, {1, 1}}, Sizes{{1, 5}, {5, 1}}, Sizes{{0, 3}, {3, 2}},
        Sizes{{3, 0}, {0, 2}}, Sizes{{2, 3, 5}, {2, 5, 4}}, Sizes{{2, 2, 3, 4}, {2, 2, 4, 3}},
        Sizes{{2, 3, 5}, {5, 4}}, Sizes{{3, 5}, {2, 5, 4}}, Sizes{{0, 3, 5}, {0, 5, 2}},
        Sizes{{0, 3, 5}, {5, 2}}, Sizes{{2, 3, 0}, {0, 2}}})
    for (bool a : {false, true})
      for (bool b : {false, true})
        table.add_normal(
            concatenate("matmul ", sizes.a, a ? "^T x " : " x ", sizes.b, b ? "^T" : ""),
            [=](const Vars& v) { return matmul(v[0], v[1], {.transpose_a = a, .transpose_b = b}); },
            {a ? transposed(sizes.a) : sizes.a, b ? transposed(sizes.b) : sizes.b});
  table.add_normal("matmul, both sides one variable",
                   [](const Vars& v) { return matmul(v[0], v[0], {.transpose_b = true}); },
                   {{3, 5}});

  for (const Shape& x : Shapes{{3, 5}, {2, 3, 5}, {5}, {1, 5}, {0, 5}}) {
    table.add_normal(concatenate("linear ", x),
                     [](const Vars& v) { return linear(v[0], v[1], v[2]); }, {x, {4, 5}, {4}});
    table.add_normal(concatenate("linear without bias ", x),
                     [](const Vars& v) { return linear(v[0], v[1]); }, {x, {4, 5}});
  }
  table.add_normal("linear, no inputs", [](const Vars& v) { return linear(v[0], v[1], v[2]); },
                   {{3, 0}, {4, 0}, {4}});

  const auto tokens = [](const Shape& shape, const std::vector<std::int64_t>& values) {
    const Tensor numbers = Tensor::from(shape, values);
    return [numbers](const Vars& v) { return embedding(v[0], numbers.to(v[0].device())); };
  };
  table.add_normal("embedding", tokens({2, 3}, {0, 4, 2, 2, 4, 4}), {{5, 3}});
  table.add_normal("embedding, one token", tokens({}, {1}), {{2, 1}});
  table.add_normal("embedding, no tokens", tokens({0}, {}), {{2, 3}});

  struct Convolution {
    Shape x;
    Index width;
  };
  for (const Convolution& row :
       {Convolution{{2, 7, 3}, 4}, Convolution{{2, 3, 5}, 4}, Convolution{{1, 1, 1}, 4},
        Convolution{{2, 5, 9}, 1}, Convolution{{3, 6, 17}, 2}, Convolution{{2, 0, 3}, 4},
        Convolution{{0, 4, 3}, 3}})
    table.add_normal(concatenate("causal_convolution ", row.x, " width ", row.width),
                     [](const Vars& v) { return causal_convolution(v[0], v[1]); },
                     {row.x, {row.x[2], row.width}});
}

void add_row_cases(CaseTable& table) {
  add_normalizations(table);
  add_softmax(table);
}

}  // namespace vla
