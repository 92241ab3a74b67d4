// The symbolic penalty: ancestors with and without it.
#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

std::vector<NamedWords> models() {
  return {{"vla", "--model vla"},
          {"vla-v1", "--model vla-v1"},
          {"vla-v1-symbolic-0.1", "--model vla-v1 --symbolic 0.1"},
          {"vla-v1-symbolic-0.5", "--model vla-v1 --symbolic 0.5"},
          {"deltanet", "--model deltanet"},
          {"softmax", "--model softmax"}};
}

NamedWords chain_of(const std::string& facts) {
  return {"chain-" + facts, "--held-out-chain " + facts + " --examples 1000"};
}

std::vector<ExperimentGroup> groups(bool quick) {
  if (quick)
    return {{"chain-2",
             "--task ancestor --chain 2 --width 64 --heads 2 --hidden 64 --batch 32 --steps 400 "
             "--until 0.99",
             models(),
             {2e-3},
             1}};
  // The published sizes; and chains of many lengths, evaluated on longer ones.
  return {{"chain-4",
           "--task ancestor --chain 4 --steps 3000 --until 0.998",
           models(),
           {5e-4, 1e-3, 2e-3}},
          {"chains-2-to-8",
           "--task ancestor --chain 8 --shortest-chain 2 --no-positions --steps 6000 "
           "--until 0.998",
           models(),
           {5e-4, 1e-3, 2e-3},
           3,
           {chain_of("8"), chain_of("12"), chain_of("16")}}};
}

}  // namespace

Experiment symbolic() {
  return {"symbolic",
          "whether one is an ancestor of another, with and without the symbolic penalty", groups};
}

}  // namespace vla
