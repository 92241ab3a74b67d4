#include "tools/report/insides.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tools/look.hpp"

namespace vla {
namespace {

constexpr std::size_t kMostRuns = 4;
constexpr Index kMostEigenvalueTimes = 128;
constexpr Index kLongestWithMaps = 1024;  // the maps take time and memory as T^2
constexpr Index kMostCells = 128;         // along a side of a drawn map

// What figures of one run share.
struct Inside {
  std::string model;
  std::vector<Index> heads;
  Diagnostics found;

  Index head() const { return heads.front(); }
  std::string heads_text() const {
    if (heads.size() == 1) return fmt::format("Head {}.", head());
    return fmt::format("Mean and, shaded, lowest to highest over heads {} to {}.", heads.front(),
                       heads.back());
  }
};

// Of numbers (1, T, H), the heads asked for.
void add_series(Page& page, const Inside& inside, const std::string& name, const std::string& unit,
                const std::string& what, const Tensor& series, Scale scale) {
  if (!series.defined()) return;
  Line line{.label = inside.model};
  for (Index t = 0; t < series.size(1); ++t) {
    std::vector<double> numbers;
    for (const Index head : inside.heads)
      if (const double number = series.at<double>({0, t, head}); std::isfinite(number))
        numbers.push_back(number);
    line.add(static_cast<double>(t), numbers);
  }
  page.figure(LineFigure{.title = name + ", " + inside.model,
                         .x_label = "token",
                         .y_label = unit,
                         .y_scale = scale,
                         .lines = {line},
                         .caption = what + " " + inside.heads_text()});
}

// All d of one head: one label, d lines.
void add_eigenvalues(Page& page, const Inside& inside) {
  const Tensor& eigenvalues = inside.found.eigenvalues;
  if (!eigenvalues.defined()) return;
  LineFigure figure{.title = "Eigenvalues of the penalty inverse, " + inside.model,
                    .x_label = "token",
                    .y_label = "eigenvalue",
                    .y_scale = Scale::by_span,
                    .caption = fmt::format("All {} eigenvalues of A of head {}.",
                                           eigenvalues.size(-1), inside.head())};
  Line line{.label = inside.model};
  for (Index i = 0; i < eigenvalues.size(-1); ++i) {
    for (Index n = 0; n < eigenvalues.size(1); ++n) {
      line.x.push_back(static_cast<double>(inside.found.times.at<Index>({n})));
      line.y.push_back(eigenvalues.at<double>({0, n, inside.head(), i}));
    }
    line.x.push_back(std::nan(""));  // the pen is lifted
    line.y.push_back(std::nan(""));
  }
  figure.lines = {line};
  page.figure(figure);
}

void add_inverse(Page& page, const Inside& inside) {
  const Tensor& inverse = inside.found.inverse;
  if (!inverse.defined()) return;
  const Index d = inverse.size(-1);
  HeatMap map{
      .title = "Penalty inverse at the end, " + inside.model,
      .x_label = "column",
      .y_label = "row",
      .rows = d,
      .columns = d,
      .caption = fmt::format("A after the last token, head {}, {} x {}.", inside.head(), d, d)};
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < d; ++j)
      map.values.push_back(inverse.at<double>({0, inside.head(), i, j}));
  page.figure(map);
}

// The mean over the entries i <= t of a square of a map (1, T, H, T); NaN if there is none.
double mean_of_square(const Tensor& map, Index head, Index row, Index column, Index side) {
  double sum = 0;
  Index count = 0;
  for (Index t = row * side; t < std::min(map.size(1), (row + 1) * side); ++t)
    for (Index i = column * side; i <= std::min(t, (column + 1) * side - 1); ++i, ++count)
      sum += map.at<double>({0, t, head, i});
  return count > 0 ? sum / static_cast<double>(count) : std::nan("");
}

void add_map(Page& page, const Inside& inside, const std::string& name, const std::string& what,
             const Tensor& map) {
  if (!map.defined()) return;
  const Index side = (map.size(1) + kMostCells - 1) / kMostCells;
  const Index cells = (map.size(1) + side - 1) / side;
  HeatMap drawn{.title = name + ", " + inside.model,
                .x_label = "written at token",
                .y_label = "read at token",
                .rows = cells,
                .columns = cells,
                .step = static_cast<double>(side),
                .caption = fmt::format("{} Head {}.", what, inside.head())};
  if (side > 1) drawn.caption += fmt::format(" Means of {0} x {0} tokens.", side);
  for (Index row = 0; row < cells; ++row)
    for (Index column = 0; column < cells; ++column)
      drawn.values.push_back(mean_of_square(map, inside.head(), row, column, side));
  page.figure(drawn);
}

void add_figures(Page& page, const Inside& inside) {
  const Diagnostics& d = inside.found;
  add_inverse(page, inside);
  add_eigenvalues(page, inside);
  add_series(page, inside, "Norm of the memory", "|S|", "Frobenius norm of the memory.",
             d.memory_norm, Scale::by_span);
  add_series(page, inside, "Norm of the penalty inverse", "|A|",
             "Frobenius norm of the penalty inverse.", d.inverse_norm, Scale::by_span);
  add_map(page, inside, "Survival", "What a read finds of a write.", d.survival);
  add_map(page, inside, "Attention", "Weights of the values in a read, with their signs.",
          d.attention);
  add_series(page, inside, "Attention entropy", "nats", "Entropy of the sizes of the weights.",
             d.attention_entropy, Scale::linear);
}

void add_run(Page& page, const RunDirectory& run, const InsidesOptions& options) {
  Look look = look_into(run);
  Inside inside{.model = look.options.model, .heads = {}, .found = {}};
  inside.heads = asked_heads(look.options, options.head);
  const bool maps = look.time() <= kLongestWithMaps;
  inside.found = look.diagnose(
      options.layer,
      {.every = (look.time() + kMostEigenvalueTimes - 1) / kMostEigenvalueTimes, .maps = maps});
  page.section(fmt::format("Inside {}", look.options.model));
  page.paragraph(fmt::format(
      "Layer {} (0 to {}) of {} while it reads a held-out example of {}, {} tokens; vla inspect "
      "writes all heads.{}",
      options.layer, look.options.layers - 1, run.path().string(), look.options.task, look.time(),
      maps ? "" : fmt::format(" Maps are left out above {} tokens.", kLongestWithMaps)));
  add_figures(page, inside);
}

}  // namespace

void add_insides(Page& page, const std::vector<RunDirectory>& runs, const InsidesOptions& options) {
  std::set<std::string> seen;
  std::string left_out;
  for (const RunDirectory& run : runs) {
    const TrainOptions settings = run.options();
    if (!std::filesystem::exists(run.checkpoint()) || !seen.insert(settings.model).second) continue;
    if (seen.size() > kMostRuns) {
      left_out += (left_out.empty() ? "" : ", ") + settings.model;
      continue;
    }
    check_layer(settings, options.layer);
    asked_heads(settings, options.head);
    try {
      add_run(page, run, options);
    } catch (const Error& error) {
      page.paragraph("No look into " + run.path().string() + ": " + error.what());
    }
  }
  if (!left_out.empty())
    page.paragraph("Not looked into, to keep the page short: " + left_out +
                   ". Give such a run first.");
}

}  // namespace vla
