// SPDX-License-Identifier: MIT
#include <cstddef>

#include "core/embed/khop.h"

// core/relocator/embedded_blob.S
extern "C" [[gnu::visibility("hidden")]] const std::byte khop_embedded_blob[];
extern "C" [[gnu::visibility("hidden")]] const std::byte khop_embedded_blob_end[];

const void* khop_blob(size_t* size) {
  *size = static_cast<size_t>(khop_embedded_blob_end - khop_embedded_blob);
  return khop_embedded_blob;
}
