// SPDX-License-Identifier: MIT
// Kernels: any bytes at all, with a file size that may not fit them.
#include <cstdint>
#include <cstdlib>

#include "tool/image/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using khop::image::ImageHeader;
  using khop::image::kImageAlignment;
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  const size_t head = size < khop::image::kHeadSize ? size : khop::image::kHeadSize;
  for (const uint64_t file_size : {uint64_t{size}, uint64_t{size} + 4096, uint64_t{64} << 20}) {
    const auto header = khop::image::ParseImage({bytes, head}, file_size, "fuzz");
    if (!header) {
      if (header.error().message.find('\n') != std::string::npos) std::abort();
      continue;
    }
    // What the loader relies on.
    if (header->image_size < file_size || header->text_offset >= kImageAlignment ||
        header->image_size + header->text_offset < header->image_size) {
      std::abort();
    }
    (void)khop::image::CheckPageSize(*header, 4096, false, "fuzz");
  }
  (void)khop::image::FindRelease({bytes, size});
  return 0;
}
