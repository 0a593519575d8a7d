// SPDX-License-Identifier: MIT
#include "core/digest/sha256.h"

#include <bit>
#include <cstring>

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

void Sha256BlocksScalar(std::array<uint32_t, 8>& state, const std::byte* data, size_t count) {
  for (; count != 0; --count, data += 64) {
    // The message schedule in a ring of 16: w[i % 16] is W(i).
    std::array<uint32_t, 16> w;
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] = LoadBigEndian32(data + 4 * i);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    const auto round = [&](size_t i, uint32_t wi) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kSha256Rounds[i] + wi;
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t2 = s0 + ((a & b) | (c & (a | b)));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    };
    for (size_t i = 0; i < 16; ++i) {
      round(i, w[i]);
    }
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t w15 = w[(i + 1) % 16];
      const uint32_t w2 = w[(i + 14) % 16];
      w[i % 16] += (std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3)) + w[(i + 9) % 16] +
                   (std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10));
      round(i, w[i % 16]);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
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

Sha256Digest Sha256Of(std::span<const std::byte> data, DigestFeatures features) {
  Sha256 sha(features);
  sha.Update(data);
  return sha.Finish();
}

}  // namespace khop::digest
