// ListOps of the Long Range Arena.
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

std::vector<ExperimentGroup> groups(bool quick) {
  if (quick)
    return {{"T-32",
             "--task listops --length 32 --width 32 --heads 2 --hidden 64 --batch 32 --steps 500",
             usual_models(),
             {2e-3},
             1}};
  return {{"T-2000",
           "--task listops --width 128 --heads 4 --layers 4 --hidden 512 --batch 32 "
           "--steps 10000 --report-every 200",
           {{"vla", "--model vla"},
            {"deltanet", "--model deltanet"},
            {"linear", "--model linear"},
            {"softmax", "--model softmax"}},
           {5e-4, 1e-3}}};
}

}  // namespace

Experiment listops_experiment() {
  return {"listops", "the value of nested expressions of up to 2000 tokens", groups};
}

}  // namespace vla
