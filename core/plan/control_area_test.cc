// SPDX-License-Identifier: MIT
#include "core/plan/control_area.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/arm64/page_table_walker.h"
#include "core/handoff/check.h"

namespace khop::plan {
namespace {

std::vector<std::byte> FakeBlob(uint32_t size) {
  relocator::BlobHeader header = {};
  header.magic = relocator::kBlobMagic;
  header.version = relocator::kBlobVersion;
  header.size = size;
  std::vector<std::byte> blob(size, std::byte{0xc3});
  memcpy(blob.data(), &header, sizeof(header));
  return blob;
}

class ControlAreaTest : public testing::Test {
 protected:
  static constexpr uint64_t kBase = 0x4800'0000;
  ControlAreaTest() : blob_(FakeBlob(30'000)), memory_(1 << 20) {
    hop_.entry = {0x4020'0000};
    hop_.dtb = {0x47e0'0000};
    hop_.dtb_size = 9000;
    hop_.timeline_offset = 1000;
    hop_.stamp = {0x47e0'4000};
    hop_.arena = arena_;
    hop_.verify = verify_;
    hop_.digests = digests_;
    hop_.digest_kind = handoff::DigestKind::kCrc32c;
    hop_.last_words = {.uart_base = 0x900'0000,
                       .uart_kind = relocator::UartKind::kPl011,
                       .uart_reg_shift = 2,
                       .uart_io_width = 4,
                       .conduit = relocator::PsciConduit::kHvc,
                       .check = 0};
  }

  std::vector<handoff::Range> arena_ = {{0x4020'0000, 0x260'0000}, {0x47e0'0000, 0x5000}};
  std::vector<handoff::VerifyRange> verify_ = {{0x4020'0000, 0x30'0000, 0, 0},
                                               {0x47e0'0000, 9000, 2, 0}};
  std::vector<std::byte> digests_ = std::vector<std::byte>(12, std::byte{0x11});
  Hop hop_;
  std::vector<std::byte> blob_;
  std::vector<std::byte> memory_;
};

TEST_F(ControlAreaTest, LaysOutInOrderWithinItsBound) {
  const auto bound = LayOutControlArea(hop_, blob_);
  ASSERT_TRUE(bound);
  const auto built = BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_);
  ASSERT_TRUE(built) << static_cast<int>(built.error().code) << " " << built.error().value;
  EXPECT_EQ(built->stack, 32768U);
  EXPECT_EQ(built->handoff, 32768U + relocator::kMinStackSize);
  EXPECT_EQ(built->tables, built->handoff + 4096);
  EXPECT_LE(built->table_bytes, bound->table_bytes);
  EXPECT_EQ(built->size, built->tables + built->table_bytes);
}

// The control area anywhere: its tables never exceed what was counted without its address.
TEST_F(ControlAreaTest, FitsItsBoundAtEveryAddress) {
  for (const uint32_t granule_shift : {12U, 14U, 16U}) {
    for (const uint32_t va_bits : {39U, 42U, 48U}) {
      hop_.granule_shift = granule_shift;
      hop_.va_bits = va_bits;
      arena_ = {{0x4020'0000, 0x260'0000}, {0x47e0'0000, 0x1'0000}};
      hop_.arena = arena_;
      for (uint64_t base = 0x3ffe'0000; base < 0x4020'0000; base += 0x1'0000) {
        const auto bound = LayOutControlArea(hop_, blob_);
        ASSERT_TRUE(bound);
        if (base + bound->size > 0x4020'0000) continue;
        const auto built = BuildControlArea(hop_, blob_, PhysAddr{base}, memory_);
        ASSERT_TRUE(built) << granule_shift << " " << va_bits << " " << base;
        EXPECT_LE(built->table_bytes, bound->table_bytes);
      }
    }
  }
}

TEST_F(ControlAreaTest, PatchesTheBlobAndPassesTheRelocatorsChecks) {
  const auto built = BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_);
  ASSERT_TRUE(built);
  relocator::BlobHeader header;
  memcpy(&header, memory_.data(), sizeof(header));
  EXPECT_EQ(header.parameters.handoff_offset, built->handoff);
  EXPECT_EQ(header.parameters.stack_offset, built->stack);
  EXPECT_EQ(header.parameters.stack_size, relocator::kMinStackSize);
  EXPECT_EQ(header.parameters.last_words.uart_base, 0x900'0000U);
  EXPECT_EQ(header.parameters.last_words.check, LastWordsCheck(header.parameters.last_words));
  const handoff::View view(memory_.data() + built->handoff);
  EXPECT_EQ(view.arena().size(), 2U);
  EXPECT_EQ(view.arena()[1].start, 0x47e0'0000U);
  EXPECT_EQ(view.verify()[1].first_digest, 2U);
  EXPECT_EQ(view.header().digests.count, 3U);
}

TEST_F(ControlAreaTest, MapsExactlyWhatTheHopTouches) {
  const auto built = BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_);
  ASSERT_TRUE(built);
  const handoff::View view(memory_.data() + built->handoff);
  const handoff::Translation& t = view.header().translation;
  arm64::PageTableWalker walker(
      [&](uint64_t pa) {
        uint64_t word = 0;
        memcpy(&word, memory_.data() + (pa - kBase), sizeof(word));
        return word;
      },
      t.root, t.granule_shift, t.va_bits);
  uint64_t bytes = 0;
  const auto walked = walker.ForEachLeaf([&](const arm64::WalkLeaf& leaf) {
    EXPECT_EQ(leaf.va, leaf.pa);
    const bool control = leaf.pa >= kBase && leaf.pa < kBase + built->tables;
    const bool executable = !leaf.attributes.pxn;
    EXPECT_EQ(executable, leaf.pa >= kBase && leaf.pa < kBase + built->stack);
    const bool read_only = (leaf.attributes.ap & 2) != 0;
    const bool writable =
        !control || (leaf.pa >= kBase + built->stack && leaf.pa < kBase + built->handoff);
    EXPECT_EQ(read_only, !writable) << std::hex << leaf.pa;
    bytes += leaf.size;
  });
  ASSERT_TRUE(walked);
  EXPECT_EQ(bytes, 0x260'0000 + 0x5000 + built->tables);
}

TEST_F(ControlAreaTest, RefusesWhatIsNoBlob) {
  blob_[4] = std::byte{0};
  EXPECT_EQ(LayOutControlArea(hop_, blob_).error().code, ErrorCode::kInvalidArgument);
  blob_ = FakeBlob(30'000);
  blob_.pop_back();
  EXPECT_EQ(LayOutControlArea(hop_, blob_).error().code, ErrorCode::kInvalidArgument);
  // entry.S would not find its stack.
  blob_ = FakeBlob(relocator::kBlobLimit);
  EXPECT_EQ(LayOutControlArea(hop_, blob_).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(LayOutControlArea(hop_, {}));
}

TEST_F(ControlAreaTest, RefusesTooLittleMemory) {
  const auto bound = LayOutControlArea(hop_, blob_);
  memory_.resize(bound->size - 1);
  EXPECT_EQ(BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_).error().code,
            ErrorCode::kOutOfMemory);
}

TEST_F(ControlAreaTest, RefusesAnUnalignedBase) {
  EXPECT_EQ(BuildControlArea(hop_, blob_, PhysAddr{kBase + 64}, memory_).error().code,
            ErrorCode::kNotAligned);
}

TEST_F(ControlAreaTest, RefusesAnAreaWithinTheArena) {
  const auto built = BuildControlArea(hop_, blob_, PhysAddr{0x4100'0000}, memory_);
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, ErrorCode::kOverlap);
}

TEST_F(ControlAreaTest, RefusesAHopThatTheRelocatorWouldRefuse) {
  hop_.entry = {0x1000};
  EXPECT_EQ(BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_).error(),
            (Error{ErrorCode::kInvalidArgument, static_cast<uint64_t>(FailureCode::kEntry)}));
}

TEST_F(ControlAreaTest, WithoutMmuHasNoTables) {
  hop_.mmu = false;
  const auto built = BuildControlArea(hop_, blob_, PhysAddr{kBase}, memory_);
  ASSERT_TRUE(built);
  EXPECT_EQ(built->table_bytes, 0U);
  EXPECT_FALSE(handoff::View(memory_.data() + built->handoff).mmu());
}

}  // namespace
}  // namespace khop::plan
