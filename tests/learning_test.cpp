// Models learn: the slow tests.

#include <string>

#include "tests/compare.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// Steps until the held-out accuracy of MQAR with 8 pairs reaches 0.99; -1 if it does not in time.
Index steps_to_learn(const std::string& model) {
  TrainOptions options;
  options.model = model;
  Training training(options);
  while (training.steps() < options.steps) {
    training.step();
    if (training.steps() % options.report_every == 0 &&
        training.report_evaluation().accuracy >= 0.99)
      return training.final_evaluation().accuracy >= 0.985 ? training.steps() : -1;
  }
  return -1;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(learning)

BOOST_AUTO_TEST_CASE(vla_learns_to_recall_8_pairs) {
  const Index steps = steps_to_learn("vla");
  BOOST_TEST_MESSAGE("VLA: " << steps << " steps");
  BOOST_TEST(steps > 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
