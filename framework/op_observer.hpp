// Looking on while ops and their backward rules run: what DetectAnomalies and Profiler are made of.
#pragma once

#include <span>
#include <string>

#include "framework/variable.hpp"

namespace vla {

/// An op that has run, recorded or not. An input that is not defined was optional and left out.
struct OpRun {
  const std::string& name;
  CallSite site;
  std::span<const Var> inputs, outputs;
};

/// A backward rule that is about to run, or has run.
struct RuleRun {
  const std::string& name;
  CallSite site;
  std::span<const Tensor> upstream;  ///< the gradient of each output, zeros where none came
  std::span<const Tensor> saved;
  std::span<const Var> inputs;        ///< those that the tape holds: leaves and watched variables
  std::span<const Tensor> gradients;  ///< of each input, once it has run; empty if it threw
};

/// The gradient of a leaf that has all its parts, after hooks.
struct LeafGradient {
  const Var& leaf;
  const Tensor& gradient;
};

/// What happens to a tape as a whole.
enum class TapeEvent { made, walk_begins, walk_ends };

/// While it lives, sees what runs on its thread: on tapes, between them and while recording is
/// paused. Observers nest and end in reverse order; the one made last sees first. What an observer
/// itself runs is not seen. An Error that it throws comes out of the op, or of `backward`.
class OpObserver {
 public:
  OpObserver();
  virtual ~OpObserver();
  OpObserver(const OpObserver&) = delete;
  OpObserver& operator=(const OpObserver&) = delete;

  /// What one may look at, in the order it happens. They do nothing unless they are overridden.
  ///@{
  virtual void after_op(const OpRun&) {}
  virtual void before_rule(const RuleRun&) {}
  virtual void after_rule(const RuleRun&) {}
  virtual void at_leaf(const LeafGradient&) {}
  virtual void at_tape(const TapeEvent&) {}
  ///@}

  /// Whether anybody looks on, on this thread.
  static bool any();
  /// Tells those who do.
  template <class Run>
  static void tell(void (OpObserver::*event)(const Run&), const Run& run) {
    if (!any()) return;
    const Unseen unseen;
    for (OpObserver* observer = unseen.innermost; observer; observer = observer->outer_)
      (observer->*event)(run);
  }

 private:
  struct Unseen {
    Unseen();
    ~Unseen();
    OpObserver* innermost;
  };
  OpObserver* outer_;
};

}  // namespace vla
