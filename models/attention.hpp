// What every attention shares: the way from a sequence to queries, keys and values of several
// heads, and back.
#pragma once

#include <optional>

#include "framework/nn/layers.hpp"
#include "models/mixer.hpp"

namespace vla {

/// The sizes of an attention and how its weights start.
struct AttentionOptions {
  Index width = 128;  ///< of the sequence that goes in and comes out
  Index heads = 4;
  Index key_width = 0;    ///< d per head; 0: width / heads
  Index value_width = 0;  ///< d_v per head; 0: width / heads
  Index convolution = 4;  ///< taps of a causal convolution, then SiLU, on q, k, v; 0: neither
  double deviation = 0;   ///< of the weights' normal start; 0: uniform by fan-in
  DType dtype = DType::float32;

  /// The same with key_width and value_width filled in. Throws Error for sizes that do not fit.
  AttentionOptions resolved() const;
  /// Those of its affine maps.
  LinearOptions linear() const { return {.deviation = deviation, .dtype = dtype}; }
};

/// An affine map, optionally a short causal convolution and SiLU after it, split into heads:
/// x (B, T, width) -> (B, T, heads, head_width). The convolution's last inputs are carried as
/// "tail".
struct HeadProjection {
  Linear linear;
  std::optional<ShortConvolution> convolution;
  Index heads;

  /// head_width numbers for each head.
  HeadProjection(const AttentionOptions& options, Index head_width, Rng& rng);
  /// For a whole sequence, or the block of one that goes on from `carry`.
  Var operator()(const Var& x, const Carry& carry = {}) const;
  void visit(PartVisitor& parts);
};

/// The parts of an attention around its core.
struct AttentionProjections {
  HeadProjection query, key, value;
  Linear output;  // (heads d_v -> width)

  /// Throws Error for sizes that do not fit.
  AttentionProjections(const AttentionOptions& options, Rng& rng);
  void visit(PartVisitor& parts);

 private:
  struct Resolved {
    AttentionOptions options;
  };
  AttentionProjections(const Resolved& resolved, Rng& rng);
};

/// x (B, T, H, d) -> (B, T, H d): the heads side by side.
Var merge_heads(const Var& x, CallSite site = CallSite::here());

/// A number per head, (B, T, H), times that head's vectors (B, T, H, d).
Var scale_heads(const Var& vectors, const Var& factors, CallSite site = CallSite::here());

}  // namespace vla
