#include <fmt/format.h>

#include "tools/experiments/experiment.hpp"

namespace vla {

std::vector<Experiment> experiments() {
  return {mqar_capacity(),
          mqar_length(),
          copy_experiment(),
          delayed_recall_experiment(),
          associative_recall_experiment(),
          retrieval_experiment(),
          ablations(),
          symbolic(),
          mqar_zoology(),
          listops_experiment(),
          pathfinder_experiment(),
          stability_experiment(),
          regression_experiment(),
          scaling()};
}

Experiment find_experiment(const std::string& name) {
  std::string names;
  for (const Experiment& experiment : experiments()) {
    if (experiment.name == name) return experiment;
    names += (names.empty() ? "" : ", ") + experiment.name;
  }
  fail("unknown experiment '", name, "'; allowed: ", names);
}

std::string seeds_text(std::size_t have, std::size_t wanted, std::size_t failed) {
  if (have == 0 && failed == 0) return "not run";
  std::string text =
      have == wanted ? fmt::format("{}", have) : fmt::format("{} of {}", have, wanted);
  return failed > 0 ? text + fmt::format(", {} failed", failed) : text;
}

std::vector<NamedWords> usual_models() {
  return {{"vla", "--model vla"},       {"vla-v3", "--model vla-v3"},
          {"vla-v1", "--model vla-v1"}, {"deltanet", "--model deltanet"},
          {"linear", "--model linear"}, {"softmax", "--model softmax"}};
}

NamedWords deltanet_with_values(Index times, Index head_width) {
  return {fmt::format("deltanet-{}x", times),
          fmt::format("--model deltanet --value-width {}", times * head_width)};
}

}  // namespace vla
