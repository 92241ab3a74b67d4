// What the subcommands of the vla program share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <type_traits>

#include "tools/settings.hpp"

namespace vla {

/// A subcommand: its part of the command line, and what it does; returns the exit code.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command train_command(CLI::App& program);
Command eval_command(CLI::App& program);
Command experiment_command(CLI::App& program);
Command generate_command(CLI::App& program);
Command inspect_command(CLI::App& program);
Command report_command(CLI::App& program);
Command tasks_command(CLI::App& program);
Command data_command(CLI::App& program);
Command models_command(CLI::App& program);
Command bench_command(CLI::App& program);
Command gradcheck_command(CLI::App& program);
Command verify_command(CLI::App& program);
Command devices_command(CLI::App& program);
Command regression_command(CLI::App& program);
Command stability_command(CLI::App& program);
Command export_command(CLI::App& program);
Command import_command(CLI::App& program);
Command doctor_command(CLI::App& program);
Command completion_command(CLI::App& program);

/// Makes the help of a program with settings readable.
void set_help_style(CLI::App& program);

/// "--name" for the command line, the last one given counts; with "--no-name" if the setting is
/// true or false.
template <class T>
CLI::Option* add_setting(CLI::App& app, const std::string& name, T& value,
                         const std::string& description) {
  if constexpr (std::is_same_v<T, bool>) {
    return app
        .add_flag_function(
            "--" + name + ",!--no-" + name, [&value](std::int64_t count) { value = count > 0; },
            description + " (" + (value ? "on" : "off") + ")")
        ->take_last();
  } else {
    const char* kind = std::is_same_v<T, double>                                    ? "NUMBER"
                       : std::is_same_v<T, std::string> || std::is_same_v<T, DType> ? "NAME"
                                                                                    : "COUNT";
    return app
        .add_option_function<std::string>(
            "--" + name,
            [name, &value](const std::string& text) { parse_setting(name, text, value); },
            description)
        ->type_name(kind)
        ->default_str(setting_text(value))
        ->take_last();
  }
}

/// Of every --device.
inline constexpr const char* kDeviceHelp = "where to compute: cpu, cuda, cuda:N, or auto";

/// What is wrong with a command line, and what is allowed, in one line.
std::string explain(const CLI::App& program, const CLI::ParseError& error);

}  // namespace vla
