// What libFuzzer calls: the one target that this program is linked with.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const vla::fuzz::Target target = vla::fuzz::targets().at(0);
  target.loads({reinterpret_cast<const char*>(data), size});
  return 0;
}
