#include "tasks/compression.hpp"

#include <lzma.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "framework/check.hpp"

namespace vla {

std::size_t compressed_bytes(std::span<const std::uint8_t> data) {
  lzma_options_lzma options;
  check(!lzma_lzma_preset(&options, 9), "compression: the library does not know preset 9");
  // A dictionary beyond the data finds nothing more and costs 11 times its size.
  const std::size_t dictionary = std::bit_ceil(std::max<std::size_t>(data.size(), 4096));
  options.dict_size =
      static_cast<std::uint32_t>(std::min<std::size_t>(options.dict_size, dictionary));
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::vector<std::uint8_t> result(lzma_stream_buffer_bound(data.size()));
  std::size_t written = 0;
  const lzma_ret status = lzma_raw_buffer_encode(filters, nullptr, data.data(), data.size(),
                                                 result.data(), &written, result.size());
  check(status == LZMA_OK, "compression of ", data.size(), " bytes failed: liblzma error ", status);
  return written;
}

}  // namespace vla
