// SPDX-License-Identifier: MIT
#include "core/digest/crc32c.h"

#include <gtest/gtest.h>

#include <random>

#include "core/digest/crc32c_words.h"
#include "core/digest/digest_vectors.h"

namespace khop::digest {
namespace {

const DigestFeatures kAll = vectors::AllOfThisCpu();

// The definition, bit by bit, most significant first: polynomial 0x1edc6f41, input and output
// reflected, initial value and final exclusive-or all ones.
uint32_t ReferenceCrc32c(std::span<const std::byte> data) {
  uint32_t crc = 0xffff'ffff;
  for (const std::byte byte : data) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t in = static_cast<uint32_t>(byte) >> bit & 1;
      crc = (crc << 1) ^ ((crc >> 31 ^ in) != 0 ? 0x1edc6f41 : 0);
    }
  }
  uint32_t reflected = 0;
  for (int bit = 0; bit < 32; ++bit) {
    reflected |= (crc >> bit & 1) << (31 - bit);
  }
  return ~reflected;
}

TEST(Crc32c, KnownAnswers) {
  for (const vectors::Crc32cVector& vector : vectors::kCrc32c) {
    const auto data = std::as_bytes(std::span(vector.bytes)).first(vector.size);
    EXPECT_EQ(ReferenceCrc32c(data), vector.crc);
    EXPECT_EQ(Crc32c(data, DigestFeatures::Scalar()), vector.crc);
    EXPECT_EQ(Crc32c(data, kAll), vector.crc);
  }
}

TEST(Crc32c, EveryLengthAsTheDefinition) {
  std::vector<std::byte> all;
  for (const size_t length : vectors::Lengths()) {
    const auto data = vectors::RandomBytes(length, length);
    const uint32_t reference = ReferenceCrc32c(data);
    EXPECT_EQ(Crc32c(data, DigestFeatures::Scalar()), reference) << length;
    EXPECT_EQ(Crc32c(data, kAll), reference) << length;
    for (const int shift : {24, 16, 8, 0}) {
      all.push_back(static_cast<std::byte>(reference >> shift & 0xff));
    }
  }
  // The known answer of the arm64 program.
  EXPECT_EQ(ReferenceCrc32c(all), vectors::kCrc32cOfAll);
}

TEST(Crc32c, ZerosBehindAreACheapMultiplication) {
  for (const size_t count : {0U, 1U, 7U, 64U, 1000U, 65'537U, 2U << 20}) {
    const std::vector<std::byte> zeros(count);
    const uint32_t before = ~Crc32c(vectors::RandomBytes(100, 1), DigestFeatures::Scalar());
    // The register itself, not inverted.
    EXPECT_EQ(internal::Crc32cAfterZeros(before, count),
              ~Crc32c(zeros, DigestFeatures::Scalar(), ~before))
        << count;
  }
}

TEST(Crc32c, AnyAlignmentAndAnyPieces) {
  std::mt19937_64 random(2);
  const auto data = vectors::RandomBytes(3000, 9);
  for (int trial = 0; trial < 500; ++trial) {
    const size_t offset = random() % 20;
    const auto whole = std::span(data).subspan(offset, random() % 2900);
    const size_t split = whole.empty() ? 0 : random() % whole.size();
    const uint32_t first = Crc32c(whole.first(split), kAll);
    EXPECT_EQ(Crc32c(whole.subspan(split), kAll, first), ReferenceCrc32c(whole));
  }
}

TEST(DigestFeatures, FromRegistersAndFromHwcap) {
  using R = arm64::IdAa64Isar0El1;
  constexpr auto kNoSimd = arm64::IdAa64Pfr0El1::FromRaw(0xff'0000);
  const auto of = [](R isar0, arm64::IdAa64Pfr0El1 pfr0) {
    return DigestFeatures::FromRegisters(isar0, pfr0);
  };
  EXPECT_EQ(of(R::FromRaw(0x11120), {}),
            (DigestFeatures{.sha2 = true, .crc32 = true, .simd = true}));
  EXPECT_EQ(of(R{}.With<R::SHA2>(2), kNoSimd), (DigestFeatures{.sha2 = true}));
  EXPECT_EQ(of(R{}.With<R::CRC32>(1), kNoSimd), (DigestFeatures{.crc32 = true}));
  EXPECT_EQ(of(R{}, kNoSimd), DigestFeatures::Scalar());
  EXPECT_EQ(DigestFeatures::FromHwcap(1 << 1), (DigestFeatures{.simd = true}));
  EXPECT_EQ(DigestFeatures::FromHwcap(1 << 6), (DigestFeatures{.sha2 = true}));
  EXPECT_EQ(DigestFeatures::FromHwcap(1 << 7), (DigestFeatures{.crc32 = true}));
  EXPECT_EQ(kAll.WithoutInstructions(), (DigestFeatures{.simd = kAll.simd}));
}

}  // namespace
}  // namespace khop::digest
