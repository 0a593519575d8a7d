// SPDX-License-Identifier: MIT
#include "core/base/addr.h"

#include <gtest/gtest.h>

namespace khop {
namespace {

TEST(PhysRange, ContainsAndOverlapsUpToTheEndOfTheAddressSpace) {
  constexpr uint64_t kMax = ~uint64_t{0};
  const PhysRange range{{0x1000}, 0x1000};
  EXPECT_TRUE(range.Contains(PhysAddr{0x1000}));
  EXPECT_TRUE(range.Contains(PhysAddr{0x1fff}));
  EXPECT_FALSE(range.Contains(PhysAddr{0x2000}));
  EXPECT_TRUE(range.Contains(range));
  EXPECT_FALSE(range.Contains(PhysRange{{0x1800}, 0x1000}));
  EXPECT_FALSE(range.Contains(PhysRange{{0x1800}, kMax}));
  EXPECT_TRUE(range.Overlaps(PhysRange{{0x1fff}, 1}));
  EXPECT_FALSE(range.Overlaps(PhysRange{{0x2000}, 1}));
  EXPECT_FALSE(range.Overlaps(PhysRange{{0x1800}, 0}));
  EXPECT_TRUE((PhysRange{{kMax}, 0}).valid());
  EXPECT_FALSE((PhysRange{{kMax}, 2}).valid());
}

TEST(Align, PowersOfTwo) {
  EXPECT_EQ(AlignUp(0x1001, 0x1000), 0x2000U);
  EXPECT_EQ(AlignUp(0x1000, 0x1000), 0x1000U);
  EXPECT_EQ(AlignDown(0x1fff, 0x1000), 0x1000U);
  EXPECT_TRUE(IsAligned(0, 4096));
  EXPECT_FALSE(IsAligned(2048, 4096));
  EXPECT_TRUE(IsPowerOfTwo(1));
  EXPECT_FALSE(IsPowerOfTwo(0));
  EXPECT_FALSE(IsPowerOfTwo(6));
}

}  // namespace
}  // namespace khop
