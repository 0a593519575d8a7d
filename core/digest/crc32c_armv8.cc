// SPDX-License-Identifier: MIT
// CRC-32C with the Armv8 CRC32 instructions (Arm ARM C6, CRC32CB and CRC32CX). Compiled with
// -march=armv8-a+crc; no Advanced SIMD is involved.
#include <arm_acle.h>

#include "core/digest/crc32c_words.h"

namespace khop::digest::internal {

uint32_t Crc32cWordsArmv8(uint32_t crc, const std::byte* words, size_t count) {
  for (; count != 0; --count, words += 8) {
    uint64_t word = 0;
    __builtin_memcpy(&word, __builtin_assume_aligned(words, 8), sizeof(word));
    crc = __crc32cd(crc, word);
  }
  return crc;
}

uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte) {
  return __crc32cb(crc, static_cast<uint8_t>(byte));
}

}  // namespace khop::digest::internal
