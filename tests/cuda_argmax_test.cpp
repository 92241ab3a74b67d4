// The places of largest elements on CUDA are those of the CPU.
#include <cmath>
#include <limits>

#include "framework/ops/argmax.hpp"
#include "framework/random.hpp"
#include "tests/cuda_guard.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(cuda_argmax)

// Widths of a warp's and of a block's rows, whole packs and not, with many equal elements, and rows
// of NaN and of -infinity.
BOOST_AUTO_TEST_CASE(agrees_with_the_cpu, NEEDS_CUDA) {
  Rng rng(3);
  for (const Index width : {0, 1, 7, 64, 127, 1000, 1024, 4096, 8191}) {
    Tensor x = rng.normal({37, width}, DType::float32);
    for (float& value : x.mutable_values<float>()) value = std::round(4 * value) / 4;
    for (Index i = 0; i < width; ++i) {
      float* in = x.mutable_data<float>();
      in[i] = std::nanf("");
      in[width + i] = -std::numeric_limits<float>::infinity();
      if (i % 2 == 0) in[2 * width + i] = std::nanf("");
    }
    const Tensor expected = argmax(x);
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
      BOOST_TEST_CONTEXT("width " << width << ", " << dtype) {
        const Tensor found = argmax(x.to(kCuda).to(dtype)).to(Device{});
        BOOST_TEST(found.values<Index>() == expected.values<Index>(),
                   boost::test_tools::per_element());
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
