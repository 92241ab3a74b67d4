// What `vla train` does on several ranks, where a test must reach into one of them.
#include <cmath>

#include "tests/ranks/cases.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// An operator of one rank throws in forward, so that nobody knows the loss: all leave the step out.
void one_refuses_its_batch(const Communicator& ranks, const Words&) {
  TrainOptions options;
  set_settings(options, {{"pairs", "2"},
                         {"width", "16"},
                         {"heads", "2"},
                         {"layers", "1"},
                         {"hidden", "16"},
                         {"batch", "2"},
                         {"non-finite", "skip"}});
  Training training(options, ranks);
  training.step();
  std::vector<Tensor> before;
  for (const Parameter& parameter : training.all_parameters())
    before.push_back(parameter.variable.value().clone());

  const bool refuses = ranks.rank() == ranks.size() - 1;
  Var table = training.all_parameters().front().variable;
  if (refuses) table.mutable_value().fill(std::nan(""));
  check(std::isnan(training.step().loss.item()), "the loss is known");
  check(training.steps() == 2 && training.skipped_steps() == 1, training.steps(), " steps, ",
        training.skipped_steps(), " skipped");
  if (refuses) table.mutable_value().copy_from(before.front());
  for (std::size_t i = 0; i < before.size(); ++i)
    check(largest_difference(training.all_parameters()[i].variable.value(), before[i]) == 0,
          "the step left out moved ", training.all_parameters()[i].name);

  check(std::isfinite(training.step().loss.item()), "the loss stays unknown");
  check(training.skipped_steps() == 1, training.skipped_steps(), " steps skipped");
  for (const Parameter& parameter : training.all_parameters()) {
    Tensor first = parameter.variable.value().clone();
    ranks.broadcast(first);
    check(largest_difference(first, parameter.variable.value()) == 0, parameter.name,
          " is another");
  }
}

}  // namespace

RankCases training_cases() { return {{"one_refuses_its_batch", one_refuses_its_batch}}; }

}  // namespace vla
