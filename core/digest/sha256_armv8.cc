// SPDX-License-Identifier: MIT
// SHA-256 with the Armv8 SHA2 instructions (Arm ARM C7, SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
// The one file of core/ that is compiled for Advanced SIMD registers (-march=armv8-a+crypto, and
// never -mgeneral-regs-only).
#include <arm_neon.h>

#include "core/digest/sha256_blocks.h"

namespace khop::digest::internal {
namespace {

// Loads of 16-byte aligned words. Said explicitly, as -mstrict-align takes them apart otherwise.
[[gnu::always_inline]] inline uint32x4_t LoadAligned(const void* aligned) {
  return vld1q_u32(static_cast<const uint32_t*>(__builtin_assume_aligned(aligned, 16)));
}

// a, b, c, d and e, f, g, h.
struct State {
  uint32x4_t abcd;
  uint32x4_t efgh;
};

// Rounds 4 * kGroup to 4 * kGroup + 3 on the schedule words `w`.
template <size_t kGroup>
[[gnu::always_inline]] inline void FourRounds(State& s, uint32x4_t w) {
  const uint32x4_t wk = vaddq_u32(w, LoadAligned(&kSha256Rounds[4 * kGroup]));
  const uint32x4_t abcd = s.abcd;
  s.abcd = vsha256hq_u32(abcd, s.efgh, wk);
  s.efgh = vsha256h2q_u32(s.efgh, abcd, wk);
}

// As FourRounds(), and replaces the oldest words w0 by those 16 rounds later.
template <size_t kGroup>
[[gnu::always_inline]] inline void FourRoundsAndSchedule(State& s, uint32x4_t& w0, uint32x4_t w1,
                                                         uint32x4_t w2, uint32x4_t w3) {
  const uint32x4_t next = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
  FourRounds<kGroup>(s, w0);
  w0 = next;
}

template <size_t kGroup>
[[gnu::always_inline]] inline void SixteenRoundsAndSchedule(State& s, uint32x4_t& w0,
                                                            uint32x4_t& w1, uint32x4_t& w2,
                                                            uint32x4_t& w3) {
  FourRoundsAndSchedule<kGroup>(s, w0, w1, w2, w3);
  FourRoundsAndSchedule<kGroup + 1>(s, w1, w2, w3, w0);
  FourRoundsAndSchedule<kGroup + 2>(s, w2, w3, w0, w1);
  FourRoundsAndSchedule<kGroup + 3>(s, w3, w0, w1, w2);
}

[[gnu::always_inline]] inline uint32x4_t LoadBigEndian(const std::byte* aligned) {
  return vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(LoadAligned(aligned))));
}

}  // namespace

void Sha256BlocksArmv8(std::array<uint32_t, 8>& state, const std::byte* data, size_t count) {
  State s = {LoadAligned(&state[0]), LoadAligned(&state[4])};
  for (; count != 0; --count, data += 64) {
    const State before = s;
    uint32x4_t w0 = LoadBigEndian(data);
    uint32x4_t w1 = LoadBigEndian(data + 16);
    uint32x4_t w2 = LoadBigEndian(data + 32);
    uint32x4_t w3 = LoadBigEndian(data + 48);
    SixteenRoundsAndSchedule<0>(s, w0, w1, w2, w3);
    SixteenRoundsAndSchedule<4>(s, w0, w1, w2, w3);
    SixteenRoundsAndSchedule<8>(s, w0, w1, w2, w3);
    FourRounds<12>(s, w0);
    FourRounds<13>(s, w1);
    FourRounds<14>(s, w2);
    FourRounds<15>(s, w3);
    s.abcd = vaddq_u32(s.abcd, before.abcd);
    s.efgh = vaddq_u32(s.efgh, before.efgh);
  }
  auto* out = static_cast<uint32_t*>(__builtin_assume_aligned(state.data(), 16));
  vst1q_u32(out, s.abcd);
  vst1q_u32(out + 4, s.efgh);
}

}  // namespace khop::digest::internal
