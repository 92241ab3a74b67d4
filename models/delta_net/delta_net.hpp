// DeltaNet: a linear memory corrected by the delta rule with a learned rate per token.
// Source: Yang et al., "Parallelizing Linear Transformers with the Delta Rule", 2024.
#pragma once

#include "models/attention.hpp"
#include "models/diagnostics.hpp"

namespace vla {

/// Settings of DeltaNet.
struct DeltaNetOptions {
  AttentionOptions attention;
  bool unit_query = true;
  bool rate_from_key = false;  ///< beta = sigmoid(affine(unit k)) over all heads, instead of from x
  bool output_norm = true;
  double unit_floor = 1e-6;
  OperatorForm form = OperatorForm::automatic;  ///< of the delta rule
};

/// S_t = S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T with unit keys, o_t = S_t q_t, then an optional
/// LayerNorm and an affine map.
class DeltaNet : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for sizes that do not fit.
  DeltaNet(const DeltaNetOptions& options, Rng& rng);
  /// x (B, T, width) -> (B, T, width).
  Var operator()(const Var& x) override { return advance(x, {}); }
  Var advance(const Var& x, const Carry& carry) override;
  OperatorForm form(Index time) const override { return resolved_form(options_.form, time); }
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;
  void visit(PartVisitor& parts) override;

 private:
  DeltaRuleInputs memory_inputs(const Var& x, const Carry& carry) const;

  DeltaNetOptions options_;
  AttentionProjections projections_;
  Linear beta_;
  std::optional<LayerNorm> norm_;
};

/// Settings of GatedDeltaNet.
struct GatedDeltaNetOptions {
  AttentionOptions attention;
  double unit_floor = 1e-6;
};

/// The "DeltaNet" of the VLA reference's notebook, for comparison with its figures:
/// S_t = diag(g_t) S_{t-1} + (v_t - S_{t-1} k_t) k_t^T with unit keys, g = sigmoid(affine(x)) per
/// row of S, o_t = S_t (elu(q_t) + 1); no rate, no norm.
class GatedDeltaNet : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for sizes that do not fit.
  GatedDeltaNet(const GatedDeltaNetOptions& options, Rng& rng);
  /// x (B, T, width) -> (B, T, width).
  Var operator()(const Var& x) override { return advance(x, {}); }
  Var advance(const Var& x, const Carry& carry) override;
  OperatorForm form(Index /*time*/) const override { return OperatorForm::step; }
  void visit(PartVisitor& parts) override;

 private:
  GatedDeltaNetOptions options_;
  AttentionProjections projections_;
  HeadProjection gate_;
};

}  // namespace vla
