// SPDX-License-Identifier: MIT
// The forms of CRC-32C's inner loop; crc32c.cc chooses. Internal to this folder.
#pragma once

#include <cstddef>
#include <cstdint>

namespace khop::digest::internal {

// All on the inverted register, as the instructions have it. `words`: count times 8 bytes, 16-byte
// aligned.
uint32_t Crc32cWordsScalar(uint32_t crc, const std::byte* words, size_t count);
uint32_t Crc32cByteScalar(uint32_t crc, std::byte byte);
// The register after `count` more bytes of 0: a multiplication in GF(2), for parts that are taken
// side by side and joined afterwards.
uint32_t Crc32cAfterZeros(uint32_t crc, uint64_t count);

// Three runs of `size` bytes, a multiple of 128, 16-byte aligned, side by side: an instruction's
// result comes after two or three cycles, but another can begin in each.
struct ThreeCrcs {
  uint32_t a, b, c;
};
#if defined(__aarch64__)
ThreeCrcs Crc32cThreeArmv8(ThreeCrcs crcs, const std::byte* a, const std::byte* b,
                           const std::byte* c, size_t size);
uint32_t Crc32cWordsArmv8(uint32_t crc, const std::byte* words, size_t count);
uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte);
#endif

}  // namespace khop::digest::internal
