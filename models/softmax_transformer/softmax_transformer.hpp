// Causal softmax attention.
// Source: Vaswani et al., "Attention is all you need", 2017.
#pragma once

#include "models/attention.hpp"
#include "models/diagnostics.hpp"

namespace vla {

/// softmax(Q K^T / sqrt(d), later tokens masked) V per head, then an affine map. Memory O(T^2) per
/// head, or O(T) where softmax_attention is fused.
class SoftmaxTransformer : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for sizes that do not fit.
  SoftmaxTransformer(const AttentionOptions& options, Rng& rng);
  /// x (B, T, width) -> (B, T, width).
  Var operator()(const Var& x) override { return advance(x, {}); }
  /// Carries every key and value so far: its state grows with the sequence.
  Var advance(const Var& x, const Carry& carry) override;
  /// The attention alone: there is no memory.
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;
  void visit(PartVisitor& parts) override;

 private:
  struct Heads {
    Var query;       // (B, T, H, d)
    Var key, value;  // (B, tokens so far, H, d) and (B, tokens so far, H, d_v)
  };
  Heads heads_of(const Var& x, const Carry& carry) const;

  AttentionProjections projections_;
};

}  // namespace vla
