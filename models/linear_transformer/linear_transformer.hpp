// Linear attention: softmax replaced by a positive feature map.
// Source: Katharopoulos et al., "Transformers are RNNs", 2020.
#pragma once

#include "models/attention.hpp"
#include "models/diagnostics.hpp"

namespace vla {

/// How z . phi(q) is kept away from 0: a constant added, or a floor.
enum class DenominatorGuard { add, floor };

/// Settings of LinearTransformer.
struct LinearTransformerOptions {
  AttentionOptions attention;
  DenominatorGuard guard = DenominatorGuard::floor;
  double guard_value = 1e-6;
  OperatorForm form = OperatorForm::automatic;  ///< of the delta rule
};

/// o_t = S_t phi(q_t) / (z_t . phi(q_t)), S_t = sum_{s<=t} v_s phi(k_s)^T, z_t = sum_{s<=t}
/// phi(k_s), phi = elu + 1, then an affine map.
class LinearTransformer : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for sizes that do not fit.
  LinearTransformer(const LinearTransformerOptions& options, Rng& rng);
  /// x (B, T, width) -> (B, T, width).
  Var operator()(const Var& x) override { return advance(x, {}); }
  Var advance(const Var& x, const Carry& carry) override;
  OperatorForm form(Index time) const override { return resolved_form(options_.form, time); }
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;
  void visit(PartVisitor& parts) override;

 private:
  MemoryInputs memory_inputs(const Var& x, const Carry& carry) const;

  LinearTransformerOptions options_;
  AttentionProjections projections_;
};

}  // namespace vla
