// Exact Variational Linear Attention: the layer. Theory: models/vla/README.md.
#pragma once

#include "models/attention.hpp"
#include "models/diagnostics.hpp"
#include "models/vla/penalty_builder.hpp"

namespace vla {

/// phi, the feature map of queries and keys: elu(x) + 1, or x itself.
enum class FeatureMap { elu_plus_one, identity };

/// Settings of Vla.
struct VlaOptions {
  AttentionOptions attention;
  FeatureMap feature_map = FeatureMap::elu_plus_one;
  PenaltyKind penalty = PenaltyKind::key;
  Index rank = 1;       ///< directions per token with PenaltyKind::learned
  bool forget = false;  ///< a learned gamma per token and head
  /// Least gamma. A token that may forget everything leaves M singular, and the gradient is lost.
  double forget_floor = 0.5;
  Index restore_period = 0;  ///< see InversePenaltyOptions
  /// Of both operators; automatic: one operator for both where there is one.
  OperatorForm form = OperatorForm::automatic;
  double unit_floor = 1e-6;
  double lambda_floor = 0.01;
  double lambda_start = 0.1;
  bool learn_lambda0 = true;  ///< otherwise it stays at its start
  double norm_epsilon = 1e-5;
};

/// Weighted recursive least squares as attention, per head:
///
///   q, k = unit(phi(.)),  beta = sigmoid(affine(x)),  alpha_t = beta_t A_t k_t,
///   S_t = S_{t-1} + (v_t - S_{t-1} k_t) alpha_t^T,  o_t = S_t q_t,
///
/// A_t = M_t^-1 the inverse of the penalty (PenaltyBuilder, inverse_penalty); then LayerNorm over
/// all heads together and an affine map.
class Vla : public Mixer {
 public:
  using Mixer::operator();
  /// Throws Error for settings that are not allowed.
  Vla(const VlaOptions& options, Rng& rng);

  /// x (B, T, width) -> (B, T, width).
  /// One operator does it all where it can: see recursive_least_squares.
  Var operator()(const Var& x) override { return advance(x, {}); }
  Var advance(const Var& x, const Carry& carry) override;

  /// The output, and the state after the last token.
  struct Result {
    Var output;      // (B, T, width)
    Tensor penalty;  // M after the last token (B, H, d, d)
    Tensor memory;   // S after the last token (B, H, d_v, d)
    /// Of the core, for diagnose().
    MemoryInputs inputs;
  };
  /// By the penalty's operator and the memory's, one after the other.
  Result run(const Var& x, const Carry& carry = {}) {
    return by_two_operators(features(x, carry), carry);
  }
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;

  OperatorForm form(Index time) const override;
  void visit(PartVisitor& parts) override;

 private:
  // What the memory is made of: (B, T, H, .), and the weights (B, T, H).
  struct Features {
    Var query, key, value, weight;
    Penalty penalty;
  };
  Features features(const Var& x, const Carry& carry) const;
  Var project(const Var& memory_output) const;
  Result by_two_operators(const Features& f, const Carry& carry) const;

  VlaOptions options_;
  AttentionProjections projections_;
  Linear beta_;
  PenaltyBuilder penalty_;
  LayerNorm norm_;
};

}  // namespace vla
