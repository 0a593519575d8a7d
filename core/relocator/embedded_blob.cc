// SPDX-License-Identifier: MIT
#include "core/relocator/embedded_blob.h"

// embedded_blob.S
// NOLINTBEGIN(readability-identifier-naming)
extern "C" const std::byte khop_embedded_blob[];
extern "C" const std::byte khop_embedded_blob_end[];
// NOLINTEND(readability-identifier-naming)

namespace khop::relocator {

std::span<const std::byte> Blob() { return {khop_embedded_blob, khop_embedded_blob_end}; }

}  // namespace khop::relocator
