// SPDX-License-Identifier: MIT
// The walker against tables written out by hand.
#include "core/arm64/page_table_walker.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace khop::arm64 {
namespace {

using Memory = std::map<uint64_t, uint64_t>;

auto Reader(const Memory& memory) {
  return [&memory](uint64_t pa) -> uint64_t {
    const auto it = memory.find(pa);
    return it == memory.end() ? 0 : it->second;
  };
}

TEST(PageTableWalker, FourLevelsOf4K) {
  const Memory memory = {
      {0x10'0000 + 8 * 511, 0x10'1003},                            // L0[511]
      {0x10'1000 + 8 * 510, 0x10'2003},                            // L1[510]
      {0x10'2000 + 8 * 509, 0x10'3003},                            // L2[509]
      {0x10'3000 + 8 * 508, 0x1234'5000 | 0x0060'0000'0000'0783},  // L3[508]
      {0x10'2000 + 8 * 3, 0x4000'0701},                            // L2 block
      {0x10'1000 + 8 * 2, 0x8000'0705},                            // L1 block, Device
  };
  PageTableWalker walker(Reader(memory), 0x10'0000, 12, 48);
  const uint64_t page = 511ULL << 39 | 510ULL << 30 | 509ULL << 21 | 508ULL << 12;
  const auto leaf = walker.Translate(page + 0xabc);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->va, page);
  EXPECT_EQ(leaf->pa, 0x1234'5000U);
  EXPECT_EQ(leaf->size, 0x1000U);
  EXPECT_EQ(leaf->level, 3);
  EXPECT_EQ(leaf->attributes.ap, 2U);
  EXPECT_EQ(leaf->attributes.sh, 3U);
  EXPECT_TRUE(leaf->attributes.af && leaf->attributes.uxn && leaf->attributes.pxn);
  EXPECT_FALSE(leaf->attributes.contiguous || leaf->attributes.ng);

  const auto fault = walker.Translate(page + 0x1000);
  ASSERT_FALSE(fault);
  EXPECT_EQ(fault.error().kind, WalkFault::Kind::kTranslation);
  EXPECT_EQ(fault.error().level, 3);
  EXPECT_EQ(walker.Translate(0).error().level, 0);
  EXPECT_FALSE(walker.Translate(uint64_t{1} << 48));

  std::vector<uint64_t> found;
  ASSERT_TRUE(walker.ForEachLeaf([&](const WalkLeaf& l) { found.push_back(l.pa | l.size); }));
  EXPECT_EQ(found, (std::vector<uint64_t>{0x8000'0000 | 0x4000'0000, 0x4000'0000 | 0x20'0000,
                                          0x1234'5000 | 0x1000}));
}

TEST(PageTableWalker, ShortFirstTables) {
  // 16K, 48 bits: level 0 has two entries; 47 bits start at level 1.
  const Memory memory = {
      {0x10'0008, 0x10'4003}, {0x10'4000 + 8 * 5, 0x10'8003}, {0x10'8000 + 8 * 6, 0x4600'0701}};
  PageTableWalker walker(Reader(memory), 0x10'0000, 14, 48);
  const auto leaf = walker.Translate(1ULL << 47 | 5ULL << 36 | 6ULL << 25 | 0x1234);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->pa, 0x4600'0000U);
  EXPECT_EQ(leaf->size, 32U << 20);
  PageTableWalker lower(Reader(memory), 0x10'4000, 14, 47);
  EXPECT_TRUE(lower.Translate(5ULL << 36 | 6ULL << 25));
  // 64K, 42 bits: level 2 first.
  const Memory k64 = {{0x10'0000 + 8 * 8191, 0x2000'0701}};
  PageTableWalker last(Reader(k64), 0x10'0000, 16, 42);
  ASSERT_TRUE(last.Translate((1ULL << 42) - 1));
  EXPECT_EQ(last.Translate((1ULL << 42) - 1)->size, 512U << 20);
}

TEST(PageTableWalker, TablesRestrictWhatIsBelow) {
  const uint64_t restrict_all = 0xfULL << 59;
  const Memory memory = {
      {0x10'0000, 0x10'1003 | restrict_all}, {0x10'1000, 0x10'2003}, {0x10'2000, 0x4000'0741}};
  PageTableWalker walker(Reader(memory), 0x10'0000, 12, 48);
  const auto leaf = walker.Translate(0);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->attributes.ap, 2U);
  EXPECT_TRUE(leaf->attributes.pxn && leaf->attributes.uxn);
}

TEST(PageTableWalker, FindsReservedEncodings) {
  struct Row {
    unsigned granule_shift;
    unsigned va_bits;
    uint64_t first_entry;
  };
  const Row rows[] = {
      {12, 48, 0x701},                  // a 512 GiB block
      {14, 47, 0x701},                  // a 64 GiB block
      {16, 48, 0x701},                  // a 4 TiB block
      {12, 39, 0x4000'1701},            // a 1 GiB block with page bits
      {16, 42, 0x1000'0701},            // a 512 MiB block with address bits below
      {14, 25, 0x4000'0701},            // "block" at level 3
      {16, 25, 0x4000'1703},            // a 64K page with bits 15:12
      {14, 48, 0x10'1003},              // a table that is not aligned
      {12, 48, 0x0001'0000'0010'1003},  // a table beyond 48 bits
      {12, 39, 0x0001'0000'4000'0701},  // a block beyond 48 bits
  };
  for (const Row& row : rows) {
    const Memory memory = {{0x10'0000, row.first_entry}};
    PageTableWalker walker(Reader(memory), 0x10'0000, row.granule_shift, row.va_bits);
    const auto fault = walker.Translate(0);
    ASSERT_FALSE(fault) << std::hex << row.first_entry;
    EXPECT_EQ(fault.error().kind, WalkFault::Kind::kReserved) << std::hex << row.first_entry;
    EXPECT_FALSE(walker.ForEachLeaf([](const WalkLeaf&) {}));
  }
}

}  // namespace
}  // namespace khop::arm64
