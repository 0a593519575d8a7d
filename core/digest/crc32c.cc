// SPDX-License-Identifier: MIT
#include "core/digest/crc32c.h"

#include <array>
#include <bit>

#include "core/digest/crc32c_words.h"

namespace khop::digest {
namespace {

// kTables[k][b] is what byte b does to the register when k more bytes follow in the same step:
// eight lookups for eight bytes that do not wait for each other. 8 KiB, which the blob can spare.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41 reflected

consteval Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

// a * b modulo the polynomial; reflected, so that bit 31 is the coefficient of x^0.
constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if ((a >> 31) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kPolynomial : 0);
  }
  return product;
}

// Element k is x^(8 * 2^k): what 2^k bytes of 0 multiply the register by.
using Powers = std::array<uint32_t, 40>;

consteval Powers MakePowers() {
  Powers powers{};
  uint32_t power = uint32_t{1} << 23;  // x^8
  for (uint32_t& element : powers) {
    element = power;
    power = Multiply(power, power);
  }
  return powers;
}

constexpr Powers kPowers = MakePowers();

// From here on three streams: joining them costs some 2000 instructions.
[[maybe_unused]] constexpr size_t kManyWords = 8192;

uint32_t Words(uint32_t crc, const std::byte* words, size_t count, DigestFeatures features) {
#if defined(__aarch64__)
  if (features.crc32 && count >= kManyWords) {
    constexpr size_t kUnit = 1024;  // few bits in the length: few multiplications
    const size_t bytes = count * 8 / 3 / kUnit * kUnit;
    const auto [a, b, c] =
        internal::Crc32cThreeArmv8({crc, 0, 0}, words, words + bytes, words + 2 * bytes, bytes);
    const uint32_t two = internal::Crc32cAfterZeros(a, bytes) ^ b;
    crc = internal::Crc32cAfterZeros(two, bytes) ^ c;
    words += 3 * bytes;
    count -= 3 * bytes / 8;
  }
  if (features.crc32) {
    return internal::Crc32cWordsArmv8(crc, words, count);
  }
#else
  static_cast<void>(features);
#endif
  return internal::Crc32cWordsScalar(crc, words, count);
}

uint32_t Bytes(uint32_t crc, std::span<const std::byte> bytes, DigestFeatures features) {
#if defined(__aarch64__)
  if (features.crc32) {
    for (const std::byte byte : bytes) {
      crc = internal::Crc32cByteArmv8(crc, byte);
    }
    return crc;
  }
#else
  static_cast<void>(features);
#endif
  for (const std::byte byte : bytes) {
    crc = internal::Crc32cByteScalar(crc, byte);
  }
  return crc;
}

}  // namespace

namespace internal {

uint32_t Crc32cAfterZeros(uint32_t crc, uint64_t count) {
  for (size_t k = 0; count != 0; ++k, count >>= 1) {
    if ((count & 1) != 0) crc = Multiply(kPowers[k], crc);
  }
  return crc;
}

uint32_t Crc32cByteScalar(uint32_t crc, std::byte byte) {
  return (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint32_t>(byte)) & 0xff];
}

uint32_t Crc32cWordsScalar(uint32_t crc, const std::byte* words, size_t count) {
  for (; count != 0; --count, words += 8) {
    uint64_t word = 0;
    __builtin_memcpy(&word, __builtin_assume_aligned(words, 8), sizeof(word));
    if constexpr (std::endian::native == std::endian::big) {
      word = __builtin_bswap64(word);
    }
    word ^= crc;
    crc = 0;
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; ++i) {
      crc ^= kTables[7 - i][word >> (8 * i) & 0xff];
    }
  }
  return crc;
}

}  // namespace internal

uint32_t Crc32c(std::span<const std::byte> data, DigestFeatures features, uint32_t before) {
  const size_t misaligned = reinterpret_cast<uintptr_t>(data.data()) % 16;
  size_t head = misaligned == 0 ? 0 : 16 - misaligned;
  head = head < data.size() ? head : data.size();
  const size_t words = (data.size() - head) / 8;
  uint32_t crc = Bytes(~before, data.first(head), features);
  crc = Words(crc, data.data() + head, words, features);
  return ~Bytes(crc, data.subspan(head + words * 8), features);
}

}  // namespace khop::digest
