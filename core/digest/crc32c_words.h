// SPDX-License-Identifier: MIT
// The forms of CRC-32C's inner loop; crc32c.cc chooses. Internal to this folder.
#pragma once

#include <cstddef>
#include <cstdint>

namespace khop::digest::internal {

// All on the inverted register, as the instructions have it. `words`: count times 8 bytes, 8-byte
// aligned.
uint32_t Crc32cWordsScalar(uint32_t crc, const std::byte* words, size_t count);
uint32_t Crc32cByteScalar(uint32_t crc, std::byte byte);
#if defined(__aarch64__)
uint32_t Crc32cWordsArmv8(uint32_t crc, const std::byte* words, size_t count);
uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte);
#endif

}  // namespace khop::digest::internal
