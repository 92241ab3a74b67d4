// Models learn: the slow tests.

#include <string>

#include "tests/compare.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// Trains from a fixed seed until the held-out accuracy reaches 0.99, and says whether fresh
// examples confirm it.
bool learns(const TrainOptions& options) {
  Training training(options);
  while (training.steps() < options.steps) {
    training.step();
    if (training.steps() % options.report_every == 0 &&
        training.report_evaluation().accuracy >= 0.99) {
      BOOST_TEST_MESSAGE(options.model << " on " << options.task << ": " << training.steps()
                                       << " steps");
      return training.final_evaluation().accuracy >= 0.985;
    }
  }
  return false;
}

// A smaller model and a shorter schedule than the defaults.
TrainOptions small(const std::string& model, const std::string& task) {
  TrainOptions options;
  options.model = model;
  options.task = task;
  options.mixer.attention.width = 64;
  options.mixer.attention.heads = 2;
  options.batch = 32;
  options.rate = 2e-3;
  options.warm_up = 50;
  options.steps = 1500;
  return options;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(learning)

BOOST_AUTO_TEST_CASE(vla_recalls_8_pairs) { BOOST_TEST(learns({})); }

BOOST_AUTO_TEST_CASE(version_3_recalls_4_pairs) {
  TrainOptions options = small("vla-v3", "mqar");
  options.data.pairs = 4;
  options.data.vocabulary = 32;
  BOOST_TEST(learns(options));
}

BOOST_AUTO_TEST_CASE(version_1_copies) {
  TrainOptions options = small("vla-v1", "copy");
  options.data.prefix = 8;
  BOOST_TEST(learns(options));
}

BOOST_AUTO_TEST_CASE(version_1_recalls_after_a_delay) {
  TrainOptions options = small("vla-v1", "delayed-recall");
  options.data.delay = 8;
  options.data.length = 32;
  options.data.vocabulary = 12;
  BOOST_TEST(learns(options));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
