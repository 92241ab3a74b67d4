// What libFuzzer calls: the one target that this program is linked with.
#include <cstddef>
#include <cstdint>
#include <ctime>

#include "tests/fuzz/target.hpp"

// An input may take a second of the processor: a busy machine would make a second of the clock
// pass with nothing done.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const vla::fuzz::Target target = vla::fuzz::targets().at(0);
  const std::clock_t start = std::clock();
  target.loads({reinterpret_cast<const char*>(data), size});
  vla::fuzz::require(std::clock() - start < CLOCKS_PER_SEC, "an input takes a second or more");
  return 0;
}
