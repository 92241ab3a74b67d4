// A training of many steps needs no more memory at its end than after its beginning, and one that
// found no memory goes on. The long form is run by tools/soak alone.
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "framework/diverged.hpp"
#include "framework/storage.hpp"
#include "tests/cuda_guard.hpp"
#include "tests/temporary_directory.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

TrainOptions small_training(const std::string& device = "cpu") {
  TrainOptions options;
  set_settings(options, {{"pairs", "2"},
                         {"vocabulary", "16"},
                         {"width", "16"},
                         {"heads", "2"},
                         {"layers", "1"},
                         {"hidden", "16"},
                         {"batch", "2"},
                         {"steps", "1000000"},
                         {"threads", "2"},
                         {"device", device}});
  return options;
}

// Bytes of the process that are in memory.
double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// The growth of what the process has in memory over `steps` steps, as a share. What tensors have on
// the device must stay as it is.
double growth(Index steps, const std::string& device = "cpu") {
  Training training(small_training(device));
  for (Index step = 0; step < steps / 10; ++step) training.step();
  const double before = resident_bytes();
  training.wait();
  const std::size_t live = memory_statistics(training.device()).live;
  for (Index step = 0; step < steps; ++step) training.step();
  training.wait();
  BOOST_TEST(memory_statistics(training.device()).live == live);
  return resident_bytes() / before - 1;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(leak)

BOOST_AUTO_TEST_CASE(three_thousand_steps) {
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
  BOOST_TEST(growth(3000) < 0.01);
#endif
}

BOOST_AUTO_TEST_CASE(a_step_without_memory_is_refused_and_the_training_goes_on) {
  Training training(small_training()), other(small_training());
  for (int step = 0; step < 3; ++step) {
    training.step();
    other.step();
  }
  limit_memory(memory_statistics().live + 500);
  BOOST_CHECK_THROW(training.step(), OutOfMemory);
  BOOST_CHECK_THROW(training.final_evaluation(), OutOfMemory);
  limit_memory(0);
  BOOST_TEST(training.step().loss.item() == other.step().loss.item());
  const auto evaluation = training.final_evaluation();
  BOOST_TEST(evaluation.loss == other.final_evaluation().loss);
}

// A step in which the loss cannot be finite, among good ones: it is left out.
BOOST_AUTO_TEST_CASE(a_bad_step_is_skipped_and_the_training_goes_on) {
  for (const std::string model : {"vla", "linear"}) BOOST_TEST_CONTEXT(model) {
      TrainOptions options = small_training();
      options.model = model;
      options.non_finite = "skip";
      Training training(options);
      for (int step = 0; step < 3; ++step) training.step();
      Var table = training.all_parameters().front().variable;
      const Tensor good = table.value().clone();
      table.mutable_value().fill(std::nan(""));
      training.step();
      BOOST_TEST(training.skipped_steps() == 1);
      BOOST_TEST(training.steps() == 4);
      table.mutable_value().copy_from(good);
      BOOST_TEST(std::isfinite(training.step().loss.item()));
      BOOST_TEST(training.skipped_steps() == 1);
      const TemporaryDirectory folder;
      training.save(folder / "checkpoint");
      Training resumed(options);
      resumed.load(folder / "checkpoint");
      BOOST_TEST(resumed.skipped_steps() == 1);
      options.non_finite = "throw";
      Training refused(options);
      table = refused.all_parameters().front().variable;
      table.mutable_value().fill(std::nan(""));
      BOOST_CHECK_THROW(refused.step(), Diverged);
      BOOST_TEST(refused.steps() == 0);
    }
}

BOOST_AUTO_TEST_SUITE_END()

// Not a suite that ctest knows: tools/soak runs it.
BOOST_AUTO_TEST_SUITE(long_leak)

void check_long(const std::string& device) {
  const double grown = growth(100'000, device);
  BOOST_TEST_MESSAGE("resident memory after 100,000 steps on " << device << ": " << 100 * grown
                                                               << " % more");
  BOOST_TEST(grown < 0.01);
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_steps) { check_long("cpu"); }
BOOST_AUTO_TEST_CASE(a_hundred_thousand_steps_on_a_gpu, NEEDS_CUDA) { check_long("cuda"); }

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
