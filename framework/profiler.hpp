// Where a program's time and memory go, op by op: as a table, and as a trace for a browser.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/op_observer.hpp"

namespace vla {

namespace cuda {
class Profile;
}

/// While it lives, measures the ops of its thread and their backward rules.
///
///   Profiler profiler;
///   for (...) {
///     Tape tape;
///     ...
///     const Gradients gradients = tape.backward(loss);
///     const auto span = profiler.span("optimiser");
///     adam.step(gradients);
///   }
///   std::cout << profiler.table();
///   profiler.write_trace("trace.json");
///
/// How an op's CPU time is found. An op says when it has run, not when it begins. So its forward
/// time is what has passed since the last thing that was seen: the op before, the making of the
/// tape, the begin or end of a span. What the program itself does between two ops counts as the
/// later one's; give it a span where that is much. Rules are timed from begin to end; what is
/// between them, adding gradients up and hooks, is a row of its own, and so is what is outside of
/// tapes. An op made of other ops has the time that is left after theirs; ops that a rule calls are
/// part of the rule, but for those on a tape of its own, as in a recomputed segment.
///
/// On a CUDA device CPU time is what it takes to begin the work. CUDA time is that of the launches
/// begun in the same intervals, each between two events less the time between two events in a row;
/// it can be had of one profiler at a time, and not of a captured graph, which is one launch.
class Profiler : public OpObserver {
 public:
  enum class Pass { forward, backward, span, other };

  /// `device` is where memory is counted, and launches are timed if it is CUDA.
  explicit Profiler(Device device = {});
  ~Profiler() override;

  /// What is done until it ends has a row and a box in the trace of its own. Spans nest.
  class Span {
   public:
    ~Span() { profiler_.end_frames(depth_); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    friend class Profiler;
    Span(Profiler& profiler, std::size_t depth) : profiler_(profiler), depth_(depth) {}
    Profiler& profiler_;
    std::size_t depth_;
  };
  /// Begins one; it ends with the object.
  [[nodiscard]] Span span(std::string name);

  /// An op in one pass: seconds without those of ops inside it.
  struct Row {
    std::string op;
    Pass pass;
    std::int64_t count = 0;
    double cpu_seconds = 0;
    std::int64_t launches = 0;
    double cuda_seconds = 0;
  };
  /// The longest first: by CUDA time on a CUDA device, which it waits for, otherwise by CPU time.
  std::vector<Row> rows() const;
  /// The rows, aligned, with each one's share of the time.
  std::string table() const;

  /// Writes a trace in Chrome's JSON format, for chrome://tracing or Perfetto: a track of ops,
  /// rules and spans, one of CUDA launches, and a counter of the bytes that tensors hold. Throws
  /// Error if the file cannot be written.
  void write_trace(const std::filesystem::path& file) const;

  /// They take the time.
  ///@{
  void after_op(const OpRun& op) override;
  void before_rule(const RuleRun& rule) override;
  void after_rule(const RuleRun& rule) override;
  void at_tape(const TapeEvent& event) override;
  ///@}

 private:
  // Something that was seen; seconds since the profiler was made.
  struct Event {
    std::string name;
    Pass pass;
    CallSite site;
    double begin = 0, end = 0;
    double own = 0;                     // seconds less those of events inside
    std::vector<std::size_t> launches;  // begun in its own time
    std::size_t bytes = 0;              // that tensors hold at its end
  };

  double now() const;
  std::size_t launches_begun() const;
  std::size_t add(std::string name, Pass pass, CallSite site = {});
  void give_time_to(std::size_t event);
  void give_gap_to(const char* name);
  void begin_frame(std::string name, Pass pass, CallSite site);
  void end_frames(std::size_t depth);

  Device device_;
  std::shared_ptr<cuda::Profile> cuda_;
  std::chrono::steady_clock::time_point start_;
  std::vector<Event> events_;
  std::vector<std::size_t> frames_;  // events that have not ended
  double mark_ = 0;                  // up to here time has been given to an event
  std::size_t launch_mark_ = 0;
};

}  // namespace vla
