// Ctrl-C, or another request to end, during a training: a checkpoint, how to go on, exit code 130.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/program.hpp"

namespace vla {
namespace {

using namespace std::chrono_literals;

// The program running beside the test, in a place. (A shell's background jobs ignore Ctrl-C.)
class Running {
 public:
  Running(const Place& place, const std::string& words) {
    const std::string command = "cd " + quoted(place.path().string()) + " && exec " +
                                quoted(VLA_PROGRAM) + " " + words + " >out.txt 2>errors.txt";
    child_ = ::fork();
    if (child_ == 0) {
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~Running() {
    if (child_ > 0 && ::kill(child_, SIGKILL) == 0) ::waitpid(child_, nullptr, 0);
  }
  void send(int signal) const { ::kill(child_, signal); }
  // The exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t child_ = -1;
};

// Waits until a file has something in it.
void wait_for(const std::filesystem::path& path) {
  for (int i = 0; i < 3000; ++i) {
    std::error_code none;
    if (std::filesystem::file_size(path, none) > 0 && !none) return;
    std::this_thread::sleep_for(10ms);
  }
  BOOST_FAIL(path << " does not come");
}

const std::string kMany =
    "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
    "--threads 1 --report-every 50 --steps 1500 ";

// Of a second or so each.
const std::string kTwoLong =
    "train --model linear --convolution 0 --pairs 2 --vocabulary 16 --width 256 --heads 2 "
    "--layers 1 --hidden 4096 --batch 1000 --threads 1 --checkpoint-every 0 --steps 2 --out run";

// config.json is there once the first step is done, and a moment later the second is under way.
void wait_for_second_step(const Place& place) {
  wait_for(place / "run/config.json");
  std::this_thread::sleep_for(100ms);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(interrupt)

BOOST_AUTO_TEST_CASE(a_training_stops_with_a_checkpoint_and_goes_on_to_the_bit) {
  const Place place;
  const std::string words = kMany + "--checkpoint-every 0 --out ";
  BOOST_REQUIRE_EQUAL(place.run(words + "whole").errors, "");
  const std::string whole = read(place / "whole/checkpoint.safetensors");
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string run = concatenate("run", signal);
    Running running(place, words + run);
    wait_for(place / (run + "/metrics.jsonl"));
    running.send(signal);
    BOOST_TEST(running.wait() == 128 + signal);
    BOOST_TEST(read(place / "errors.txt") == "");
    const std::string said = read(place / "out.txt");
    BOOST_TEST((said.find("stopped at step ") != std::string::npos), said);
    BOOST_TEST(
        (said.find(" of 1500; go on with: vla train --resume " + run + "\n") != std::string::npos),
        said);
    BOOST_REQUIRE(place.has(run + "/checkpoint.safetensors"));
    BOOST_TEST((read(place / (run + "/checkpoint.safetensors")) != whole));
    BOOST_TEST(place.run("train --resume " + run).code == 0);
    BOOST_TEST((read(place / (run + "/checkpoint.safetensors")) == whole));
  }
}

BOOST_AUTO_TEST_CASE(a_training_that_is_killed_goes_on_from_its_checkpoint_to_the_bit) {
  const Place place;
  const std::string words = kMany + "--checkpoint-every 100 --out ";
  BOOST_REQUIRE_EQUAL(place.run(words + "whole").errors, "");
  Running running(place, words + "run");
  wait_for(place / "run/checkpoint.safetensors");
  running.send(SIGKILL);
  BOOST_TEST(running.wait() == -SIGKILL);
  BOOST_TEST(
      (read(place / "run/checkpoint.safetensors") != read(place / "whole/checkpoint.safetensors")));
  BOOST_TEST(place.run("train --resume run").errors == "");
  BOOST_TEST(
      (read(place / "run/checkpoint.safetensors") == read(place / "whole/checkpoint.safetensors")));
}

// Closer together they would be one request.
BOOST_AUTO_TEST_CASE(a_second_one_ends_it_at_once) {
  const Place place;
  Running running(place, kTwoLong);
  wait_for_second_step(place);
  running.send(SIGINT);
  std::this_thread::sleep_for(250ms);
  running.send(SIGINT);
  BOOST_TEST(running.wait() == -SIGINT);
  BOOST_TEST(!place.has("run/checkpoint.safetensors"));
}

BOOST_AUTO_TEST_CASE(in_the_last_step_it_leaves_the_final_evaluation) {
  const Place place;
  Running running(place, kTwoLong);
  wait_for_second_step(place);
  running.send(SIGHUP);
  BOOST_TEST(running.wait() == 128 + SIGHUP);
  const std::string said = read(place / "out.txt");
  BOOST_TEST((said.find("stopped at step 2 of 2; go on with: vla train --resume run\n") !=
              std::string::npos),
             said);
  BOOST_TEST((said.find("held-out") == std::string::npos), said);
  const Outcome resumed = place.run("train --resume run");
  BOOST_TEST(resumed.code == 0);
  BOOST_TEST((resumed.out.find("held-out accuracy") != std::string::npos), resumed.out);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
