#include "tools/report/palette.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace vla {
namespace {

constexpr int kDashes = 3;

struct Known {
  std::string_view name;
  const char* color;
};
// Of Okabe and Ito.
constexpr std::array kModels = {Known{"vla", "#0072b2"},    Known{"vla-v1", "#56b4e9"},
                                Known{"vla-v3", "#009e73"}, Known{"deltanet", "#d55e00"},
                                Known{"linear", "#e69f00"}, Known{"softmax", "#222222"}};
constexpr std::array kOtherColors = {"#cc79a7", "#882255", "#999933", "#44aa99", "#332288"};

// The model that a name is a variant of, such as deltanet of deltanet-2x; null for no model.
const Known* model_of(const std::string& name) {
  const Known* best = nullptr;
  for (const Known& model : kModels)
    if (name == model.name || name.starts_with(std::string(model.name) + "-"))
      if (!best || best->name.size() < model.name.size()) best = &model;
  return best;
}

}  // namespace

LineStyle Palette::style(const std::string& name) {
  const auto known = styles_.find(name);
  return known != styles_.end() ? known->second : styles_[name] = new_style(name);
}

LineStyle Palette::new_style(const std::string& name) {
  const Known* model = model_of(name);
  if (model && name == model->name) return {model->color, 0};
  if (model)
    if (int& variants = variants_[model->color]; variants < kDashes)
      return {model->color, ++variants};
  const std::size_t place = others_++;
  return {kOtherColors[place % kOtherColors.size()], static_cast<int>(place / kOtherColors.size())};
}

std::string dash_pattern(int dash, const char* separator) {
  static constexpr std::array<std::array<const char*, 4>, kDashes> kPatterns = {
      {{"9", "4", "9", "4"}, {"3", "3", "3", "3"}, {"10", "3", "3", "3"}}};
  if (dash == 0) return "";
  std::string text;
  for (const char* length : kPatterns[static_cast<std::size_t>(dash - 1) % kPatterns.size()])
    text += (text.empty() ? "" : separator) + std::string(length);
  return text;
}

std::string guide_pattern(int dash, const char* separator) {
  return (dash == 0 ? "6" : "2") + std::string(separator) + "4";
}

}  // namespace vla
