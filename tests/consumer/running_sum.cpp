#include "running_sum.hpp"

using namespace vla;

namespace {

void running_sum_on_cpu(const Tensor& x, Tensor& y, bool from_end) {
  dispatch_floating(x.dtype(), "running_sum", [&](auto zero) {
    using T = decltype(zero);
    const Index size = x.size(-1), step = from_end ? -1 : 1;
    for (Index begin = 0; begin < x.elements(); begin += size) {
      Index at = from_end ? begin + size - 1 : begin;
      T sum = 0;
      for (Index t = 0; t < size; ++t, at += step) y.mutable_data<T>()[at] = sum += x.data<T>()[at];
    }
  });
}

Tensor sum_rows(const Tensor& x, bool from_end) {
  Tensor y = empty_like(x);
  on_device(
      "running_sum", x.device(), [&] { running_sum_on_cpu(x, y, from_end); },
      [&] { running_sum_on_cuda(x, y, from_end); });
  return y;
}

}  // namespace

Var running_sum(const Var& x, CallSite site) {
  check(x.value().rank() > 0, "running_sum: x has no axis to sum along");
  return record(
      "running_sum", sum_rows(x.value(), false), {x}, {},
      [](const BackwardContext& at) -> std::vector<Tensor> {
        return {sum_rows(at.gradient(), true)};  // dx_t = dy_t + ... + dy_T
      },
      site);
}
