// Elements that are moved and not looked at: by their bytes, as many at once as divide everything.
#pragma once

#include <cstdint>
#include <numeric>

#include "framework/cuda/kernel.cuh"

namespace vla::cuda {

/// The largest of 16, 8, 4, 2 and 1 bytes that divides all of `bytes`.
template <class... Bytes>
Index unit_bytes(Bytes... bytes) {
  Index unit = 16;
  ((unit = std::gcd(unit, static_cast<Index>(bytes))), ...);
  return unit;
}

/// Calls function(Unit{}) with a type of so many bytes; see unit_bytes.
template <class Function>
void with_unit(Index bytes, Function&& function) {
  if (bytes == 16)
    function(uint4{});
  else if (bytes == 8)
    function(std::uint64_t{});
  else if (bytes == 4)
    function(std::uint32_t{});
  else if (bytes == 2)
    function(std::uint16_t{});
  else
    function(std::uint8_t{});
}

/// Calls function(Counter{}) with the type to count `count` pieces of work with: division of 32
/// bits is several times faster.
template <class Function>
void with_counter(Index count, Function&& function) {
  if (count <= std::numeric_limits<std::uint32_t>::max())
    function(std::uint32_t{});
  else
    function(std::uint64_t{});
}

/// The elements as units, whatever their type.
template <class Unit>
const Unit* units_of(const Tensor& x) {
  return dispatch_any(x.dtype(), [&](auto zero) {
    return reinterpret_cast<const Unit*>(x.data<decltype(zero)>());
  });
}
template <class Unit>
Unit* mutable_units_of(Tensor& x) {
  return dispatch_any(x.dtype(), [&](auto zero) {
    return reinterpret_cast<Unit*>(x.mutable_data<decltype(zero)>());
  });
}

}  // namespace vla::cuda
