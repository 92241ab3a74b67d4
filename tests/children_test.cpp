// Other programs beside this one: how they end, what they print, and what Ctrl-C does meanwhile.
#include "tools/children.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/program.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(children)

BOOST_AUTO_TEST_CASE(children_tell_how_they_end) {
  const Place place;
  Children children;
  const auto ends = [&](const std::string& command) {
    children.start(command, {"/bin/sh", "-c", command}, place / "log");
    for (int i = 0; i < 1000; ++i)
      if (const auto ended = children.wait(std::chrono::milliseconds(20))) return *ended;
    BOOST_FAIL(command << " does not end");
    return Children::Ended{};
  };
  BOOST_TEST(ends("echo said").code == 0);
  BOOST_TEST(ends("echo also >&2; exit 3").code == 3);
  BOOST_TEST(ends("kill -9 $$").signal == 9);
  BOOST_TEST(read(place / "log") == "said\nalso\n");
  children.start("sleep", {"/bin/sleep", "100"}, place / "log");
  BOOST_TEST(!children.wait(std::chrono::milliseconds(20)).has_value());
  children.stop();
  BOOST_TEST(children.count() == 0);
}

BOOST_AUTO_TEST_CASE(a_tool_is_run_to_its_end) {
  const Place place;
  const auto run = [&](const std::vector<std::string>& words, int milliseconds) {
    return run_tool(words, place / "log", std::chrono::milliseconds(milliseconds));
  };
  BOOST_TEST((run({"sh", "-c", "echo said"}, 10'000) == ToolEnd::done));
  BOOST_TEST((run({"sh", "-c", "exit 1"}, 10'000) == ToolEnd::failed));
  BOOST_TEST((run({"sh", "-c", "kill -9 $$"}, 10'000) == ToolEnd::failed));
  BOOST_TEST((run({"sleep", "100"}, 20) == ToolEnd::late));
  BOOST_TEST(read(place / "log") == "said\n");
  BOOST_TEST((run({"a-program-that-is-not-there"}, 10'000) == ToolEnd::missing));
}

BOOST_AUTO_TEST_CASE(interrupts_are_caught_unless_they_are_ignored) {
  {
    const CatchInterrupts catching;
    BOOST_TEST(!CatchInterrupts::interrupted());
    std::raise(SIGTERM);
    BOOST_TEST(CatchInterrupts::interrupted());
    std::raise(SIGTERM);  // at once after the first: the same request
    std::raise(SIGINT);   // another
    BOOST_TEST(CatchInterrupts::signal() == SIGTERM);
  }
  const auto old = std::signal(SIGHUP, SIG_IGN);
  {
    const CatchInterrupts catching;
    std::raise(SIGHUP);
    BOOST_TEST(!CatchInterrupts::interrupted());
  }
  BOOST_TEST((std::signal(SIGHUP, old) == SIG_IGN));
}

BOOST_AUTO_TEST_CASE(asked_a_second_time_the_program_ends_at_once) {
  const pid_t child = ::fork();
  if (child == 0) {
    const CatchInterrupts catching;
    std::raise(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    std::raise(SIGINT);
    ::_exit(0);
  }
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFSIGNALED(status));
  BOOST_TEST(WTERMSIG(status) == SIGINT);
}

// Every setting of every experiment makes a task and a model, and is evaluated on what exists.
BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
