// Two tasks of the Long Range Arena.
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

// The published versions of VLA go token by token, too slowly for these.
std::vector<NamedWords> models() {
  return {{"vla", "--model vla"},
          {"deltanet", "--model deltanet"},
          {"linear", "--model linear"},
          {"softmax", "--model softmax"}};
}

std::vector<ExperimentGroup> listops_groups(bool quick) {
  if (quick)
    return {{"T-32",
             "--task listops --length 32 --width 32 --heads 2 --hidden 64 --batch 32 --steps 500",
             usual_models(),
             {2e-3},
             1}};
  return {{"T-2000",
           "--task listops --width 128 --heads 4 --layers 4 --hidden 512 --batch 32 "
           "--steps 5000 --report-every 200",
           models(),
           {5e-4, 1e-3}}};
}

std::vector<ExperimentGroup> pathfinder_groups(bool quick) {
  if (quick)
    return {{"T-1024",
             "--task pathfinder --width 16 --heads 2 --layers 1 --hidden 32 --batch 8 --steps 20 "
             "--report-every 20",
             usual_models(),
             {2e-3},
             1}};
  return {{"T-1024",
           "--task pathfinder --width 128 --heads 4 --layers 4 --hidden 256 --batch 64 "
           "--steps 6000 --report-every 200",
           models(),
           {5e-4, 1e-3}}};
}

}  // namespace

Experiment listops_experiment() {
  return {"listops", "the value of nested expressions of up to 2000 tokens", listops_groups};
}

Experiment pathfinder_experiment() {
  return {"pathfinder32", "whether two dots of an image of 32 x 32 pixels are joined by a path",
          pathfinder_groups};
}

}  // namespace vla
