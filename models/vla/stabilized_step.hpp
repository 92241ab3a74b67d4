// The step form of the stabilised recurrence: what its kernels share, and one token on the CPU,
// forward and backward, for one sequence and head.
#pragma once

#include <vector>

#include "models/vla/stabilized_recurrence.hpp"

namespace vla {

struct StabilizedSizes {
  Index batch, time, heads, directions, key, value;
};

/// Tokens between two saved states.
inline constexpr Index kStabilizedSegment = 16;

/// A and S of every sequence and head where a segment begins (B, H, segments, ...), and the count
/// of updates there (B, H, segments).
struct StabilizedCheckpoints {
  Tensor inverse, memory, updates;
};

/// The inputs of a recurrence, or their gradients; not defined where there is none.
struct StabilizedTensors {
  Tensor q, k, v, u, symbolic, active;
};
inline StabilizedTensors tensors_of(const StabilizedInputs& in) {
  return {in.query.value(),           in.key.value(), in.value.value(), in.directions.value(),
          value_or_none(in.symbolic), in.active};
}

/// Pointers to one token's inputs, and to where its gradients are added (null in forward).
template <class T>
struct StabilizedToken {
  const T *q, *k, *v, *u;
  const T* symbolic;  // null where there is no symbolic update
  T* o;
  const T* output_gradient = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *du = nullptr, *dsymbolic = nullptr;
};

/// What happened to A at one token, in order: enough to undo it and to differentiate it.
template <class T>
struct InverseStep {
  enum class Kind { update, clamped, fallback, nudge, guard } kind;
  T amount = 0;  // update, clamped: the divisor delta; otherwise what was added to the diagonal
  const T* u = nullptr;
  T* du = nullptr;
  std::vector<T> z = {};               // A u before the step
  std::vector<T> inverse_before = {};  // clamped: A, which A' + z z^T / delta would not give back
};

/// A and S of one sequence and head, moved forward token by token; and their gradients, moved back.
template <class T>
class StabilizedState {
 public:
  StabilizedState(const StabilizedSizes& sizes, const StabilizedOptions& options);

  std::vector<T> inverse, memory;                    // A (d, d), S (d_v, d)
  std::vector<T> inverse_gradient, memory_gradient;  // of A and S after the token at hand
  Index updates = 0;

  /// Moves A and S over a token, writes token.o, and appends what it did to `steps`.
  void forward(const StabilizedToken<T>& token, std::vector<InverseStep<T>>& steps);
  /// Takes A back to before the token and both gradients likewise. `steps` are those of the token,
  /// `before` and `after` S on either side of it.
  void backward(const StabilizedToken<T>& token, const std::vector<InverseStep<T>>& steps,
                const T* before, const T* after);
  /// alpha = A k, made a unit vector if the options say so; returns |A k|.
  T coefficient(const T* k, std::vector<T>& alpha) const;
  /// Shortens `error` to the options' limit.
  void clip(std::vector<T>& error) const;

 private:
  void update(const T* u, T* du, std::vector<InverseStep<T>>& steps);
  void count_update(std::vector<InverseStep<T>>& steps);
  void shift(T amount, std::vector<InverseStep<T>>& steps);
  void backward_step(const InverseStep<T>& step);
  void backward_coefficient(const StabilizedToken<T>& token, const std::vector<T>& alpha, T length,
                            std::vector<T>& dalpha);
  void backward_clip(const std::vector<T>& error, std::vector<T>& gradient) const;

  StabilizedSizes n_;
  StabilizedOptions options_;
};

extern template class StabilizedState<float>;
extern template class StabilizedState<double>;

}  // namespace vla
