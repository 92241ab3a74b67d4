// What the tests of .npy and .npz share: files made by hand, and tensors of every kind.
#pragma once

#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "framework/tensor.hpp"

namespace vla {

inline std::string npy_bytes(const std::string& header, const std::string& data,
                             char version = '\1') {
  const std::string text = header + "\n";
  std::string bytes = std::string("\x93NUMPY") + version + '\0';
  for (int i = 0; i < (version == '\1' ? 2 : 4); ++i)
    bytes += static_cast<char>(text.size() >> 8 * i & 0xFF);
  return bytes + text + data;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && dispatch_any(a.dtype(), [&](auto z) {
           using T = decltype(z);
           return a.bytes() == 0 || std::memcmp(a.data<T>(), b.data<T>(), a.bytes()) == 0;
         });
}

// Every element type that numpy has too, a scalar, no elements, and values that text would lose.
inline std::vector<std::pair<std::string, Tensor>> varied_tensors() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto least = std::numeric_limits<std::int64_t>::min();
  return {{"doubles", Tensor::from<double>({2, 2}, std::vector<double>{0.1, -0.0, nan, 5e-324})},
          {"blocks.0.floats", Tensor::from<float>({1, 3, 1}, std::vector<float>{1.5f, 1e-45f, -2})},
          {"numbers", Tensor::from<std::int64_t>({3}, std::vector<std::int64_t>{least, -1, 7})},
          {"bytes", Tensor::from<std::uint8_t>({2}, std::vector<std::uint8_t>{0, 255})},
          {"scalar", Tensor::scalar(2.5, DType::float64)},
          {"nothing", Tensor({3, 0, 2}, DType::float32)},
          {"λ₀", Tensor::scalar(7, DType::float32)}};
}

}  // namespace vla
