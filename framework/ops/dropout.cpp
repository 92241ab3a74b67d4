#include "framework/ops/dropout.hpp"

#include <algorithm>
#include <array>

#include "framework/cuda/graph.hpp"
#include "framework/ops/dropout_cuda.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

constexpr Index kGrain = 1 << 12;  // elements below which a second thread costs more than it saves
constexpr Index kChunk = 256;      // elements whose random words are made at once

// Words begin .. begin+count-1 of the stream from `state` on, by whole Philox blocks of four into
// `buffer` (of count + 8 words at least): random_word, one by one, would make each block four
// times.
const std::uint32_t* random_words(const RandomState& state, Index begin, Index count,
                                  std::uint32_t* buffer) {
  const std::uint64_t position = state.position + static_cast<std::uint64_t>(begin);
  const std::uint64_t first = position / 4, ahead = position % 4;
  const auto blocks = (ahead + static_cast<std::uint64_t>(count) + 3) / 4;
  const std::uint32_t low = static_cast<std::uint32_t>(state.stream),
                      high = static_cast<std::uint32_t>(state.stream >> 32);
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(state.seed),
                                            static_cast<std::uint32_t>(state.seed >> 32)};
#pragma omp simd
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t block = first + i;
    const auto words = philox(
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), low, high},
        key);
    for (std::size_t word = 0; word < 4; ++word) buffer[4 * i + word] = words[word];
  }
  return buffer + ahead;
}

// y = x factor where the element is kept, 0 elsewhere: the op, and with dy for x its gradient.
template <class T>
void drop(const Tensor& x, const RandomState& state, double rate, Tensor& y) {
  const T *in = x.data<T>(), factor = T(1 / (1 - rate));
  const float threshold = static_cast<float>(rate);
  T* out = y.mutable_data<T>();
  parallel_for(x.elements(), kGrain, [=](Index begin, Index end) {
    std::uint32_t buffer[kChunk + 8];
    for (Index chunk = begin; chunk < end; chunk += kChunk) {
      const Index count = std::min(kChunk, end - chunk);
      const std::uint32_t* words = random_words(state, chunk, count, buffer);
#pragma omp simd
      for (Index i = 0; i < count; ++i)
        out[chunk + i] = unit_interval(words[i]) < threshold ? T(0) : in[chunk + i] * factor;
    }
  });
}

// `ahead`: see words_ahead.
Tensor dropped(const Tensor& x, const RandomState& state, const std::int64_t* ahead, double rate) {
  Tensor y = empty_like(x);
  const auto on_cpu = [&] {
    dispatch_floating(x.dtype(), "dropout",
                      [&](auto zero) { drop<decltype(zero)>(x, state, rate, y); });
  };
  on_device("dropout", x.device(), on_cpu, [&] { cuda::dropout(x, state, ahead, rate, y); });
  return y;
}

}  // namespace

Var dropout(const Var& x, DropoutOptions options, Rng& rng, CallSite site) {
  check(options.rate >= 0 && options.rate < 1, "dropout: rate ", options.rate,
        " is not allowed; 0 or more and less than 1");
  check_inputs("dropout", {&x.value()});
  if (!options.train || options.rate == 0) return x;
  // The mask is a function of the place in the stream: backward makes it again.
  const std::int64_t* ahead = x.device().is_cpu() ? nullptr : words_ahead(rng);
  const RandomState state = rng.reserve(static_cast<std::uint64_t>(x.value().elements()));
  return record(
      "dropout", dropped(x.value(), state, ahead, options.rate), {x}, {},
      [state, ahead, rate = options.rate](const BackwardContext& at) -> std::vector<Tensor> {
        return {dropped(at.gradient(), state, ahead, rate)};
      },
      site);
}

}  // namespace vla
