// SPDX-License-Identifier: MIT
// CRC-32C (Castagnoli, RFC 3720 appendix B.4), scalar and with the Armv8 CRC32 instructions. Finds
// accidents, not attacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/digest/features.h"

namespace khop::digest {

// The CRC of `data`, of any length and alignment. `before` is the CRC of what stands before it:
// Crc32c(b, f, Crc32c(a, f)) is that of a followed by b. `features` without crc32, or a build for
// another CPU than Armv8, takes the scalar form.
uint32_t Crc32c(std::span<const std::byte> data, DigestFeatures features, uint32_t before = 0);

}  // namespace khop::digest
