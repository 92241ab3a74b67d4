#include "tools/command_line.hpp"

#include <memory>
#include <vector>

namespace vla {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
  return result;
}

std::vector<std::string> command_names(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    if (!option->get_lnames().empty()) names.push_back("--" + option->get_lnames().front());
  return names;
}

// Without the "{false}" that CLI11 puts after a switch that can also be turned off.
class HelpStyle : public CLI::Formatter {
 public:
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    std::string name = CLI::Formatter::make_option_name(option, positional);
    const std::string mark = "{false}";
    for (std::size_t at; (at = name.find(mark)) != std::string::npos;) name.erase(at, mark.size());
    return name;
  }
};

}  // namespace

void set_help_style(CLI::App& program) {
  program.name("vla");
  program.formatter(std::make_shared<HelpStyle>());
}

std::string explain(const CLI::App& program, const CLI::ParseError& error) {
  const std::vector<CLI::App*> chosen = program.get_subcommands();
  const std::vector<std::string> left = program.remaining(true);
  if (chosen.empty()) {
    const std::string allowed = "; allowed: " + joined(command_names(program));
    if (left.empty()) return "no command given" + allowed;
    return "unknown command '" + left.front() + "'" + allowed;
  }
  const CLI::App& command = *chosen.front();
  if (!left.empty()) {
    const std::string& word = left.front();
    return command.get_name() + ": " +
           (word.starts_with("-") ? "unknown option '" : "unexpected '") + word +
           "'; allowed: " + joined(option_names(command));
  }
  const std::string message = error.what();
  return command.get_name() + ": " + message.substr(0, message.find('\n'));
}

}  // namespace vla
