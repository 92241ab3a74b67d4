// Anomaly mode: which op made the first number that is not finite, from what, and in which line.
#pragma once

#include <set>
#include <string>

#include "framework/op_observer.hpp"

namespace vla {

/// While it lives, every op and every backward rule of its thread is looked at when it has run, on
/// any device, and the first whose result holds a NaN or an Inf throws Error. The message names the
/// op, the user's file and line, and of each input its shape, range, and how many elements are not
/// finite; inputs that were so already are said to be. For a rule the inputs are the upstream
/// gradients and the tensors saved for it.
///
///   const DetectAnomalies detect;
///   Tape tape;
///   ...
///
/// Reads every result, so it is for finding an error: on CUDA each op is waited for, and a step
/// cannot be captured. Where none lives it costs nothing.
class DetectAnomalies : public OpObserver {
 public:
  /// What is no anomaly.
  struct Options {
    /// Ops whose results may hold an Inf, because that is what they are for.
    std::set<std::string> may_be_infinite = {"causal_mask"};
  };
  /// Looks from here on.
  ///@{
  DetectAnomalies();
  explicit DetectAnomalies(Options options);
  ///@}

  /// They throw what the class says.
  ///@{
  void after_op(const OpRun& op) override;
  void before_rule(const RuleRun& rule) override;
  void after_rule(const RuleRun& rule) override;
  void at_leaf(const LeafGradient& final) override;
  ///@}

 private:
  Options options_;
};

}  // namespace vla
