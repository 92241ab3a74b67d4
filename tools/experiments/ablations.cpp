// What each part of VLA is good for.
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

NamedWords variant(const std::string& name, const std::string& words) {
  return {name, "--model " + words};
}

std::vector<NamedWords> variants() {
  return {
      variant("vla", "vla"),
      variant("vla-step", "vla --operator-form step"),
      variant("vla-chunk", "vla --operator-form chunk"),
      variant("vla-lambda-0.1", "vla --lambda0 0.1"),
      variant("vla-lambda-1", "vla --lambda0 1"),
      variant("vla-lambda-10", "vla --lambda0 10"),
      variant("vla-fixed-lambda", "vla --no-learn-lambda0"),
      variant("vla-identity-features", "vla --features identity"),
      variant("vla-learned-rank-1", "vla --penalty learned --rank 1"),
      variant("vla-learned-rank-2", "vla --penalty learned --rank 2"),
      variant("vla-learned-rank-4", "vla --penalty learned --rank 4"),
      variant("vla-forgets", "vla --forget"),
      variant("vla-forgets-restores", "vla --forget --restore-period 32"),
      variant("vla-plain", "vla --convolution 0"),
      variant("vla-v3", "vla-v3"),
      variant("vla-v3-lambda-1", "vla-v3 --lambda0 1"),
      variant("vla-v3-lambda-10", "vla-v3 --lambda0 10"),
      variant("vla-v3-rank-2", "vla-v3 --rank 2"),
      variant("vla-v3-rank-4", "vla-v3 --rank 4"),
      variant("vla-v3-no-nudge", "vla-v3 --nudge-period 0"),
      variant("vla-v3-plain", "vla-v3 --convolution 0"),
      variant("vla-v1", "vla-v1"),
      variant("vla-v1-lambda-0.1", "vla-v1 --lambda0 0.1"),
      variant("vla-v1-lambda-10", "vla-v1 --lambda0 10"),
      variant("vla-v1-rank-2", "vla-v1 --rank 2"),
      variant("vla-v1-no-nudge", "vla-v1 --nudge-period 0"),
      variant("vla-v1-no-clip", "vla-v1 --error-clip 0"),
  };
}

std::vector<ExperimentGroup> groups(bool quick) {
  if (quick)
    return {{"mqar-8",
             "--task mqar --pairs 8 --vocabulary 64 --width 32 --heads 2 --hidden 64 --batch 32 "
             "--steps 300 --until 0.999",
             variants(),
             {8e-3},
             1}};
  // A task on which the best are near 1 and the rest are not: there a part that matters shows.
  return {{"mqar-32-short",
           "--task mqar --pairs 32 --vocabulary 256 --width 64 --heads 4 --hidden 128 "
           "--steps 3000 --until 0.9998",
           variants(),
           {2e-3, 4e-3, 8e-3}},
          // The public reference's ablation: four pairs and two queries in one layer.
          {"recall-4",
           "--task associative-recall --pairs 4 --queries 2 --width 64 --heads 1 --layers 1 "
           "--steps 3000 --until 0.9998",
           variants(),
           {1e-3, 4e-3}}};
}

}  // namespace

Experiment ablations() {
  return {"ablations",
          "VLA with and without its parts: lambda0, rank, features, forgetting, stabilisers, "
          "convolution",
          groups};
}

}  // namespace vla
