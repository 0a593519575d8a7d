// SPDX-License-Identifier: MIT
// SHA-256 with the Armv8 SHA2 instructions (Arm ARM C7, SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
// With sha256_neon.cc the files of core/ that are compiled for Advanced SIMD registers (this one
// with -march=armv8-a+crypto), and never -mgeneral-regs-only.
#include <arm_neon.h>

#include <utility>

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

// The schedule of one message: w[n % 4] are the words W(4n) to W(4n + 3).
struct Block {
  uint32x4_t w[4];
};

// Rounds 4 * kGroup to 4 * kGroup + 3 with the constants `k`; makes the words of 16 rounds later.
template <size_t kGroup>
[[gnu::always_inline]] inline void FourRounds(State& s, Block& block, uint32x4_t k) {
  uint32x4_t& w = block.w[kGroup % 4];
  const uint32x4_t wk = vaddq_u32(w, k);
  if constexpr (kGroup < 12) {
    w = vsha256su1q_u32(vsha256su0q_u32(w, block.w[(kGroup + 1) % 4]), block.w[(kGroup + 2) % 4],
                        block.w[(kGroup + 3) % 4]);
  }
  const uint32x4_t abcd = s.abcd;
  s.abcd = vsha256hq_u32(abcd, s.efgh, wk);
  s.efgh = vsha256h2q_u32(s.efgh, abcd, wk);
}

// All rounds of one block of each message.
template <size_t... kGroup, typename... Message>
[[gnu::always_inline]] inline void AllRounds(std::index_sequence<kGroup...>, Message&... messages) {
  const auto group = [&]<size_t kIndex>() __attribute__((always_inline)) {
    const uint32x4_t k = LoadAligned(&kSha256Rounds[4 * kIndex]);
    (FourRounds<kIndex>(messages.now, messages.block, k), ...);
  };
  (group.template operator()<kGroup>(), ...);
}

[[gnu::always_inline]] inline uint32x4_t LoadBigEndian(const std::byte* aligned) {
  return vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(LoadAligned(aligned))));
}

// How far ahead of the hashing, bytes: beyond the end of a piece at most a line is fetched in vain.
constexpr size_t kAhead = 512;

// A message under way.
class Message {
 public:
  Message(const Sha256State& state, const std::byte* data)
      : now{LoadAligned(state.data()), LoadAligned(&state[4])}, data_(data) {}

  [[gnu::always_inline]] void Begin() {
    __builtin_prefetch(data_ + kAhead, 0, 0);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) block.w[i] = LoadBigEndian(data_ + 16 * i);
    data_ += 64;
    before_ = now;
  }
  [[gnu::always_inline]] void End() {
    now = {vaddq_u32(now.abcd, before_.abcd), vaddq_u32(now.efgh, before_.efgh)};
  }
  [[gnu::always_inline]] void Store(Sha256State& state) const {
    auto* out = static_cast<uint32_t*>(__builtin_assume_aligned(state.data(), 16));
    vst1q_u32(out, now.abcd);
    vst1q_u32(out + 4, now.efgh);
  }

  State now;
  Block block;

 private:
  State before_;
  const std::byte* data_;
};

using Groups = std::make_index_sequence<16>;

}  // namespace

void Sha256BlocksArmv8(Sha256State& state, const std::byte* data, size_t count) {
  Message message(state, data);
  for (; count != 0; --count) {
    message.Begin();
    AllRounds(Groups(), message);
    message.End();
  }
  message.Store(state);
}

void Sha256BlocksArmv8Two(Sha256State& state_a, const std::byte* a, Sha256State& state_b,
                          const std::byte* b, size_t count) {
  Message first(state_a, a);
  Message second(state_b, b);
  for (; count != 0; --count) {
    first.Begin();
    second.Begin();
    AllRounds(Groups(), first, second);
    first.End();
    second.End();
  }
  first.Store(state_a);
  second.Store(state_b);
}

}  // namespace khop::digest::internal
