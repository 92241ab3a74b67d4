#include "framework/ops/argmax.hpp"

#include <limits>

#include "framework/ops/argmax_cuda.hpp"
#include "framework/ops/inputs.hpp"

namespace vla {
namespace {

void argmax_on_cpu(const Tensor& x, Rows rows, Tensor& places) {
  dispatch_floating(x.dtype(), "argmax", [&](auto zero) {
    using T = decltype(zero);
    const T* in = x.data<T>();
    Index* out = places.mutable_data<Index>();
    each_row(rows, [&](Index row, Index first) {
      T largest = -std::numeric_limits<T>::infinity();
      out[row] = -1;
      for (Index i = 0; i < rows.width; ++i) {
        if (!(in[first + i] > largest)) continue;
        largest = in[first + i];
        out[row] = i;
      }
    });
  });
}

}  // namespace

Tensor argmax(const Tensor& x) {
  const Rows rows = rows_of("argmax", x);
  Tensor places(x.shape().without(-1), DType::int64, x.device());
  if (rows.width == 0) places.fill(-1);
  if (rows.count == 0) return places;
  on_device(
      "argmax", x.device(), [&] { argmax_on_cpu(x, rows, places); },
      [&] { cuda::argmax(x, rows, places); });
  return places;
}

}  // namespace vla
