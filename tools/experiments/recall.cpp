// Copying and recall: what a memory keeps over a distance.
#include <fmt/format.h>

#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

const std::vector<double> kRates = {1e-3, 2e-3, 4e-3};
// For the quick forms.
const std::string kSmallModel = " --width 32 --heads 2 --hidden 64 --batch 32 ";

NamedWords prefix_of(Index prefix) {
  return {fmt::format("prefix-{}", prefix),
          fmt::format("--prefix {} --shortest-prefix 0 --examples 1000", prefix)};
}

std::vector<ExperimentGroup> copy_groups(bool quick) {
  // Of the second group the answers can be found by the symbols before them, at any length.
  if (quick)
    return {{"prefix-10",
             "--task copy --prefix 10 --steps 300 --until 0.999" + kSmallModel,
             usual_models(),
             {8e-3},
             1},
            {"from-5-to-10",
             "--task copy --prefix 10 --shortest-prefix 5 --show-answers --no-positions "
             "--steps 400 --until 0.999" +
                 kSmallModel,
             usual_models(),
             {8e-3},
             1,
             {prefix_of(10), prefix_of(20)}}};
  std::vector<ExperimentGroup> groups;
  for (const Index prefix : {20, 50, 100, 200})
    groups.push_back({fmt::format("prefix-{}", prefix),
                      fmt::format("--task copy --prefix {} --steps 3000 --until 0.9998", prefix),
                      usual_models(), kRates});
  groups.push_back({"from-5-to-20",
                    "--task copy --prefix 20 --shortest-prefix 5 --show-answers --no-positions "
                    "--steps 5000 --until 0.9998",
                    usual_models(),
                    kRates,
                    3,
                    {prefix_of(20), prefix_of(30), prefix_of(40), prefix_of(80)}});
  return groups;
}

std::vector<ExperimentGroup> delayed_recall_groups(bool quick) {
  std::vector<ExperimentGroup> groups;
  if (quick) {
    for (const Index delay : {5, 10})
      groups.push_back({fmt::format("delay-{}", delay),
                        fmt::format("--task delayed-recall --delay {} --length 32 --steps 400 "
                                    "--until 0.999 {}",
                                    delay, kSmallModel),
                        usual_models(),
                        {8e-3},
                        1});
    return groups;
  }
  for (const Index delay : {5, 10, 20, 100, 300, 1000})
    groups.push_back({fmt::format("delay-{}", delay),
                      fmt::format("--task delayed-recall --delay {} --batch {} --steps 3000 "
                                  "--until 0.9998",
                                  delay, delay > 100 ? 16 : 64),
                      usual_models(), kRates});
  return groups;
}

std::vector<ExperimentGroup> associative_recall_groups(bool quick) {
  if (quick)
    return {{"pairs-8",
             "--task associative-recall --pairs 8 --vocabulary 40 --steps 400 --until 0.999" +
                 kSmallModel,
             usual_models(),
             {8e-3},
             1},
            {"pairs-8-distractors-1",
             "--task associative-recall --pairs 8 --distractors 1 --vocabulary 40 --steps 400 "
             "--until 0.999" +
                 kSmallModel,
             usual_models(),
             {8e-3},
             1}};
  std::vector<ExperimentGroup> groups;
  for (const Index pairs : {15, 30, 60})
    groups.push_back({fmt::format("pairs-{}", pairs),
                      fmt::format("--task associative-recall --pairs {} --steps 5000 "
                                  "--until 0.9998",
                                  pairs),
                      usual_models(), kRates});
  groups.push_back({"pairs-15-distractors-2",
                    "--task associative-recall --pairs 15 --distractors 2 --steps 5000 "
                    "--until 0.9998",
                    usual_models(), kRates});
  return groups;
}

std::vector<ExperimentGroup> retrieval_groups(bool quick) {
  std::vector<ExperimentGroup> groups;
  if (quick) {
    groups.push_back({"T-32",
                      "--task retrieval --pairs 4 --length 32 --vocabulary 16 --steps 600 "
                      "--until 0.99" +
                          kSmallModel,
                      usual_models(),
                      {4e-3, 8e-3},
                      1});
    return groups;
  }
  // One answer of an example is learned from, so these take more steps than the others.
  for (const Index length : {64, 256, 512, 1024, 2048})
    groups.push_back({fmt::format("T-{}", length),
                      fmt::format("--task retrieval --length {} --batch {} --steps {} "
                                  "--until 0.998",
                                  length, length > 512 ? 32 : 64, 8000),
                      usual_models(), kRates});
  return groups;
}

}  // namespace

Experiment copy_experiment() {
  return {"copy", "copying: long prefixes, and longer ones than those learned from", copy_groups};
}

Experiment delayed_recall_experiment() {
  return {"delayed-recall", "the token that stood D places before, D from 5 to 1000",
          delayed_recall_groups};
}

Experiment associative_recall_experiment() {
  return {"associative-recall", "pairs, then a few keys to answer; with distractors too",
          associative_recall_groups};
}

Experiment retrieval_experiment() {
  return {"retrieval", "20 pairs, zeros, and one key at the end of up to 2048 tokens",
          retrieval_groups};
}

}  // namespace vla
