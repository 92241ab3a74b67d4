#include "models/vla/carried_penalty.hpp"

namespace vla {
namespace {

Shape matrices_of(const Var& key) { return {key.size(0), key.size(2), key.size(3), key.size(3)}; }

// Undefined where the two operators came last.
PackedPenalty carried_packed(const Var& key, const Carry& carry) {
  const Shape matrices = matrices_of(key);
  const Device device = key.device();
  const Tensor packed = carry.take_if_left("packed", matrices, DType::float32, device);
  if (!packed.defined()) return {};
  return {carry.take("penalty", matrices, DType::float64, device), packed,
          carry.take("diagonal", matrices.without(3), DType::float32, device)};
}

}  // namespace

PenaltyState carried_penalty(const Var& key, const Carry& carry) {
  const Shape matrices = matrices_of(key), heads = matrices.without(3).without(2);
  const Device device = key.device();
  const PackedPenalty packed = carried_packed(key, carry);
  if (packed.defined())  // by steps, which know no forgetting
    return {.penalty = unpack(packed),
            .kept = Tensor::full(heads, 1, DType::float64, device),
            .tokens = carry.tokens()};
  return {.penalty = carry.take("penalty", matrices, DType::float64, device),
          .inverse = carry.take_if_left("inverse", matrices, DType::float64, device),
          .kept = carry.take("kept", heads, DType::float64, device),
          .tokens = carry.tokens()};
}

void leave(const PenaltyState& state, const Carry& carry) {
  carry.leave("penalty", state.penalty);
  if (state.inverse.defined()) carry.leave("inverse", state.inverse);
  carry.leave("kept", state.kept);
}

LeastSquaresState carried_least_squares(const LeastSquaresInputs& in, const Carry& carry) {
  if (carry.tokens() == 0) return {};
  PackedPenalty penalty = carried_packed(in.key, carry);
  if (!penalty.defined()) penalty = pack(carried_penalty(in.key, carry).penalty);
  const Shape memory = matrices_of(in.key).with(2, in.value.size(3));
  return {.penalty = penalty,
          .memory = carry.take("memory", memory, DType::float32, in.key.device()),
          .tokens = carry.tokens()};
}

void leave(const LeastSquaresState& state, const Carry& carry) {
  carry.leave("penalty", state.penalty.penalty);
  carry.leave("packed", state.penalty.matrix);
  carry.leave("diagonal", state.penalty.diagonal);
  carry.leave("memory", state.memory);
}

}  // namespace vla
