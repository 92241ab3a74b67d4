#include "framework/ops/elementwise.hpp"
#include "tests/cuda_functions.hpp"

namespace vla {
namespace {

struct Swish {
  static constexpr auto name = "swish";
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::exp;
    return x / (1 + exp(-x));
  }
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T y) {
    using std::exp;
    const T s = 1 / (1 + exp(-x));
    return s + y * (1 - s);
  }
};

struct Word {
  static constexpr auto name = "word";
  RandomState state;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    return T(random_word(state, static_cast<std::uint64_t>(x)));
  }
};
struct Uniform {
  static constexpr auto name = "uniform";
  RandomState state;
  template <class T>
  VLA_HOST_DEVICE T value(T x) const {
    return T(unit_interval(random_word(state, static_cast<std::uint64_t>(x))));
  }
};

}  // namespace

Var swish(const Var& x) { return elementwise<Swish>(x); }
Tensor random_words(const RandomState& state, const Tensor& x) { return map(Word{state}, x); }
Tensor random_uniforms(const RandomState& state, const Tensor& x) { return map(Uniform{state}, x); }

}  // namespace vla
