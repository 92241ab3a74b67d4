// What `vla train` does on several ranks, where a test must reach into one of them.
#include <cmath>

#include "tests/ranks/cases.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

TrainOptions small_training(const std::string& device) {
  TrainOptions options;
  set_settings(options, {{"pairs", "2"},
                         {"width", "16"},
                         {"heads", "2"},
                         {"layers", "1"},
                         {"hidden", "16"},
                         {"batch", "2"},
                         {"threads", "1"},
                         {"device", device},
                         {"non-finite", "skip"}});
  return options;
}

void check_same_parameters(const Communicator& ranks, const Training& training) {
  for (const Parameter& parameter : training.all_parameters()) {
    Tensor first = parameter.variable.value().clone();
    ranks.broadcast(first);
    check(largest_difference(first, parameter.variable.value()) == 0, parameter.name,
          " is another");
  }
}

// An operator of one rank throws in forward, so that nobody knows the loss: all leave the step out.
// Words: the device.
void one_refuses_its_batch(const Communicator& ranks, const Words& words) {
  Training training(small_training(words.at(0)), ranks);
  training.step();
  std::vector<Tensor> before;
  for (const Parameter& parameter : training.all_parameters())
    before.push_back(parameter.variable.value().clone());

  const bool refuses = ranks.rank() == ranks.size() - 1;
  Var table = training.all_parameters().front().variable;
  if (refuses) {
    table.mutable_value().fill(std::nan(""));
    std::string refusal;
    try {
      training.report_evaluation();
    } catch (const Diverged& error) {
      refusal = error.what();
    }
    check(refusal.find("inverse penalty") != std::string::npos, "no operator refuses: ", refusal);
  }
  check(std::isnan(training.step().loss.item()), "the loss is known");
  check(training.steps() == 2 && training.skipped_steps() == 1, training.steps(), " steps, ",
        training.skipped_steps(), " skipped");
  if (refuses) table.mutable_value().copy_from(before.front());
  for (std::size_t i = 0; i < before.size(); ++i)
    check(largest_difference(training.all_parameters()[i].variable.value(), before[i]) == 0,
          "the step left out moved ", training.all_parameters()[i].name);

  check(std::isfinite(training.step().loss.item()), "the loss stays unknown");
  check(training.skipped_steps() == 1, training.skipped_steps(), " steps skipped");
  check_same_parameters(ranks, training);
}

void every_rank_has_its_gpu(const Communicator& ranks, const Words&) {
  Training training(small_training("cuda"), ranks);
  const int own = ranks.local_rank() % cuda_device_count();
  check(training.device().index == own, "the device is ", training.device());
  for (int step = 0; step < 3; ++step) training.step();
  check_same_parameters(ranks, training);
  for (int i = 0; i < cuda_device_count(); ++i) {
    const std::size_t used = memory_statistics({Device::Kind::cuda, i}).peak;
    check((used > 0) == (i == own), "GPU ", i, ": ", used, " bytes");
  }
}

}  // namespace

RankCases training_cases() {
  return {{"one_refuses_its_batch", one_refuses_its_batch},
          {"every_rank_has_its_gpu", every_rank_has_its_gpu}};
}

}  // namespace vla
