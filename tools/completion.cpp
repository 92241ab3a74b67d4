// vla completion: a script for the shell, made from the commands and options there are
#include <fmt/format.h>

#include <iostream>
#include <map>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/experiments/experiment.hpp"
#include "tools/inspect.hpp"

namespace vla {
namespace {

// Words that can follow an option, or stand alone after a command, where they are few.
std::map<std::string, std::string> values_by_option() {
  std::map<std::string, std::string> values = {{"--device", "cpu cuda auto"}};
  for (const char* option :
       {"precision", "dtype", "penalty", "features", "operator-form", "held-out", "form", "names"})
    values[concatenate("--", option)] = fmt::format("{}", fmt::join(allowed_words(option), " "));
  for (const TaskKind& kind : task_kinds())
    values["--task"] += (values["--task"].empty() ? "" : " ") + std::string(kind.name);
  for (const ModelKind& kind : model_kinds())
    values["--model"] += (values["--model"].empty() ? "" : " ") + std::string(kind.name);
  return values;
}

std::string words_after(const std::string& command) {
  std::string words;
  if (command == "completion") words = "bash zsh";
  if (command == "inspect") words = fmt::format("{}", fmt::join(inspect_views(), " "));
  if (command == "experiment")
    for (const Experiment& experiment : experiments())
      words += (words.empty() ? "" : " ") + experiment.name;
  return words;
}

struct CompletionScript {
  std::string commands;  // cases: which command the words before are
  std::string words;     // cases: what may follow it
  std::map<std::string, std::string> values = values_by_option();

  void add(const CLI::App& app, const std::string& name) {
    std::string options, with_value, subcommands = words_after(name);
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& one : option->get_lnames()) {
        options += (options.empty() ? "--" : " --") + one;
        if (option->get_type_size() > 0 && !values.contains("--" + one))
          with_value += (with_value.empty() ? "--" : "|--") + one;
      }
    }
    for (const CLI::App* part : app.get_subcommands({})) {
      const std::string full = name.empty() ? part->get_name() : name + " " + part->get_name();
      subcommands += (subcommands.empty() ? "" : " ") + part->get_name();
      commands += fmt::format("      \"{} {}\") command='{}' ;;\n", name, part->get_name(), full);
      add(*part, full);
    }
    words += fmt::format("    '{}') words='{}'; options='{}'; files='{}' ;;\n", name, subcommands,
                         options, with_value);
  }
};

std::string bash_script(const CLI::App& program) {
  CompletionScript script;
  script.add(program, "");
  std::string values;
  for (const auto& [option, words] : script.values)
    values += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n",
                          option, words);
  return fmt::format(R"(# Completion of the words of vla {}: source <(vla completion bash)
_vla() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
  local command='' words='' options='' files='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${{COMP_WORDS[i]}}" in
{}    esac
  done
  case "$command" in
{}  esac
  # After an option that takes a value: that value, or names of files.
  case "$before" in
{}  esac
  [[ -n $files && "|$files|" == *"|$before|"* ]] && return
  [[ $word == -* ]] && words=$options
  [[ -n $words ]] && COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _vla vla
)",
                     VLA_VERSION, script.commands, script.words, values);
}

}  // namespace

Command completion_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "completion", "Print a script by which the shell completes words of vla");
  app->footer(
      "Example:\n"
      "  vla completion bash > ~/.local/share/bash-completion/completions/vla\n"
      "or in ~/.bashrc: source <(vla completion bash); in ~/.zshrc: source <(vla completion zsh),\n"
      "after compinit.");
  const auto shell = std::make_shared<std::string>();
  app->add_option("shell", *shell, "bash or zsh")->type_name("SHELL")->required();
  return {app, [&program, shell] {
            check(*shell == "bash" || *shell == "zsh", "completion: shell '", *shell,
                  "' is not known; bash or zsh");
            if (*shell == "zsh") std::cout << "autoload -U +X bashcompinit && bashcompinit\n";
            std::cout << bash_script(program);
            return 0;
          }};
}

}  // namespace vla
