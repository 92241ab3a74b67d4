// The only door to xtensor, for the project's own files and for users: every file that wants it
// includes this header and no other. No other public header shows xtensor, which a user must have
// only where this one is included.
//
// xtensor 0.24.3 chooses `xarray` as the result type of expressions of dynamic rank by a
// specialisation that it guards with `__cplusplus == 201703L`; under C++20 it falls back to
// `xtensor<T, 4>` and immediate reducers crash. The specialisation is given here for later
// standards, and guarded by a static_assert.
#pragma once

// In this order: the specialisation must come after these three and before the rest.
// clang-format off
#include <xtensor/xtensor_forward.hpp>
#include <xtensor/xstorage.hpp>
#include <xtensor/xexpression_traits.hpp>
// clang-format on

#if __cplusplus > 201703L
namespace xt::detail {
template <>
struct xtype_for_shape<xt::dynamic_shape<std::size_t>> {
  template <class T, layout_type L>
  using type = xarray<T, L>;
};
}  // namespace xt::detail
#endif

#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xstrided_view.hpp>

#include "framework/tensor.hpp"

namespace vla {

static_assert(std::is_same_v<decltype(xt::eval(std::declval<xt::xarray<float>&>() + 1.0f)),
                             xt::xarray<float>>,
              "xtensor evaluates expressions of dynamic rank to the wrong type");

/// The tensor's elements as an xtensor expression, without a copy. The tensor must stay alive, and
/// reductions over an axis of size 0 crash in xtensor: handle size 0 before.
template <class T>
auto as_xtensor(const Tensor& tensor) {
  const std::vector<Index>& sizes = tensor.shape().sizes();
  return xt::adapt(tensor.data<T>(), static_cast<std::size_t>(tensor.elements()),
                   xt::no_ownership(), std::vector<std::size_t>(sizes.begin(), sizes.end()));
}
/// The same for writing.
template <class T>
auto as_mutable_xtensor(Tensor& tensor) {
  const std::vector<Index>& sizes = tensor.shape().sizes();
  return xt::adapt(tensor.mutable_data<T>(), static_cast<std::size_t>(tensor.elements()),
                   xt::no_ownership(), std::vector<std::size_t>(sizes.begin(), sizes.end()));
}
/// A new tensor on the CPU with the values of an xtensor expression, of its shape. Its elements are
/// of a type that tensors have: float, double, int64 or uint8.
template <class Expression>
Tensor tensor_of(const xt::xexpression<Expression>& expression) {
  using T = typename Expression::value_type;
  const auto& values = expression.derived_cast();
  Tensor result(Shape(std::vector<Index>(values.shape().begin(), values.shape().end())),
                dtype_of<T>());
  as_mutable_xtensor<T>(result) = values;
  return result;
}

}  // namespace vla
