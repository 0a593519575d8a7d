// SPDX-License-Identifier: MIT
// The bytes of a hand-off, written out: a relocator of another build must read them alike.
#include "core/handoff/handoff.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "core/handoff/check.h"
#include "core/handoff/failure.h"

namespace khop::handoff {
namespace {

TEST(Handoff, GoldenBytes) {
  Header header = {};
  header.magic = kMagic;
  header.version_major = kVersionMajor;
  header.version_minor = kVersionMinor;
  header.header_size = sizeof(Header);
  header.total_size = 0x1234;
  header.header_crc32c = 0x11223344;
  header.body_crc32c = 0x55667788;
  header.flags = kForceScalarDigest | kLinuxImage;
  header.self = 0x4800'a000;
  header.control = {0x4800'0000, 0x1'2000};
  header.translation = {{0x4800'c000, 0x6000}, 0x4800'c000, 12, 48, 0xaabbccdd, 40};
  header.entry = 0x4020'0000;
  header.dtb = 0x47e0'0000;
  header.dtb_size = 0x2328;
  header.digest_kind = static_cast<uint32_t>(DigestKind::kSha256);
  header.arena = {168, 2};
  header.moves = {200, 3};
  header.verify = {272, 4};
  header.digests = {368, 5};
  header.stamp = 0x47e0'4000;
  header.timeline_offset = 0x3e8;
  header.cache_line_size = 64;
  constexpr auto kGolden = std::to_array<uint8_t>(
      {0x6b, 0x68, 0x6f, 0x70, 0x48, 0x4f, 0x50, 0x31,                          // magic
       0x01, 0x00, 0x00, 0x00, 0xa8, 0x00, 0x00, 0x00,                          // versions, size
       0x34, 0x12, 0x00, 0x00, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55,  // sizes, sums
       0x03, 0x00, 0x00, 0x00,                                                  // flags
       0x00, 0xa0, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00,                          // self
       0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x01, 0x00,  // control
       0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x48, 0x00, 0x00, 0x00, 0x00,  // tables
       0x00, 0x60, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x48,  // root
       0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x30, 0x00, 0x00, 0x00,  // geometry
       0xdd, 0xcc, 0xbb, 0xaa, 0x28, 0x00, 0x00, 0x00,                          // its sum, PA bits
       0x00, 0x00, 0x20, 0x40, 0x00, 0x00, 0x00, 0x00,                          // entry
       0x00, 0x00, 0xe0, 0x47, 0x00, 0x00, 0x00, 0x00, 0x28, 0x23, 0x00, 0x00,  // dtb
       0x01, 0x00, 0x00, 0x00,                                                  // digest kind
       0xa8, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,                          // arena
       0xc8, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,                          // moves
       0x10, 0x01, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,                          // verify
       0x70, 0x01, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,                          // digests
       0x00, 0x40, 0xe0, 0x47, 0x00, 0x00, 0x00, 0x00,                          // stamp
       0xe8, 0x03, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00});                        // timeline, line
  static_assert(kGolden.size() == sizeof(Header));
  std::array<uint8_t, sizeof(Header)> bytes;
  memcpy(bytes.data(), &header, sizeof(header));
  EXPECT_EQ(bytes, kGolden);
  // Taken with an independent implementation over the bytes above with bytes 20 to 23 zeroed.
  EXPECT_EQ(HeaderChecksum(header, digest::DigestFeatures::Scalar()), 0x697045c0U);
}

TEST(Handoff, DigestSizes) {
  EXPECT_EQ(DigestSize(DigestKind::kNone), 0U);
  EXPECT_EQ(DigestSize(DigestKind::kSha256), 32U);
  EXPECT_EQ(DigestSize(DigestKind::kCrc32c), 4U);
  EXPECT_EQ(DigestSize(static_cast<DigestKind>(99)), 0U);
}

TEST(HopFailure, EveryCodeHasItsText) {
  for (uint32_t code = 0; code < static_cast<uint32_t>(FailureCode::kCount); ++code) {
    EXPECT_GT(strlen(FailureText(static_cast<FailureCode>(code))), 5U) << code;
  }
  EXPECT_STREQ(FailureText(FailureCode::kException), "exception, ESR");
  EXPECT_STREQ(FailureText(static_cast<FailureCode>(12345)), "no failure");
}

}  // namespace
}  // namespace khop::handoff
