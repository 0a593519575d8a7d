// SPDX-License-Identifier: MIT
#include "core/arm64/geometry.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace khop::arm64 {
namespace {

// Bad geometries do not compile.
template <unsigned kGranuleShift, unsigned kVaBits>
concept Compiles = requires {
  typename std::bool_constant<(PageGeometry::Static(kGranuleShift, kVaBits).va_bits() > 0)>;
};
static_assert(Compiles<12, 48> && Compiles<14, 47> && Compiles<16, 25>);
static_assert(!Compiles<13, 48> && !Compiles<0, 48> && !Compiles<12, 49> && !Compiles<12, 24>);

struct Row {
  unsigned granule_shift;
  unsigned va_bits;
  int start_level;
  uint64_t first_table_entries;
};

// From the tables of initial lookup levels in Arm ARM D8.2.
TEST(Geometry, StartsAtTheLevelThatTheArmArmTabulates) {
  const Row rows[] = {
      {12, 48, 0, 512},  {12, 42, 0, 8},    {12, 40, 0, 2},   {12, 39, 1, 512},  {12, 36, 1, 64},
      {12, 31, 1, 2},    {12, 30, 2, 512},  {12, 25, 2, 16},  {14, 48, 0, 2},    {14, 47, 1, 2048},
      {14, 42, 1, 64},   {14, 39, 1, 8},    {14, 37, 1, 2},   {14, 36, 2, 2048}, {14, 26, 2, 2},
      {14, 25, 3, 2048}, {16, 48, 1, 64},   {16, 43, 1, 2},   {16, 42, 2, 8192}, {16, 39, 2, 1024},
      {16, 30, 2, 2},    {16, 29, 3, 8192}, {16, 25, 3, 512},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message() << row.granule_shift << "/" << row.va_bits);
    const auto geometry = PageGeometry::Make(row.granule_shift, row.va_bits);
    ASSERT_TRUE(geometry);
    EXPECT_EQ(geometry->start_level(), row.start_level);
    EXPECT_EQ(geometry->entries(row.start_level), row.first_table_entries);
  }
}

TEST(Geometry, LevelsResolveAllBitsOnce) {
  for (const unsigned granule_shift : {12U, 14U, 16U}) {
    for (unsigned va_bits = PageGeometry::kMinVaBits; va_bits <= PageGeometry::kMaxVaBits;
         ++va_bits) {
      const auto geometry = PageGeometry::Make(granule_shift, va_bits);
      ASSERT_TRUE(geometry);
      unsigned bits = geometry->granule_shift();
      for (int level = PageGeometry::kLastLevel; level >= geometry->start_level(); --level) {
        EXPECT_EQ(geometry->level_shift(level), bits);
        EXPECT_GE(geometry->index_bits(level), 1U);
        EXPECT_LE(geometry->index_bits(level), geometry->bits_per_level());
        bits += geometry->index_bits(level);
        // The last address has the last index everywhere.
        EXPECT_EQ(geometry->index({geometry->va_size() - 1}, level), geometry->entries(level) - 1);
        EXPECT_EQ(geometry->index({0}, level), 0U);
      }
      EXPECT_EQ(bits, va_bits);
      EXPECT_EQ(geometry->t0sz() + va_bits, 64U);
    }
  }
}

TEST(Geometry, LeavesAndContiguousGroups) {
  constexpr uint64_t kKiB = 1024;
  constexpr uint64_t kMiB = 1024 * kKiB;
  constexpr uint64_t kGiB = 1024 * kMiB;
  const auto k4 = PageGeometry::Static(12, 48);
  EXPECT_FALSE(k4.is_leaf_level(0));
  EXPECT_EQ(k4.contiguous_span(1), 16 * kGiB);
  EXPECT_EQ(k4.contiguous_span(2), 32 * kMiB);
  EXPECT_EQ(k4.contiguous_span(3), 64 * kKiB);
  const auto k16 = PageGeometry::Static(14, 48);
  EXPECT_FALSE(k16.is_leaf_level(0));
  EXPECT_FALSE(k16.is_leaf_level(1));
  EXPECT_EQ(k16.contiguous_span(2), 1 * kGiB);
  EXPECT_EQ(k16.contiguous_span(3), 2 * kMiB);
  const auto k64 = PageGeometry::Static(16, 48);
  EXPECT_FALSE(k64.is_leaf_level(1));
  EXPECT_EQ(k64.contiguous_span(2), 16 * kGiB);
  EXPECT_EQ(k64.contiguous_span(3), 2 * kMiB);
  EXPECT_EQ(k64.contiguous_entries(1), 1U);
  // 33 bits: the first table has 8 entries, half a group.
  EXPECT_EQ(PageGeometry::Static(12, 33).contiguous_entries(1), 1U);
  EXPECT_EQ(PageGeometry::Static(12, 34).contiguous_entries(1), 16U);
}

TEST(Geometry, RefusesWhatTheArchitectureDoesNotHave) {
  EXPECT_EQ(PageGeometry::Make(13, 48).error(), (Error{ErrorCode::kInvalidArgument, 13}));
  EXPECT_EQ(PageGeometry::Make(0, 48).error(), (Error{ErrorCode::kInvalidArgument, 0}));
  EXPECT_EQ(PageGeometry::Make(268, 48).error(), (Error{ErrorCode::kInvalidArgument, 268}));
  EXPECT_EQ(PageGeometry::Make(12, 24).error(), (Error{ErrorCode::kInvalidArgument, 24}));
  EXPECT_EQ(PageGeometry::Make(16, 52).error(), (Error{ErrorCode::kInvalidArgument, 52}));
}

}  // namespace
}  // namespace khop::arm64
