#include "tasks/tasks.hpp"

namespace vla {
namespace {

std::unique_ptr<Task> make_mqar(const TaskConfig& config) {
  return std::make_unique<Mqar>(MqarOptions{.form = parse_mqar_form(config.form),
                                            .pairs = config.pairs,
                                            .vocabulary = config.vocabulary,
                                            .length = config.length,
                                            .power = config.power,
                                            .passes = config.passes,
                                            .random_filler = config.random_filler});
}

constexpr TaskKind kKinds[] = {
    {"mqar", "multi-query associative recall: key value pairs, then keys to answer", make_mqar},
};

}  // namespace

std::span<const TaskKind> task_kinds() { return kKinds; }

std::unique_ptr<Task> make_task(std::string_view kind, const TaskConfig& config) {
  std::string names;
  for (const TaskKind& known : task_kinds()) {
    if (known.name == kind) return known.make(config);
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  fail("unknown task '", kind, "'; allowed: ", names);
}

}  // namespace vla
