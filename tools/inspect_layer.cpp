// vla inspect penalty, memory and attention: what a layer does on an example.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <map>

#include "framework/file.hpp"
#include "framework/safetensors.hpp"
#include "framework/table.hpp"
#include "tools/inspect.hpp"
#include "tools/look.hpp"

namespace vla {
namespace {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Element i of the last axis; -1: the last.
Tensor element(const Tensor& x, Index i) {
  if (!x.defined()) return {};
  if (i < 0) i += x.size(-1);
  Tensor result(x.shape().without(-1), DType::float64);
  double* into = result.mutable_data<double>();
  for (Index row = 0; row < result.elements(); ++row)
    into[row] = x.data<double>()[row * x.size(-1) + i];
  return result;
}

// What can be looked at. `series` are numbers per head at every token (1, T, H), or at the tokens
// with eigenvalues (1, N, H); `maps` are (1, T, H, T).
struct View {
  std::string_view name;
  std::string_view models;  // that have it
  NamedTensors (*series)(const Diagnostics& d);
  NamedTensors (*maps)(const Diagnostics& d);
};

constexpr std::array kViews{
    View{"penalty", "vla, vla-v1, vla-v3",
         [](const Diagnostics& d) -> NamedTensors {
           return {{"smallest_eigenvalue", element(d.eigenvalues, 0)},
                   {"largest_eigenvalue", element(d.eigenvalues, -1)},
                   {"condition", d.condition},
                   {"inverse_norm", d.inverse_norm},
                   {"penalty_strength", d.penalty_strength}};
         },
         [](const Diagnostics&) -> NamedTensors { return {}; }},
    View{"memory", "vla, vla-v1, vla-v3, deltanet, linear",
         [](const Diagnostics& d) -> NamedTensors {
           return {{"memory_norm", d.memory_norm},
                   {"error_norm", d.error_norm},
                   {"transition_norm", d.transition_norm},
                   {"transition_radius", d.transition_radius}};
         },
         [](const Diagnostics& d) -> NamedTensors {
           return {{"survival", d.survival}};
         }},
    View{"attention", "all",
         [](const Diagnostics& d) -> NamedTensors {
           return {{"attention_entropy", d.attention_entropy}};
         },
         [](const Diagnostics& d) -> NamedTensors {
           return {{"attention", d.attention}};
         }},
};

const View& view_of(const std::string& name) {
  for (const View& view : kViews)
    if (view.name == name) return view;
  fail("inspect: '", name,
       "' cannot be looked at; allowed: ", fmt::format("{}", fmt::join(inspect_views(), ", ")));
}

// Number of token t and head h of a series, every `every`-th token of which may be all there is.
double number_at(const Tensor& series, Index time, Index every, Index t, Index h) {
  if (series.size(1) == time) return series.at<double>({0, t, h});
  return t % every == 0 ? series.at<double>({0, t / every, h}) : std::nan("");
}

std::vector<std::string> table_row(const std::string& name, Index head,
                                   std::vector<double> numbers) {
  std::erase_if(numbers, [](double number) { return std::isnan(number); });
  if (numbers.empty()) numbers = {std::nan("")};
  std::ranges::sort(numbers);
  const std::size_t half = numbers.size() / 2;
  const double median =
      numbers.size() % 2 == 1 ? numbers[half] : (numbers[half - 1] + numbers[half]) / 2;
  return {name, std::to_string(head), rounded(numbers.front(), 4), rounded(median, 4),
          rounded(numbers.back(), 4)};
}

// What is found out about one layer.
struct Findings {
  Tensor tokens;  // (1, T)
  Index every;
  std::vector<Index> heads = {};  // those asked for
  NamedTensors series = {}, maps = {};

  Index time() const { return tokens.size(1); }
};

void print_table(const Findings& found) {
  Table table{{"", "head", "min", "median", "max"}};
  for (const auto& [name, series] : found.series)
    for (Index h : found.heads) {
      std::vector<double> numbers;
      for (Index t = 0; t < series.size(1); ++t) numbers.push_back(series.at<double>({0, t, h}));
      table.push_back(table_row(name, h, numbers));
    }
  for (const auto& [name, map] : found.maps)
    for (Index h : found.heads) {
      std::vector<double> numbers;
      for (Index t = 0; t < found.time(); ++t)
        for (Index i = 0; i <= t; ++i) numbers.push_back(map.at<double>({0, t, h, i}));
      table.push_back(table_row(name, h, numbers));
    }
  std::cout << aligned(table, {false, true, true, true, true});
}

std::string csv(const Findings& found) {
  Table table{{"time", "token", "head"}};
  for (const auto& [name, series] : found.series) table.front().push_back(name);
  for (Index t = 0; t < found.time(); ++t)
    for (Index h : found.heads) {
      auto& row = table.emplace_back();
      for (const Index place : {t, found.tokens.at<Index>({0, t}), h})
        row.push_back(std::to_string(place));
      for (const auto& [name, series] : found.series) {
        const double number = number_at(series, found.time(), found.every, t, h);
        row.push_back(std::isnan(number) ? "" : fmt::format("{}", number));
      }
    }
  return csv_text(table);
}

void write_files(const std::filesystem::path& folder, const std::string& name,
                 const Findings& found, const Diagnostics& diagnostics,
                 const std::map<std::string, std::string>& metadata) {
  make_folder(folder);
  write_text(folder / (name + ".csv"), csv(found));

  TensorFile file{.tensors = {{"tokens", found.tokens}}, .metadata = metadata};
  if (name == "penalty") {
    file.tensors.emplace_back("times", diagnostics.times);
    file.tensors.emplace_back("eigenvalues", diagnostics.eigenvalues);
    file.tensors.emplace_back("inverse", diagnostics.inverse);
  }
  for (const NamedTensors& part : {found.series, found.maps})
    file.tensors.insert(file.tensors.end(), part.begin(), part.end());
  write_safetensors(folder / (name + ".safetensors"), file);
  std::cout << fmt::format("wrote {0}.csv and {0}.safetensors\n", (folder / name).string());
}

}  // namespace

std::vector<std::string_view> inspect_views() {
  std::vector<std::string_view> names;
  for (const View& view : kViews) names.push_back(view.name);
  names.insert(names.end(), {"gradients", "graph"});
  return names;
}

int inspect_layer(const InspectRequest& request) {
  const View& view = view_of(request.view);
  check(request.every >= 1, "--every ", request.every, " is not allowed; 1 or more");
  const RunDirectory run(request.run);
  const TrainOptions options = run.options();
  check_layer(options, request.layer);
  const std::vector<Index> heads = asked_heads(options, request.head);
  Look look = look_into(run, request.seed);
  Findings found{.tokens = look.tokens, .every = request.every, .heads = heads};
  const Diagnostics diagnostics =
      look.diagnose(request.layer, {.every = request.every, .maps = view.name != "penalty"});
  found.series = view.series(diagnostics);
  found.maps = view.maps(diagnostics);
  check(found.series.front().second.defined(), "inspect: model '", options.model, "' has no ",
        view.name, "; allowed: ", view.models);

  std::cout << fmt::format("{} of layer {} (0 to {}), {} on {}, {} tokens, seed {}\n", view.name,
                           request.layer, options.layers - 1, options.model, options.task,
                           found.time(), look.seed);
  print_table(found);
  if (!request.out.empty())
    write_files(request.out, request.view, found, diagnostics,
                {{"model", options.model},
                 {"task", options.task},
                 {"layer", std::to_string(request.layer)},
                 {"every", std::to_string(request.every)},
                 {"seed", std::to_string(look.seed)}});
  return 0;
}

}  // namespace vla
