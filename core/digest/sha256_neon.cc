// SPDX-License-Identifier: MIT
// SHA-256 of four messages at the time of two, by plain Advanced SIMD: each 32-bit lane of the
// vectors is one message. For CPUs without the SHA2 instructions, as that of the Raspberry Pi 4;
// the form of one message by these registers that others have is no faster than the scalar one by
// more than a tenth.
#include <arm_neon.h>

#include <utility>

#include "core/digest/sha256_blocks.h"

namespace khop::digest::internal {
namespace {

using Word = uint32x4_t;  // the same word of four messages

template <int kBits>
[[gnu::always_inline]] inline Word Rotate(Word x) {
  return vsriq_n_u32(vshlq_n_u32(x, 32 - kBits), x, kBits);
}

[[gnu::always_inline]] inline Word Load(const void* aligned) {
  return vld1q_u32(static_cast<const uint32_t*>(__builtin_assume_aligned(aligned, 16)));
}

// Four words of each of four messages, big-endian, to four vectors of one word each.
[[gnu::always_inline]] inline void LoadFour(const std::array<const std::byte*, 4>& data, size_t at,
                                            Word* w) {
  const auto load = [&](size_t i) {
    return vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(Load(data[i] + at))));
  };
  const Word a = load(0), b = load(1), c = load(2), d = load(3);
  const auto even = [](Word x, Word y) { return vreinterpretq_u64_u32(vtrn1q_u32(x, y)); };
  const auto odd = [](Word x, Word y) { return vreinterpretq_u64_u32(vtrn2q_u32(x, y)); };
  w[0] = vreinterpretq_u32_u64(vzip1q_u64(even(a, b), even(c, d)));
  w[1] = vreinterpretq_u32_u64(vzip1q_u64(odd(a, b), odd(c, d)));
  w[2] = vreinterpretq_u32_u64(vzip2q_u64(even(a, b), even(c, d)));
  w[3] = vreinterpretq_u32_u64(vzip2q_u64(odd(a, b), odd(c, d)));
}

// As in the scalar form: round i finds a in element (8 - i) % 8.
struct Registers {
  Word r[8];
};

template <size_t kRound>
[[gnu::always_inline]] inline void Round(Registers& all, const uint32_t* k, Word w) {
  const auto at = [&](size_t n) -> Word& { return all.r[(n + 16 - kRound) % 8]; };
  const Word e = at(4);
  const Word t = vaddq_u32(vaddq_u32(at(7), vld1q_dup_u32(k + kRound)), w);
  const Word s1 = veorq_u32(veorq_u32(Rotate<6>(e), Rotate<11>(e)), Rotate<25>(e));
  const Word t1 = vaddq_u32(vaddq_u32(t, vbslq_u32(e, at(5), at(6))), s1);
  const Word a = at(0);
  const Word s0 = veorq_u32(veorq_u32(Rotate<2>(a), Rotate<13>(a)), Rotate<22>(a));
  // The majority: c where a and b differ, else b.
  const Word maj = vbslq_u32(veorq_u32(a, at(1)), at(2), at(1));
  at(3) = vaddq_u32(at(3), t1);
  at(7) = vaddq_u32(vaddq_u32(t1, s0), maj);
}

template <size_t kRound>
[[gnu::always_inline]] inline void Schedule(Word* w) {
  const Word w15 = w[(kRound + 1) % 16];
  const Word w2 = w[(kRound + 14) % 16];
  const Word s0 = veorq_u32(veorq_u32(Rotate<7>(w15), Rotate<18>(w15)), vshrq_n_u32(w15, 3));
  const Word s1 = veorq_u32(veorq_u32(Rotate<17>(w2), Rotate<19>(w2)), vshrq_n_u32(w2, 10));
  w[kRound] = vaddq_u32(vaddq_u32(w[kRound], s0), vaddq_u32(w[(kRound + 9) % 16], s1));
}

template <bool kSchedule, size_t... kRound>
[[gnu::always_inline]] inline void SixteenRounds(Registers& all, Word* w, const uint32_t* k,
                                                 std::index_sequence<kRound...>) {
  const auto one = [&]<size_t kIndex>() __attribute__((always_inline)) {
    if constexpr (kSchedule) Schedule<kIndex>(w);
    Round<kIndex>(all, k, w[kIndex]);
  };
  (one.template operator()<kRound>(), ...);
}

}  // namespace

void Sha256BlocksNeonFour(const std::array<Sha256State*, 4>& states,
                          std::array<const std::byte*, 4> data, size_t count) {
  using Sixteen = std::make_index_sequence<16>;
  Word state[8];
  for (size_t i = 0; i < 8; ++i) {
    const uint32_t lanes[4] = {(*states[0])[i], (*states[1])[i], (*states[2])[i], (*states[3])[i]};
    state[i] = vld1q_u32(lanes);
  }
  for (; count != 0; --count) {
    Word w[16];
    Registers all;
#pragma GCC unroll 4
    for (size_t i = 0; i < 16; i += 4) LoadFour(data, 4 * i, &w[i]);
    for (const std::byte*& at : data) {
      __builtin_prefetch(at + 512, 0, 0);
      at += 64;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; ++i) all.r[i] = state[i];
    SixteenRounds<false>(all, w, kSha256Rounds.data(), Sixteen());
    for (size_t k = 16; k < 64; k += 16) {
      SixteenRounds<true>(all, w, kSha256Rounds.data() + k, Sixteen());
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; ++i) state[i] = vaddq_u32(state[i], all.r[i]);
  }
  for (size_t i = 0; i < 8; ++i) {
    uint32_t lanes[4];
    vst1q_u32(lanes, state[i]);
    for (size_t message = 0; message < 4; ++message) (*states[message])[i] = lanes[message];
  }
}

}  // namespace khop::digest::internal
