// VLA as the public reference's notebook trains it (version 3), stabilisers included.
#pragma once

#include "models/attention.hpp"
#include "models/diagnostics.hpp"
#include "models/vla/stabilized_recurrence.hpp"

namespace vla {

/// Settings of VlaV3.
struct VlaV3Options {
  AttentionOptions attention = {.convolution = 0};
  double lambda0 = 0.1;
  Index nudge_period = 20;  ///< tokens between nudges of A; 0: never
  double nudge = 1e-3;
  Index rank = 1;  ///< directions per token; the reference has 1
  double denominator_floor = 1e-4;
  double unit_floor = 1e-12;  ///< the reference's; a zero key then has a gradient of 1e12
  double norm_epsilon = 1e-5;
  OperatorForm form = OperatorForm::automatic;  ///< of the recurrence
};

/// The constants that version 3 runs the recurrence with.
StabilizedOptions recurrence_options(const VlaV3Options& options);

/// Per head, with phi = elu + 1, k' = unit(phi(k)), u = unit(W_u k) / sqrt(d):
///   A by Sherman-Morrison updates with u, alpha = unit(A k'), S += (v - S k') alpha^T,
///   o = S phi(q) / max(z . phi(q), floor), z the sum of phi(k) so far;
/// then LayerNorm over all heads and an affine map. W_u acts on all heads' keys together.
class VlaV3 : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for settings that are not allowed.
  VlaV3(const VlaV3Options& options, Rng& rng);
  /// x (B, T, width) -> (B, T, width).
  Var operator()(const Var& x) override { return run(x).output; }
  Var advance(const Var& x, const Carry& carry) override { return run(x, carry).output; }

  /// The output, and the state after the last token.
  struct Result {
    Var output;               // (B, T, width)
    Tensor inverse;           // A after the last token (B, H, d, d)
    Tensor memory;            // S after the last token (B, H, d_v, d)
    Tensor updates;           // int64 (B): updates counted up to the last token
    OperatorForm form;        // step or chunk, whichever ran
    StabilizedInputs inputs;  // of the recurrence, for diagnose()
    Var denominator;          // max(z . phi(q), floor) (B, T, H, 1)
  };
  /// For a whole sequence x (B, T, width), or the block of one that goes on from `carry`.
  Result run(const Var& x, const Carry& carry = {});

  OperatorForm form(Index time) const override;
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;
  void visit(PartVisitor& parts) override;

 private:
  VlaV3Options options_;
  AttentionProjections projections_;
  Linear directions_;  // W_u, without bias
  LayerNorm norm_;
};

}  // namespace vla
