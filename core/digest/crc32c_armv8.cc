// SPDX-License-Identifier: MIT
// CRC-32C with the Armv8 CRC32 instructions (Arm ARM C6, CRC32CB and CRC32CX). Compiled with
// -march=armv8-a+crc; no Advanced SIMD is involved.
#include <arm_acle.h>

#include "core/digest/crc32c_words.h"

namespace khop::digest::internal {

namespace {

// One load of two words (LDP): said so, as -mstrict-align keeps two apart.
__extension__ using Pair [[gnu::may_alias]] = unsigned __int128;

[[gnu::always_inline]] inline uint32_t Step(uint32_t crc, const std::byte* aligned) {
  const Pair pair = *reinterpret_cast<const Pair*>(aligned);
  return __crc32cd(__crc32cd(crc, static_cast<uint64_t>(pair)), static_cast<uint64_t>(pair >> 64));
}

constexpr size_t kAhead = 1024;  // bytes, as for the moves

}  // namespace

uint32_t Crc32cWordsArmv8(uint32_t crc, const std::byte* words, size_t count) {
  const auto one = [&] {
    uint64_t word = 0;
    __builtin_memcpy(&word, __builtin_assume_aligned(words, 8), sizeof(word));
    crc = __crc32cd(crc, word);
    words += 8;
    --count;
  };
  for (; count >= 8; count -= 8, words += 64) {
#pragma GCC unroll 4
    for (size_t at = 0; at < 64; at += 16) crc = Step(crc, words + at);
  }
  while (count != 0) one();
  return crc;
}

ThreeCrcs Crc32cThreeArmv8(ThreeCrcs crcs, const std::byte* a, const std::byte* b,
                           const std::byte* c, size_t size) {
  auto [x, y, z] = crcs;
  for (; size != 0; size -= 64, a += 64, b += 64, c += 64) {
    __builtin_prefetch(a + kAhead, 0, 0);
    __builtin_prefetch(b + kAhead, 0, 0);
    __builtin_prefetch(c + kAhead, 0, 0);
#pragma GCC unroll 4
    for (size_t at = 0; at < 64; at += 16) {
      x = Step(x, a + at);
      y = Step(y, b + at);
      z = Step(z, c + at);
    }
  }
  return {x, y, z};
}

uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte) {
  return __crc32cb(crc, static_cast<uint8_t>(byte));
}

}  // namespace khop::digest::internal
