// SPDX-License-Identifier: MIT
// CRC-32C with the Armv8 CRC32 instructions (Arm ARM C6, CRC32CB and CRC32CX). Compiled with
// -march=armv8-a+crc; no Advanced SIMD is involved.
#include <arm_acle.h>

#include "core/digest/crc32c_words.h"

namespace khop::digest::internal {

namespace {

// One load of two words. In assembly, as -mstrict-align keeps two loads apart, and compilers take a
// load of 128 bits to pieces.
template <size_t kAt>
[[gnu::always_inline]] inline uint32_t Step(uint32_t crc, const std::byte* words) {
  uint64_t low = 0;   // NOLINT(misc-const-correctness): the assembly writes it
  uint64_t high = 0;  // NOLINT(misc-const-correctness)
  using Bytes = std::byte[kAt + 16];
  asm("ldp %0, %1, [%2, %3]"
      : "=r"(low), "=r"(high)
      : "r"(words), "i"(kAt), "m"(*reinterpret_cast<const Bytes*>(words)));
  return __crc32cd(__crc32cd(crc, low), high);
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
    crc = Step<0>(crc, words);
    crc = Step<16>(crc, words);
    crc = Step<32>(crc, words);
    crc = Step<48>(crc, words);
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
    const auto step = [&]<size_t kAt>() {
      x = Step<kAt>(x, a);
      y = Step<kAt>(y, b);
      z = Step<kAt>(z, c);
    };
    step.operator()<0>();
    step.operator()<16>();
    step.operator()<32>();
    step.operator()<48>();
  }
  return {x, y, z};
}

uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte) {
  return __crc32cb(crc, static_cast<uint8_t>(byte));
}

}  // namespace khop::digest::internal
