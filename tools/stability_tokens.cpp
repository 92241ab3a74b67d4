#include "tools/stability_tokens.hpp"

#include <algorithm>

#include "framework/parallel.hpp"

namespace vla {
namespace {

constexpr std::uint64_t kWordsOfANormal = 4;
constexpr Index kTokensOfAThread = 256;

}  // namespace

MemoryTokens MemoryTokens::to(DType dtype, Device device) const {
  const auto moved = [&](const Var& x) {
    return x.defined() ? Var(x.value().to(dtype).to(device)) : Var();
  };
  return {moved(query), moved(key), moved(value), moved(rate), moved(lambda0)};
}

void RandomSequence::draw(Stream stream, Index index, Index width, float* row) const {
  Rng rng({seed_, stream, static_cast<std::uint64_t>(index * width) * kWordsOfANormal});
  std::generate_n(row, width, [&] { return static_cast<float>(rng.normal()); });
}

Index RandomSequence::key_of(Index token) const {
  // A number below a power of 2 takes one word.
  return repeats_keys_
             ? Rng({seed_, kChoices, static_cast<std::uint64_t>(token)}).below(kRepeatedKeys)
             : token;
}

MemoryTokens RandomSequence::read(Index first, Index count) const {
  const Index d = dimensions_;
  const Shape vectors{1, count, 1, d};
  Tensor query(vectors, DType::float32), key(vectors, DType::float32),
      value(vectors, DType::float32), rate(vectors.without(-1), DType::float32);
  // Opening a tensor for writing is not for several threads.
  float *q = query.mutable_data<float>(), *k = key.mutable_data<float>(),
        *v = value.mutable_data<float>(), *r = rate.mutable_data<float>();
  parallel_for(count, kTokensOfAThread, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      draw(kQueries, first + t, d, q + t * d);
      draw(kKeys, key_of(first + t), d, k + t * d);
      draw(kValues, first + t, d, v + t * d);
      draw(kRates, first + t, 1, r + t);
    }
  });
  return {query, key, value, rate};
}

}  // namespace vla
