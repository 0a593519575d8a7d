// SPDX-License-Identifier: MIT
// The C interface end to end, and what it says when it refuses.
#include "core/embed/khop.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/handoff/check.h"
#include "core/relocator/blob.h"

extern "C" size_t DigestFromC(const void* data, size_t size, uint8_t* digest);

namespace khop {
namespace {

constexpr uint64_t kPage = 4096;

class EmbedTest : public testing::Test {
 protected:
  EmbedTest() : blob_(8192), memory_(1 << 20), scratch_memory_(1 << 20) {
    relocator::BlobHeader header = {};
    header.magic = relocator::kBlobMagic;
    header.version = relocator::kBlobVersion;
    header.size = static_cast<uint32_t>(blob_.size());
    memcpy(blob_.data(), &header, sizeof(header));
    scratch_ = {scratch_memory_.data(), scratch_memory_.size() * sizeof(uint64_t)};
  }

  // Four pages at 0x50000000, two of them owned; one in place, one spare.
  khop_hop Hop() {
    khop_hop hop = {};
    hop.entry = kDestination.start;
    hop.dtb = kDestination.start + 3 * kPage;
    hop.dtb_size = 256;
    hop.arena = &kDestination;
    hop.arena_count = 1;
    hop.pieces = pieces_.data();
    hop.piece_count = pieces_.size();
    hop.verify = &kDestination;
    hop.verify_count = 1;
    hop.digests = digest_;
    hop.digest_bytes = 4;
    hop.digest_kind = KHOP_DIGEST_CRC32C;
    hop.mmu = 1;
    hop.granule_shift = 12;
    hop.va_bits = 48;
    hop.pa_bits = 40;
    hop.cache_line_size = 64;
    return hop;
  }

  const khop_range kDestination = {0x50000000, 4 * kPage};
  std::vector<khop_piece> pieces_ = {{0x50000000, 0x50000000, kPage},
                                     {0x61000000, 0x50001000, kPage},
                                     {0x60000000, 0x50002000, 2 * kPage}};
  uint8_t digest_[KHOP_DIGEST_MAX_SIZE] = {1, 2, 3, 4};
  std::vector<uint8_t> blob_;
  std::vector<uint64_t> memory_;
  std::vector<uint64_t> scratch_memory_;
  khop_scratch scratch_;
};

TEST_F(EmbedTest, PlacesAssignsAndReplays) {
  const khop_range owned[] = {{2 * kPage, 2 * kPage}, {8 * kPage, kPage}, {10 * kPage, 4 * kPage}};
  const khop_range allowed[] = {{0, 16 * kPage}};
  const khop_item items[] = {{5 * kPage, kPage, 0, 0, KHOP_ITEM_WINDOWED},
                             {kPage, kPage, 0, 0, KHOP_ITEM_OWNED_ONLY}};
  uint64_t at[2];
  uint64_t owned_bytes = 0;
  ASSERT_EQ(khop_place(items, 2, owned, 3, allowed, 1, scratch_, at, &owned_bytes).code, KHOP_OK);
  EXPECT_EQ(at[0], 8 * kPage);
  EXPECT_EQ(at[1], 2 * kPage);
  EXPECT_EQ(owned_bytes, 5 * kPage);

  const khop_range destination = {at[0], 5 * kPage};
  const khop_range spare[] = {{3 * kPage, kPage}, {13 * kPage, kPage}};
  khop_piece pieces[5];
  size_t count = 5;
  ASSERT_EQ(khop_assign(&destination, 1, owned, 3, spare, 2, kPage, scratch_, pieces, &count).code,
            KHOP_OK);
  ASSERT_EQ(count, 3u);
  EXPECT_EQ(pieces[0].source, pieces[0].destination);
  EXPECT_EQ(pieces[1].source, 3 * kPage);
  EXPECT_EQ(pieces[1].destination, 9 * kPage);
  EXPECT_EQ(khop_replay(pieces, count, pieces, count, &destination, 1, kPage, scratch_).code,
            KHOP_OK);
  const khop_status missed =
      khop_replay(pieces, count, nullptr, 0, &destination, 1, kPage, scratch_);
  EXPECT_EQ(missed.code, KHOP_WRONG_CONTENT);
  EXPECT_EQ(missed.value, 9 * kPage);
}

TEST_F(EmbedTest, OrdersFilledPages) {
  const khop_piece swap[] = {{0x1000, 0x2000, kPage}, {0x2000, 0x1000, kPage}};
  khop_piece ordered[3];
  size_t count = 3;
  ASSERT_EQ(khop_order(swap, 2, kPage, 0x9000, scratch_, ordered, &count).code, KHOP_OK);
  EXPECT_EQ(count, 3u);
  const khop_range writable[] = {{0x1000, 2 * kPage}, {0x9000, kPage}};
  EXPECT_EQ(khop_replay(swap, 2, ordered, count, writable, 2, kPage, scratch_).code, KHOP_OK);
  count = 3;
  const khop_status cycle = khop_order(swap, 2, kPage, 0, scratch_, ordered, &count);
  EXPECT_EQ(cycle.code, KHOP_OUT_OF_MEMORY);
  EXPECT_EQ(cycle.value, 0u);
}

TEST_F(EmbedTest, BuildsWhatTheRelocatorAccepts) {
  const khop_hop hop = Hop();
  uint64_t bound = 0;
  ASSERT_EQ(khop_control_size(&hop, blob_.data(), blob_.size(), scratch_, &bound).code, KHOP_OK);
  uint64_t size = bound;
  ASSERT_EQ(
      khop_build(&hop, blob_.data(), blob_.size(), 0x44000000, memory_.data(), &size, scratch_)
          .code,
      KHOP_OK);
  EXPECT_LE(size, bound);
  const auto* const bytes = reinterpret_cast<const std::byte*>(memory_.data());
  relocator::BlobHeader header;
  memcpy(&header, bytes, sizeof(header));
  const handoff::View view(bytes + header.parameters.handoff_offset);
  ASSERT_EQ(view.moves().size(), 1u);  // one virtual range
  EXPECT_EQ(view.moves()[0].destination, 0x50001000u);
  EXPECT_EQ(view.moves()[0].size, 3 * kPage);
  EXPECT_EQ(view.verify()[0].size, 4 * kPage);
}

TEST_F(EmbedTest, WithoutTablesMovesArePhysical) {
  khop_hop hop = Hop();
  hop.mmu = 0;
  uint64_t size = memory_.size() * 8;
  ASSERT_EQ(
      khop_build(&hop, blob_.data(), blob_.size(), 0x44000000, memory_.data(), &size, scratch_)
          .code,
      KHOP_OK);
  const auto* const bytes = reinterpret_cast<const std::byte*>(memory_.data());
  relocator::BlobHeader header;
  memcpy(&header, bytes, sizeof(header));
  const handoff::View view(bytes + header.parameters.handoff_offset);
  ASSERT_EQ(view.moves().size(), 2u);
  EXPECT_EQ(view.moves()[0].source, 0x61000000u);
}

TEST_F(EmbedTest, Refuses) {
  const auto build = [&](const khop_hop& hop, uint64_t base, uint64_t size) {
    return khop_build(&hop, blob_.data(), blob_.size(), base, memory_.data(), &size, scratch_);
  };
  const uint64_t all = memory_.size() * 8;
  // Too little memory for the area: for its tables, for anything.
  for (const uint64_t little : {uint64_t{0}, uint64_t{8192}, uint64_t{32768}}) {
    EXPECT_EQ(build(Hop(), 0x44000000, little).code, KHOP_OUT_OF_MEMORY) << little;
  }
  EXPECT_EQ(build(Hop(), 0x44000001, all).code, KHOP_NOT_ALIGNED);
  EXPECT_EQ(build(Hop(), 0x50000000, all).code, KHOP_OVERLAP);  // onto a destination
  khop_hop hop = Hop();
  hop.entry = 0x40000000;
  EXPECT_EQ(build(hop, 0x44000000, all).code, KHOP_INVALID_ARGUMENT);
  hop = Hop();
  pieces_[1].destination = 0x70000000;  // outside of the arena
  EXPECT_EQ(build(hop, 0x44000000, all).code, KHOP_INVALID_ARGUMENT);
  hop.granule_shift = 13;
  EXPECT_EQ(build(hop, 0x44000000, all).code, KHOP_INVALID_ARGUMENT);
  blob_[4] ^= 1;
  EXPECT_EQ(build(Hop(), 0x44000000, all).code, KHOP_INVALID_ARGUMENT);
  scratch_.size = 8;
  EXPECT_EQ(build(Hop(), 0x44000000, all).code, KHOP_OUT_OF_MEMORY);
}

TEST_F(EmbedTest, DigestsAreCallableFromC) {
  uint8_t digest[KHOP_DIGEST_MAX_SIZE];
  // RFC 3720, appendix B.4: 32 bytes of zeros.
  const std::vector<uint8_t> zeros(32);
  ASSERT_EQ(DigestFromC(zeros.data(), zeros.size(), digest), 4u);
  EXPECT_EQ(digest[0], 0xaa);
  EXPECT_EQ(digest[3], 0x8a);
  EXPECT_EQ(khop_digest(KHOP_DIGEST_SHA256, "abc", 3, digest), 32u);
  EXPECT_EQ(digest[0], 0xba);
  EXPECT_EQ(khop_digest(9, "abc", 3, digest), 0u);
}

}  // namespace
}  // namespace khop
