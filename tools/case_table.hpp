// What the tables of gradient cases are built with.
#pragma once

#include "framework/random.hpp"
#include "tools/cases.hpp"

namespace vla {

using Vars = std::vector<Var>;
using Shapes = std::vector<Shape>;

/// Rows under construction, and the random numbers of their inputs.
struct CaseTable {
  std::vector<GradientCase> rows;
  Rng rng{2024};

  void add(std::string name, GradcheckFunction function, std::vector<Tensor> inputs) {
    rows.push_back({std::move(name), std::move(function), std::move(inputs)});
  }
  /// A row with standard normal inputs.
  void add_normal(std::string name, GradcheckFunction function, const Shapes& shapes) {
    std::vector<Tensor> inputs;
    for (const Shape& shape : shapes) inputs.push_back(normal(shape));
    add(std::move(name), std::move(function), std::move(inputs));
  }

  Tensor normal(const Shape& shape, double deviation = 1) {
    return rng.normal(shape, DType::float64, 0, deviation);
  }
  Tensor uniform(const Shape& shape, double low, double high) {
    return rng.uniform(shape, DType::float64, low, high);
  }
  /// Of either sign, with `low` <= |x| < `high`: away from a kink or a pole at 0.
  Tensor away_from_zero(const Shape& shape, double low, double high) {
    Tensor result = uniform(shape, low, high);
    for (double& value : result.mutable_values<double>())
      if (rng.below(2)) value = -value;
    return result;
  }
};

/// The values as a tensor with one axis.
inline Tensor vector_of(const std::vector<double>& values) {
  return Tensor::from({static_cast<Index>(values.size())}, values);
}

/// `rows` rows of `width` numbers: an ordinary one, zeros, equal values, then the same again.
inline Tensor edge_rows(CaseTable& table, Index rows, Index width) {
  Tensor x = table.normal({rows, width});
  auto values = x.mutable_values<double>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Index kind = static_cast<Index>(i) / width % 3;
    if (kind) values[i] = kind == 1 ? 0.0 : 0.7;
  }
  return x;
}

// Parts of op_cases(): products and tables; ops along the last axis.
void add_product_cases(CaseTable& table);
void add_row_cases(CaseTable& table);

// Part of layer_cases(): the delta rule, the inverse penalty and softmax attention.
void add_recurrent_cases(std::vector<GradientCase>& rows);

}  // namespace vla
