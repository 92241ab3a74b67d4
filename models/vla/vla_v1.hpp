// VLA as first documented (version 1): penalty builder, Sherman-Morrison tracker, memory manager,
// with all of its stabilisers.
#pragma once

#include <optional>

#include "models/attention.hpp"
#include "models/diagnostics.hpp"
#include "models/vla/stabilized_recurrence.hpp"
#include "models/vla/symbolic_penalty.hpp"

namespace vla {

/// How version 1 makes its penalty directions u from the key k. All are scaled by 1 / sqrt(d).
enum class DirectionKind {
  stacked,   // one map W_u of r d rows; block m gives u_m
  separate,  // r maps of their own
  kernel,    // phi(W_phi k) with phi = elu + 1, r of them
};

/// Settings of VlaV1.
struct VlaV1Options {
  AttentionOptions attention = {.heads = 1, .convolution = 0};
  DirectionKind directions = DirectionKind::stacked;
  Index rank = 1;
  double lambda_floor = 1e-3;  ///< of the reported lambda_t
  /// Weight g of the symbolic direction; 0: none. See VlaV1::run.
  double symbolic = 0;
  double norm_epsilon = 1e-5;
  StabilizedOptions recurrence = {};
  OperatorForm form = OperatorForm::automatic;  ///< of the recurrence
};

/// The penalty builder of version 1: directions, and a network for lambda_t that is reported and
/// takes no part in the recurrence, so that it has no gradient.
struct VlaV1PenaltyBuilder {
  DirectionKind kind;
  Index rank;
  double lambda_floor;
  std::vector<Linear> maps;          // one (stacked, kernel), or `rank` of them; without bias
  Linear lambda_hidden, lambda_out;  // (d -> 4 d), ReLU, (4 d -> 1)

  /// Weights drawn from `rng`.
  VlaV1PenaltyBuilder(const VlaV1Options& options, Rng& rng);
  /// Keys (B, T, H, d) -> u (B, T, H, r, d).
  Var directions(const Var& key) const;
  /// max(softplus(network(k)), floor) for keys (B, T, H, d): (B, T). A report, not a variable.
  Tensor lambda(const Var& key) const;
  void visit(PartVisitor& parts);
};

/// q, k, v affine in x; A by updates with u; alpha = A k; S += clip(v - S k) alpha^T; o = S A q;
/// LayerNorm; affine map. See StabilizedOptions for the stabilisers.
class VlaV1 : public Mixer {
 public:
  /// Throws Error for settings that are not allowed.
  VlaV1(const VlaV1Options& options, Rng& rng);

  /// x (B, T, width) -> (B, T, width). Throws Error with a symbolic weight, which needs tokens.
  Var operator()(const Var& x) override;
  /// The same; with a symbolic weight, equal tokens are related.
  Var operator()(const Var& x, const Tensor& tokens) override;
  /// Throws Error with a symbolic weight.
  Var advance(const Var& x, const Carry& carry) override;

  /// The output, and the state after the last token.
  struct Result {
    Var output;               // (B, T, width)
    Tensor lambda;            // the reported lambda_t (B, T)
    Tensor inverse;           // A after the last token (B, H, d, d)
    Tensor memory;            // S after the last token (B, H, d_v, d)
    Tensor updates;           // int64 (B): updates counted up to the last token
    OperatorForm form;        // step or chunk, whichever ran
    StabilizedInputs inputs;  // of the recurrence, for diagnose()
  };
  /// With a symbolic weight `relations` R (B, T, T) are needed, in the element type of x, and
  /// tokens that are related to one up to themselves get one more update: see symbolic_direction.
  /// Throws Error where they are missing or do not fit.
  Result run(const Var& x, const Tensor& relations = {}, const Carry& carry = {});

  OperatorForm form(Index time) const override;
  Diagnostics diagnose(const Var& x, const Tensor& tokens,
                       const DiagnosticsOptions& options) override;

  void visit(PartVisitor& parts) override;

 private:
  /// All of run() but lambda, which nothing else needs.
  Result mix(const Var& x, const Tensor& relations, const Carry& carry);

  VlaV1Options options_;
  AttentionProjections projections_;
  VlaV1PenaltyBuilder penalty_;
  LayerNorm norm_;
};

}  // namespace vla
