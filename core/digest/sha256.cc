// SPDX-License-Identifier: MIT
#include "core/digest/sha256.h"

#include <bit>
#include <cstring>
#include <utility>

#include "core/digest/sha256_blocks.h"

namespace khop::digest {
namespace {

uint32_t LoadBigEndian32(const std::byte* aligned) {
  uint32_t word = 0;
  // The builtin, as -ffreestanding makes a call of memcpy; aligned, as -mstrict-align makes four
  // loads otherwise.
  __builtin_memcpy(&word, __builtin_assume_aligned(aligned, 4), sizeof(word));
  return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

void StoreBigEndian(uint64_t value, std::byte* out, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    out[i] = static_cast<std::byte>(value >> (8 * (size - 1 - i)) & 0xff);
  }
}

void CompressAligned(std::array<uint32_t, 8>& state, const std::byte* data, size_t count,
                     DigestFeatures features) {
#if defined(__aarch64__)
  if (features.sha2) {
    internal::Sha256BlocksArmv8(state, data, count);
    return;
  }
#else
  static_cast<void>(features);
#endif
  internal::Sha256BlocksScalar(state, data, count);
}

}  // namespace

namespace internal {

namespace {

// The message schedule in a ring of 16: w[i % 16] is W(i).
using Ring = std::array<uint32_t, 16>;

// a to h, never moved: round i finds a in element (8 - i) % 8, b in the one behind, and so on.
using Registers = std::array<uint32_t, 8>;

template <size_t kRound>
[[gnu::always_inline]] inline void Round(Registers& r, const uint32_t* k, uint32_t wi,
                                         uint32_t& b_xor_c) {
  const auto at = [&](size_t n) -> uint32_t& { return r[(n + 16 - kRound) % 8]; };
  const uint32_t a = at(0);
  const uint32_t e = at(4);
  const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
  const uint32_t ch = ((at(5) ^ at(6)) & e) ^ at(6);
  const uint32_t t1 = at(7) + k[kRound] + wi + ch + s1;
  const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
  // The majority of a, b and c is b where a and b agree, else c. Its a ^ b is the next round's
  // b ^ c.
  const uint32_t a_xor_b = a ^ at(1);
  const uint32_t maj = (a_xor_b & b_xor_c) ^ at(1);
  b_xor_c = a_xor_b;
  at(3) += t1;
  at(7) = t1 + s0 + maj;
}

template <size_t kRound>
[[gnu::always_inline]] inline void Schedule(Ring& w) {
  const uint32_t w15 = w[(kRound + 1) % 16];
  const uint32_t w2 = w[(kRound + 14) % 16];
  w[kRound] += (std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3)) + w[(kRound + 9) % 16] +
               (std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10));
}

template <bool kSchedule, size_t... kRound>
[[gnu::always_inline]] inline void SixteenRounds(Registers& r, Ring& w, const uint32_t* k,
                                                 uint32_t& b_xor_c,
                                                 std::index_sequence<kRound...>) {
  const auto one = [&]<size_t kIndex>() __attribute__((always_inline)) {
    if constexpr (kSchedule) Schedule<kIndex>(w);
    Round<kIndex>(r, k, w[kIndex], b_xor_c);
  };
  (one.template operator()<kRound>(), ...);
}

}  // namespace

void Sha256BlocksScalar(Sha256State& state, const std::byte* data, size_t count) {
  using Sixteen = std::make_index_sequence<16>;
  for (; count != 0; --count, data += 64) {
    Ring w;
#pragma GCC unroll 16
    for (size_t i = 0; i < w.size(); ++i) w[i] = LoadBigEndian32(data + 4 * i);
    Registers r = state;
    uint32_t b_xor_c = r[1] ^ r[2];
    SixteenRounds<false>(r, w, kSha256Rounds.data(), b_xor_c, Sixteen());
    for (size_t k = 16; k < 64; k += 16) {
      SixteenRounds<true>(r, w, kSha256Rounds.data() + k, b_xor_c, Sixteen());
    }
    for (size_t i = 0; i < r.size(); ++i) state[i] += r[i];
  }
}

}  // namespace internal

void Sha256::Update(std::span<const std::byte> data) {
  const size_t buffered = length_ % kBlock;
  length_ += data.size();
  if (buffered != 0) {
    const size_t missing = kBlock - buffered;
    if (data.size() < missing) {
      if (!data.empty()) {
        std::memcpy(&buffer_[buffered], data.data(), data.size());
      }
      return;
    }
    std::memcpy(&buffer_[buffered], data.data(), missing);
    CompressAligned(state_, buffer_.data(), 1, features_);
    data = data.subspan(missing);
  }
  const size_t blocks = data.size() / kBlock;
  if (reinterpret_cast<uintptr_t>(data.data()) % 16 == 0) {
    CompressAligned(state_, data.data(), blocks, features_);
  } else {
    // With the MMU off an unaligned load would fault; blocks of the payload are always aligned.
    for (size_t i = 0; i < blocks; ++i) {
      std::memcpy(buffer_.data(), &data[i * kBlock], kBlock);
      CompressAligned(state_, buffer_.data(), 1, features_);
    }
  }
  const std::span<const std::byte> rest = data.subspan(blocks * kBlock);
  if (!rest.empty()) {
    std::memcpy(buffer_.data(), rest.data(), rest.size());
  }
}

Sha256Digest Sha256::Finish() {
  const uint64_t bits = length_ * 8;
  size_t used = length_ % kBlock;
  buffer_[used++] = std::byte{0x80};
  if (used > kBlock - sizeof(bits)) {
    std::memset(buffer_.data() + used, 0, kBlock - used);
    CompressAligned(state_, buffer_.data(), 1, features_);
    used = 0;
  }
  std::memset(buffer_.data() + used, 0, kBlock - sizeof(bits) - used);
  StoreBigEndian(bits, &buffer_[kBlock - sizeof(bits)], sizeof(bits));
  CompressAligned(state_, buffer_.data(), 1, features_);
  Sha256Digest digest;
  for (size_t i = 0; i < state_.size(); ++i) {
    StoreBigEndian(state_[i], &digest[4 * i], 4);
  }
  return digest;
}

void AdvanceLanes(std::span<Sha256Lane> lanes) {
  if (lanes.empty()) return;
  size_t blocks = SIZE_MAX;
  for (const Sha256Lane& lane : lanes) {
    const size_t has = lane.rest.size() / Sha256::kBlock;
    blocks = has < blocks ? has : blocks;
  }
  if (blocks == 0) return;
#if defined(__aarch64__)
  const DigestFeatures features = lanes[0].hash.features_;
  const bool wide = features.sha2 ? lanes.size() == 2 : features.simd && lanes.size() > 1;
  if (wide && features.sha2) {
    internal::Sha256BlocksArmv8Two(lanes[0].hash.state_, lanes[0].rest.data(), lanes[1].hash.state_,
                                   lanes[1].rest.data(), blocks);
  } else if (wide) {
    // A lane that is not needed hashes what the first one does, into nowhere.
    internal::Sha256State spare[kMaxSha256Lanes];
    std::array<internal::Sha256State*, kMaxSha256Lanes> states;
    std::array<const std::byte*, kMaxSha256Lanes> data;
    for (size_t i = 0; i < kMaxSha256Lanes; ++i) {
      const bool needed = i < lanes.size();
      spare[i] = {};
      states[i] = needed ? &lanes[i].hash.state_ : &spare[i];
      data[i] = lanes[needed ? i : 0].rest.data();
    }
    internal::Sha256BlocksNeonFour(states, data, blocks);
  }
#else
  constexpr bool wide = false;
#endif
  for (Sha256Lane& lane : lanes) {
    const size_t bytes = blocks * Sha256::kBlock;
    if (!wide) {
      CompressAligned(lane.hash.state_, lane.rest.data(), blocks, lane.hash.features_);
    }
    lane.hash.length_ += bytes;
    lane.rest = lane.rest.subspan(bytes);
  }
}

Sha256Digest Sha256Of(std::span<const std::byte> data, DigestFeatures features) {
  Sha256 sha(features);
  sha.Update(data);
  return sha.Finish();
}

}  // namespace khop::digest
