// SPDX-License-Identifier: MIT
#include "core/arm64/page_table_builder.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/arm64/page_table_walker.h"

namespace khop::arm64 {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr PhysAddr kTables{0x7'1230'0000};

// A builder over `pages` pages of memory full of garbage.
struct Tables {
  Tables(PageGeometry geometry, uint64_t pages)
      : memory(pages * geometry.entries_per_table(), 0xaaaa'aaaa'aaaa'aaab),
        builder(*PageTableBuilder::Make(geometry, memory, kTables)) {}

  std::vector<WalkLeaf> Leaves() {
    auto read = [this](uint64_t pa) { return memory.at((pa - kTables.value) / 8); };
    const PageGeometry geometry = builder.geometry();
    PageTableWalker walker(read, builder.root().value, geometry.granule_shift(),
                           geometry.va_bits());
    std::vector<WalkLeaf> leaves;
    EXPECT_TRUE(walker.ForEachLeaf([&](const WalkLeaf& leaf) { leaves.push_back(leaf); }));
    return leaves;
  }

  std::vector<uint64_t> memory;
  PageTableBuilder builder;
};

Mapping Rw(uint64_t virt, uint64_t phys, uint64_t size) {
  return {.virt = {virt}, .phys = {phys}, .size = size, .access = Access::kReadWrite};
}

constexpr PageGeometry k4K = PageGeometry::Static(12, 48);

TEST(PageTableBuilder, EmptyTablesMapNothing) {
  Tables tables(k4K, 1);
  EXPECT_TRUE(tables.Leaves().empty());
  EXPECT_EQ(tables.builder.root(), kTables);
  EXPECT_EQ(tables.builder.pages_used(), 1U);
}

TEST(PageTableBuilder, OnePage) {
  Tables tables(k4K, 4);
  ASSERT_TRUE(tables.builder.Map({.virt = {0xffff'ffff'f000},
                                  .phys = {0xffff'ffff'f000},
                                  .size = 4096,
                                  .access = Access::kExecute}));
  const auto leaves = tables.Leaves();
  ASSERT_EQ(leaves.size(), 1U);
  EXPECT_EQ(leaves[0].va, 0xffff'ffff'f000U);
  EXPECT_EQ(leaves[0].pa, 0xffff'ffff'f000U);
  EXPECT_EQ(leaves[0].size, 4096U);
  EXPECT_EQ(leaves[0].attributes, (WalkAttributes{.attr_index = 0,
                                                  .ap = 2,
                                                  .sh = 3,
                                                  .af = true,
                                                  .ng = false,
                                                  .contiguous = false,
                                                  .pxn = false,
                                                  .uxn = false}));
  EXPECT_EQ(tables.builder.pages_used(), 4U);
}

// Per geometry, the leaves of one aligned mapping.
TEST(PageTableBuilder, UsesTheLargestBlocks) {
  struct Row {
    PageGeometry geometry;
    uint64_t size;
    uint64_t leaf_size;
    uint64_t pages;
  };
  const Row rows[] = {
      {PageGeometry::Static(12, 48), 3 * kGiB, kGiB, 2},
      {PageGeometry::Static(12, 39), 3 * kGiB, kGiB, 1},
      {PageGeometry::Static(12, 39), 6 * kMiB, 2 * kMiB, 2},
      {PageGeometry::Static(14, 48), 96 * kMiB, 32 * kMiB, 3},
      {PageGeometry::Static(14, 47), 96 * kMiB, 32 * kMiB, 2},
      {PageGeometry::Static(14, 36), 96 * kMiB, 32 * kMiB, 1},
      {PageGeometry::Static(16, 48), kGiB, 512 * kMiB, 2},
      {PageGeometry::Static(16, 42), kGiB, 512 * kMiB, 1},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message()
                 << row.geometry.granule_shift() << "/" << row.geometry.va_bits());
    Tables tables(row.geometry, row.pages);
    ASSERT_TRUE(tables.builder.Map(Rw(4 * kGiB, 8 * kGiB, row.size)));
    EXPECT_EQ(tables.builder.pages_used(), row.pages);
    uint64_t expected_va = 4 * kGiB;
    for (const WalkLeaf& leaf : tables.Leaves()) {
      EXPECT_EQ(leaf.va, expected_va);
      EXPECT_EQ(leaf.pa, expected_va + 4 * kGiB);
      EXPECT_EQ(leaf.size, row.leaf_size);
      expected_va += leaf.size;
    }
    EXPECT_EQ(expected_va, 4 * kGiB + row.size);
  }
}

TEST(PageTableBuilder, RampsUpToBlocksAndDownAgain) {
  Tables tables(k4K, 8);
  // 4 KiB before a 2 MiB boundary to 4 KiB after the next.
  ASSERT_TRUE(tables.builder.Map(Rw(2 * kMiB - 4096, 10 * kMiB - 4096, 2 * kMiB + 8192)));
  const auto leaves = tables.Leaves();
  ASSERT_EQ(leaves.size(), 3U);
  EXPECT_EQ(leaves[0].size, 4096U);
  EXPECT_EQ(leaves[1].size, 2 * kMiB);
  EXPECT_EQ(leaves[1].pa, 10 * kMiB);
  EXPECT_EQ(leaves[2].size, 4096U);
  EXPECT_EQ(tables.builder.pages_used(), 5U);
}

TEST(PageTableBuilder, NoBlockForAPageLess) {
  Tables tables(k4K, 4);
  ASSERT_TRUE(tables.builder.Map(Rw(4 * kMiB, 8 * kMiB, 2 * kMiB - 4096)));
  const auto leaves = tables.Leaves();
  ASSERT_EQ(leaves.size(), 511U);
  EXPECT_EQ(leaves.back().va, 6 * kMiB - 8192);
  EXPECT_EQ(leaves.back().size, 4096U);
}

TEST(PageTableBuilder, JoinsOnlyWholeAlignedGroups) {
  Tables tables(k4K, 8);
  // 15 pages, then 16 aligned, then 15: only the middle is a group.
  ASSERT_TRUE(tables.builder.Map(Rw(kMiB + 4096, 5 * kMiB + 4096, 46 * 4096)));
  for (const WalkLeaf& leaf : tables.Leaves()) {
    const bool in_group = leaf.va >= kMiB + 64 * kKiB && leaf.va < kMiB + 128 * kKiB;
    EXPECT_EQ(leaf.attributes.contiguous, in_group) << std::hex << leaf.va;
  }
  // Virtually aligned, physically not.
  ASSERT_TRUE(tables.builder.Map(Rw(16 * kMiB, 5 * kMiB + 4096, 32 * 4096)));
  for (const WalkLeaf& leaf : tables.Leaves()) {
    EXPECT_FALSE(leaf.va >= 16 * kMiB && leaf.attributes.contiguous);
  }
}

TEST(PageTableBuilder, MemoryTypesAndAccess) {
  Tables tables(k4K, 4);
  ASSERT_TRUE(tables.builder.Map({.virt = {0x900'0000},
                                  .phys = {0x900'0000},
                                  .size = 4096,
                                  .access = Access::kReadWrite,
                                  .type = MemoryType::kDevice}));
  ASSERT_TRUE(tables.builder.Map({.virt = {0x900'1000},
                                  .phys = {0x900'1000},
                                  .size = 4096,
                                  .access = Access::kReadOnly,
                                  .type = MemoryType::kNormalNonCacheable}));
  const auto leaves = tables.Leaves();
  ASSERT_EQ(leaves.size(), 2U);
  EXPECT_EQ(leaves[0].attributes.attr_index, 1U);
  EXPECT_EQ(leaves[0].attributes.ap, 0U);
  EXPECT_TRUE(leaves[0].attributes.pxn && leaves[0].attributes.uxn);
  EXPECT_EQ(leaves[1].attributes.attr_index, 2U);
  EXPECT_EQ(leaves[1].attributes.ap, 2U);
}

TEST(PageTableBuilder, RefusesBadMappings) {
  Tables tables(PageGeometry::Static(12, 39), 8);
  const uint64_t va_end = uint64_t{1} << 39;
  const uint64_t pa_end = uint64_t{1} << 48;
  struct Row {
    Mapping mapping;
    Error error;
  };
  const Row rows[] = {
      {Rw(0x1800, 0x1000, 0x1000), {ErrorCode::kNotAligned, 0x1800}},
      {Rw(0x1000, 0x1008, 0x1000), {ErrorCode::kNotAligned, 0x1008}},
      {Rw(0x1000, 0x1000, 0x1001), {ErrorCode::kNotAligned, 0x1001}},
      {Rw(0x1000, 0x1000, 0), {ErrorCode::kInvalidArgument, 0x1000}},
      {Rw(va_end, 0, 0x1000), {ErrorCode::kOutOfRange, va_end}},
      {Rw(va_end - 0x1000, 0, 0x2000), {ErrorCode::kOutOfRange, va_end - 0x1000}},
      {Rw(0, pa_end - 0x1000, 0x2000), {ErrorCode::kOutOfRange, pa_end - 0x1000}},
      {Rw(0, 0x1000, ~uint64_t{0xfff}), {ErrorCode::kOutOfRange, 0}},
      {Rw(~uint64_t{0xfff}, 0x1000, 0x2000), {ErrorCode::kOutOfRange, ~uint64_t{0xfff}}},
      {{.virt = {0x1000},
        .phys = {0},
        .size = 0x1000,
        .access = Access::kExecute,
        .type = MemoryType::kDevice},
       {ErrorCode::kInvalidArgument, 0x1000}},
  };
  for (const Row& row : rows) {
    const auto mapped = tables.builder.Map(row.mapping);
    ASSERT_FALSE(mapped);
    EXPECT_EQ(mapped.error(), row.error);
    EXPECT_EQ(PageTablePages(tables.builder.geometry(), {&row.mapping, 1}).error(), row.error);
    EXPECT_TRUE(tables.Leaves().empty());
    EXPECT_EQ(tables.builder.pages_used(), 1U);
  }
}

TEST(PageTableBuilder, RefusesOverlaps) {
  struct Row {
    Mapping first;
    Mapping second;
    uint64_t overlap;
  };
  const Row rows[] = {
      // The same page, even to the same place.
      {Rw(0x1000, 0x1000, 0x1000), Rw(0x1000, 0x1000, 0x1000), 0x1000},
      // The last page of a run.
      {Rw(0x5000, 0x1000, 0x1000), Rw(0x2000, 0x9000, 0x4000), 0x5000},
      // A page in a block, and a block over a page.
      {Rw(0, 0, 2 * kMiB), Rw(0x3000, 0x1000, 0x1000), 0x3000},
      {Rw(0x3000, 0x1000, 0x1000), Rw(0, 0, 2 * kMiB), 0},
      // A block over a table of blocks.
      {Rw(2 * kMiB, 0, 2 * kMiB), Rw(0, 0, kGiB), 0},
      {Rw(0, 0, kGiB), Rw(4 * kMiB, 0, 2 * kMiB), 4 * kMiB},
  };
  for (const Row& row : rows) {
    Tables tables(k4K, 8);
    ASSERT_TRUE(tables.builder.Map(row.first));
    const auto mapped = tables.builder.Map(row.second);
    ASSERT_FALSE(mapped);
    EXPECT_EQ(mapped.error(), (Error{ErrorCode::kOverlap, row.overlap}));
  }
}

TEST(PageTableBuilder, RunsOutOfMemory) {
  std::vector<uint64_t> memory(3 * 512 + 511);
  EXPECT_EQ(PageTableBuilder::Make(k4K, {memory.data(), 511}, kTables).error(),
            (Error{ErrorCode::kOutOfMemory, 0}));
  auto builder = PageTableBuilder::Make(k4K, memory, kTables);
  ASSERT_TRUE(builder);
  EXPECT_EQ(builder->Map(Rw(0, 0, 4096)).error(), (Error{ErrorCode::kOutOfMemory, 3}));
}

TEST(PageTableBuilder, RefusesABadPlaceForTables) {
  std::vector<uint64_t> memory(1024);
  EXPECT_EQ(PageTableBuilder::Make(k4K, memory, {0x800}).error(),
            (Error{ErrorCode::kNotAligned, 0x800}));
  EXPECT_EQ(PageTableBuilder::Make(k4K, memory, {0xffff'ffff'f000}).error(),
            (Error{ErrorCode::kOutOfRange, 0xffff'ffff'f000}));
  // 4K-aligned is not enough for 64K.
  EXPECT_EQ(PageTableBuilder::Make(PageGeometry::Static(16, 48), memory, {0x1000}).error(),
            (Error{ErrorCode::kNotAligned, 0x1000}));
}

// 1 GiB of scattered 4 KiB pages in one virtual run: 512 tables of pages, one above, the root and
// one between.
TEST(PageTableSizer, ScatteredPagesCostOneIn512) {
  PageTableSizer sizer(k4K);
  constexpr uint64_t kPages = kGiB / 4096;
  for (uint64_t i = 0; i < kPages; ++i) {
    const uint64_t scattered = (i * 40503 % kPages) * 8192;
    ASSERT_TRUE(sizer.Add(Rw(512 * kGiB + i * 4096, scattered, 4096)));
  }
  EXPECT_EQ(sizer.pages(), 512U + 3U);
}

}  // namespace
}  // namespace khop::arm64
