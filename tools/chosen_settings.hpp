// The settings of a run to be made: from a file, and from the words of the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "tools/settings.hpp"

namespace vla {

/// The settings that the command line gives, among those that `app` has, with the values they have
/// in `given`.
SettingTexts given_settings(const CLI::App& app, const TrainOptions& given);

/// The settings in a file of the form of a run's config.json; without a path the defaults. Throws
/// Error, beginning with the path, for what cannot be read or is no setting.
TrainOptions settings_in_file(const std::string& path);

/// `before` changed by what the command line gives, with absolute paths. A warm-up that was the
/// usual one for the steps stays so. Throws Error for settings that are not allowed, beginning with
/// `source`, where `before` is from, if the command line is not to blame.
TrainOptions chosen_settings(const CLI::App& app, const TrainOptions& given,
                             const TrainOptions& before, const std::string& source);

/// Paths of data in the settings, made absolute: a run that is resumed elsewhere finds them again.
void make_paths_absolute(TrainOptions& options);

}  // namespace vla
