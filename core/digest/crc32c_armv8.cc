// SPDX-License-Identifier: MIT
// CRC-32C with the Armv8 CRC32 instructions (Arm ARM C6, CRC32CB and CRC32CX). Compiled with
// -march=armv8-a+crc; no Advanced SIMD is involved.
#include <arm_acle.h>

#include "core/digest/crc32c_words.h"

namespace khop::digest::internal {

namespace {

struct TwoWords {
  uint64_t low, high;
};

// One load. In assembly, as -mstrict-align keeps two loads apart, and compilers take a load of 128
// bits to pieces. The compiler is not told of the memory that is read, which would cost additions:
// nothing in this file stores.
template <int kAt>
[[gnu::always_inline]] inline TwoWords Load(const std::byte* words) {
  TwoWords two;
  asm volatile("ldp %0, %1, [%2, %3]" : "=r"(two.low), "=r"(two.high) : "r"(words), "i"(kAt));
  return two;
}

// The same at words, which go on by kBy without an instruction of its own.
template <int kBy>
[[gnu::always_inline]] inline TwoWords LoadAndGoOn(const std::byte*& words) {
  TwoWords two;
  asm volatile("ldp %0, %1, [%2], %3" : "=r"(two.low), "=r"(two.high), "+r"(words) : "i"(kBy));
  return two;
}

[[gnu::always_inline]] inline uint32_t Step(uint32_t crc, TwoWords two) {
  return __crc32cd(__crc32cd(crc, two.low), two.high);
}

constexpr size_t kAhead = 1024;  // bytes, as for the moves
constexpr int kLine = 64;        // of the caches, mostly

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
    crc = Step(crc, Load<0>(words));
    crc = Step(crc, Load<16>(words));
    crc = Step(crc, Load<32>(words));
    crc = Step(crc, Load<48>(words));
  }
  while (count != 0) one();
  return crc;
}

ThreeCrcs Crc32cThreeArmv8(ThreeCrcs crcs, const std::byte* a, const std::byte* b,
                           const std::byte* c, size_t size) {
  auto [x, y, z] = crcs;
  const auto prefetch = [](const std::byte* stream) {
    __builtin_prefetch(stream + kAhead - kLine, 0, 0);
    __builtin_prefetch(stream + kAhead, 0, 0);
  };
  const auto step = [&](TwoWords of_a, TwoWords of_b, TwoWords of_c) {
    x = Step(x, of_a);
    y = Step(y, of_b);
    z = Step(z, of_c);
  };
  for (; size != 0; size -= 128) {
    step(LoadAndGoOn<128>(a), LoadAndGoOn<128>(b), LoadAndGoOn<128>(c));
    prefetch(a);
    prefetch(b);
    prefetch(c);
    step(Load<-112>(a), Load<-112>(b), Load<-112>(c));
    step(Load<-96>(a), Load<-96>(b), Load<-96>(c));
    step(Load<-80>(a), Load<-80>(b), Load<-80>(c));
    step(Load<-64>(a), Load<-64>(b), Load<-64>(c));
    step(Load<-48>(a), Load<-48>(b), Load<-48>(c));
    step(Load<-32>(a), Load<-32>(b), Load<-32>(c));
    step(Load<-16>(a), Load<-16>(b), Load<-16>(c));
  }
  return {x, y, z};
}

uint32_t Crc32cByteArmv8(uint32_t crc, std::byte byte) {
  return __crc32cb(crc, static_cast<uint8_t>(byte));
}

}  // namespace khop::digest::internal
