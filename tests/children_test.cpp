// Other programs beside this one: how they end, what they print, and what Ctrl-C does meanwhile.
#include "tools/children.hpp"

#include <boost/test/unit_test.hpp>
#include <csignal>

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

BOOST_AUTO_TEST_CASE(interrupts_are_caught_unless_they_are_ignored) {
  {
    const CatchInterrupts catching;
    BOOST_TEST(!CatchInterrupts::interrupted());
    std::raise(SIGTERM);
    BOOST_TEST(CatchInterrupts::interrupted());
  }
  const auto old = std::signal(SIGHUP, SIG_IGN);
  {
    const CatchInterrupts catching;
    std::raise(SIGHUP);
    BOOST_TEST(!CatchInterrupts::interrupted());
  }
  BOOST_TEST((std::signal(SIGHUP, old) == SIG_IGN));
}

// Every setting of every experiment makes a task and a model, and is evaluated on what exists.
BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
