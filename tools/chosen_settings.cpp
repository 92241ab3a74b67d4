#include "tools/chosen_settings.hpp"

#include <filesystem>

#include "framework/file.hpp"

namespace vla {
namespace {

// What is wrong with settings, or nothing.
std::string complaint(const TrainOptions& options) {
  try {
    check_settings(options);
    mixer_factory(options.model, options.mixer);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TrainOptions settings_in_file(const std::string& path) {
  return path.empty() ? TrainOptions{} : options_from_json(read_text(path), path);
}

SettingTexts given_settings(const CLI::App& app, const TrainOptions& given) {
  SettingTexts texts = setting_texts(given);
  std::erase_if(texts, [&](const auto& setting) {
    const CLI::Option* option = app.get_option_no_throw("--" + setting.first);
    return option == nullptr || option->count() == 0;
  });
  return texts;
}

void make_paths_absolute(TrainOptions& options) {
  for (std::string* path : {&options.data.text, &options.data.data})
    if (!path->empty()) *path = std::filesystem::absolute(*path).lexically_normal().string();
}

TrainOptions chosen_settings(const CLI::App& app, const TrainOptions& given,
                             const TrainOptions& before, const std::string& source) {
  const SettingTexts changes = given_settings(app, given);
  TrainOptions options = before;
  set_settings(options, changes);
  if (!changes.contains("warm-up") && before.warm_up == usual_warm_up(before.steps))
    options.warm_up = usual_warm_up(options.steps);
  const std::string wrong = complaint(options);
  if (!source.empty() && !wrong.empty() && wrong == complaint(before)) fail(source, ": ", wrong);
  check(wrong.empty(), wrong);
  make_paths_absolute(options);
  return options;
}

}  // namespace vla
