// A penalty that a device left packed, on the CPU.

#include "models/vla/packed_penalty.hpp"

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

// M (B, H, d, d) packed, a part of it as gained, with `inverse` in the place of A.
PackedPenalty packed_by_hand(const Tensor& penalty, float inverse) {
  const Index d = penalty.size(2);
  PackedPenalty packed{penalty.clone(), Tensor::full(penalty.shape(), inverse, DType::float32),
                       Tensor(penalty.shape().without(3), DType::float32)};
  for (Index i = 0; i < penalty.elements(); ++i) {
    const Index row = i / d % d, column = i % d;
    const float gained = 0.5F + static_cast<float>(row + column);
    packed.penalty.mutable_data<double>()[i] -= gained;
    if (column > row) packed.matrix.mutable_data<float>()[i] = gained;
    if (column == row) packed.diagonal.mutable_data<float>()[i / d] = gained;
  }
  return packed;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(packed_penalty)

BOOST_AUTO_TEST_CASE(unpacking_gives_the_penalty) {
  for (const Index d : {0, 1, 2, 7}) {
    Rng rng(1);
    const Var x(rng.normal({2, 3, d + 2, d}, DType::float32).to(DType::float64));
    const Tensor penalty = matmul(x, x, {.transpose_a = true}).value();
    BOOST_TEST_CONTEXT("d " << d) check_close(unpack(packed_by_hand(penalty, 9)), penalty, 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(packing_needs_cuda) {
  BOOST_CHECK_EXCEPTION(pack(Tensor::zeros({1, 1, 2, 2}, DType::float64)), Error,
                        says("pack: the penalty is on the CPU; CUDA is needed"));
  BOOST_CHECK_EXCEPTION(pack(Tensor::zeros({1, 1, 129, 129}, DType::float64)), Error,
                        says("pack: the penalty is float64 (1, 1, 129, 129); float64 (B, H, d, d) "
                             "with d up to 128 is needed"));
}

BOOST_AUTO_TEST_CASE(a_stream_goes_on_from_a_packed_penalty) {
  Rng rng(2);
  Vla mixer({.attention = {.width = 6, .heads = 2, .dtype = DType::float32}}, rng);
  StreamState state;
  mixer.stream(Var(rng.normal({2, 20, 6}, DType::float32)), state);
  StreamState packed = state;
  const PackedPenalty by_hand = packed_by_hand(state.parts.at("penalty"), 9);
  for (const char* part : {"inverse", "kept"}) packed.parts.erase(part);
  packed.parts["penalty"] = by_hand.penalty;
  packed.parts["packed"] = by_hand.matrix;
  packed.parts["diagonal"] = by_hand.diagonal;
  for (const Index time : {1, 12, 3}) {
    const Var x(rng.normal({2, time, 6}, DType::float32));
    check_close(mixer.stream(x, packed).value(), mixer.stream(x, state).value(), 1e-5);
    BOOST_TEST(!packed.parts.contains("packed"));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
