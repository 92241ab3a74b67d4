#include "framework/gradient_report.hpp"

#include <algorithm>
#include <cmath>

#include "framework/statistics.hpp"
#include "framework/table.hpp"

namespace vla {
namespace {

double square(double x) { return x * x; }

// Norm of a - b in float64.
double distance(const Tensor& a, const Tensor& b) {
  const Tensor left = a.to(DType::float64), right = b.to(DType::float64);
  const auto x = left.values<double>(), y = right.values<double>();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += square(x[i] - y[i]);
  return std::sqrt(sum);
}

GradientRow row_of(const Parameter& parameter, const Tensor* gradient, const Tensor& before) {
  GradientRow row{.name = parameter.name,
                  .elements = before.elements(),
                  .weight_norm = statistics(before).norm,
                  .decades = std::vector<Index>(GradientReport::kDecades)};
  if (!gradient) return row;
  const Tensor here = gradient->to(Device{});
  const Statistics found = statistics(here);
  row.has_gradient = true;
  row.norm = found.norm;
  row.mean = found.mean;
  row.largest = found.magnitude();
  row.zeros =
      row.elements > 0 ? static_cast<double>(found.zeros) / static_cast<double>(row.elements) : 0;
  row.not_finite = found.not_finite();
  row.decades = decades_of(here, GradientReport::kLowestDecade, GradientReport::kDecades);
  return row;
}

// "blocks.0" of "blocks.0.mlp.up.weight" at depth 2; "tokens" of "tokens.weight"; "w" of "w".
std::string layer_of(const std::string& name, int depth) {
  std::size_t end = 0;
  for (int part = 0; part < depth; ++part) {
    const std::size_t dot = name.find('.', end == 0 ? 0 : end + 1);
    if (dot == std::string::npos) break;
    end = dot;
  }
  return end == 0 ? name : name.substr(0, end);
}

// Makes `sum` the row of what both were made of. `update` is added up elsewhere.
void add(GradientRow& sum, const GradientRow& row) {
  const double had = static_cast<double>(sum.elements), more = static_cast<double>(row.elements);
  const double share = had + more > 0 ? more / (had + more) : 0;
  sum.elements += row.elements;
  sum.has_gradient |= row.has_gradient;
  sum.norm = std::hypot(sum.norm, row.norm);
  sum.mean += share * (row.mean - sum.mean);
  sum.largest = std::max(sum.largest, row.largest);
  sum.zeros += share * (row.zeros - sum.zeros);
  sum.not_finite += row.not_finite;
  sum.weight_norm = std::hypot(sum.weight_norm, row.weight_norm);
  for (std::size_t i = 0; i < sum.decades.size(); ++i) sum.decades[i] += row.decades[i];
}

std::string tenths(const std::vector<Index>& decades, Index elements) {
  std::string text;
  for (const Index count : decades)
    text += count == 0 ? '.' : static_cast<char>('0' + std::min<Index>(9, 10 * count / elements));
  return text;
}

std::vector<std::string> words_of(const GradientRow& row) {
  if (!row.has_gradient)
    return {row.name, std::to_string(row.elements), "none", "", "", "",
            "",       rounded(row.weight_norm),     "",     ""};
  return {row.name,
          std::to_string(row.elements),
          rounded(row.norm),
          rounded(row.mean),
          rounded(row.largest),
          rounded(100 * row.zeros) + " %",
          std::to_string(row.not_finite),
          rounded(row.weight_norm),
          std::isfinite(row.update) ? rounded(row.update) : "-",
          tenths(row.decades, row.elements)};
}

std::string table_of(const std::string& kind, const std::vector<GradientRow>& rows) {
  Table table = {{kind, "elements", "norm", "mean", "largest", "zeros", "not finite", "weight norm",
                  "update/weight", "|g| 1e-10 to 100"}};
  std::vector<bool> numbers(table.front().size(), true);
  numbers.front() = numbers.back() = false;
  for (const GradientRow& row : rows) table.push_back(words_of(row));
  return aligned(table, numbers);
}

}  // namespace

GradientReport::GradientReport(const std::vector<Parameter>& parameters, const Gradients& gradients,
                               Options options)
    : options_(options), watched_(parameters) {
  check(options.depth >= 1, "gradient report: depth ", options.depth, " is not allowed; 1 or more");
  for (const Parameter& parameter : watched_) {
    const Tensor& value = parameter.variable.value();
    before_.push_back(value.device().is_cpu() ? value.clone() : value.to(Device{}));
    versions_.push_back(value.version());
    parameters_.push_back(row_of(parameter, gradients.find(parameter.variable), before_.back()));
  }
  sum_up_layers();
}

void GradientReport::after_step() {
  check(before_.size() == watched_.size(), "gradient report: after_step was called before");
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const Tensor& now = watched_[i].variable.value();
    check(now.shape() == before_[i].shape() && now.dtype() == before_[i].dtype(),
          "gradient report: '", watched_[i].name, "' was ", before_[i].dtype(), before_[i].shape(),
          " before the step and is ", now.dtype(), now.shape());
  }
  bool stepped = false;
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const Tensor& now = watched_[i].variable.value();
    changes_.push_back(distance(now.to(Device{}), before_[i]));
    // A step of rate 0 changes nothing, and a step that is replayed counts no version.
    stepped |= changes_.back() != 0 || now.version() != versions_[i];
  }
  before_.clear();
  if (!stepped) changes_.clear();
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (GradientRow& row = parameters_[i]; row.weight_norm > 0)
      row.update = changes_[i] / row.weight_norm;
  sum_up_layers();
}

void GradientReport::sum_up_layers() {
  layers_.clear();
  std::vector<double> changes;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string name = layer_of(parameters_[i].name, options_.depth);
    auto layer = std::ranges::find(layers_, name, &GradientRow::name);
    if (layer == layers_.end()) {
      layers_.push_back({.name = name, .decades = std::vector<Index>(kDecades)});
      changes.push_back(0);
      layer = layers_.end() - 1;
    }
    add(*layer, parameters_[i]);
    if (changes_.empty()) continue;
    double& change = changes[static_cast<std::size_t>(layer - layers_.begin())];
    change = std::hypot(change, changes_[i]);
    if (layer->weight_norm > 0) layer->update = change / layer->weight_norm;
  }
}

std::string GradientReport::table() const {
  return table_of("layer", layers_) + "\n" + table_of("parameter", parameters_);
}

std::string GradientReport::csv() const {
  Table table = {{"kind", "name", "elements", "norm", "mean", "largest", "zeros", "not_finite",
                  "weight_norm", "update"}};
  for (int i = 0; i < kDecades; ++i)
    table.front().push_back("from_1e" + std::to_string(kLowestDecade + i));
  const auto add_rows = [&](const char* kind, const std::vector<GradientRow>& rows) {
    for (const GradientRow& row : rows) {
      table.push_back({kind, row.name, std::to_string(row.elements)});
      auto& words = table.back();
      const auto number = [&](double value) {
        words.push_back(std::isfinite(value) ? rounded(value, 9) : "");
      };
      const double none = std::numeric_limits<double>::quiet_NaN();
      for (const double value : {row.norm, row.mean, row.largest, row.zeros})
        number(row.has_gradient ? value : none);
      words.push_back(std::to_string(row.not_finite));
      number(row.weight_norm);
      number(row.update);
      for (const Index count : row.decades) words.push_back(std::to_string(count));
    }
  };
  add_rows("parameter", parameters_);
  add_rows("layer", layers_);
  return csv_text(table);
}

}  // namespace vla
