// SPDX-License-Identifier: MIT
#include "core/arm64/descriptors.h"

#include <gtest/gtest.h>

namespace khop::arm64 {
namespace {

constexpr uint64_t kBoth54And53 = uint64_t{3} << 53;

// Written out by hand from Arm ARM D8.3.
TEST(Descriptors, LeavesEncodeAsTheArmArmSays) {
  // Page, RO+X: AttrIndx 0, AP 10, SH 11, AF.
  EXPECT_EQ(LeafDescriptor::To(3, {0x4020'3000}, Access::kExecute, MemoryType::kNormal).raw,
            0x4020'3783U);
  // Block, RW: AP 00, UXN and PXN.
  EXPECT_EQ(LeafDescriptor::To(2, {0x4020'0000}, Access::kReadWrite, MemoryType::kNormal).raw,
            0x4020'0701U | kBoth54And53);
  // Page, RO, Non-cacheable: AttrIndx 2.
  EXPECT_EQ(
      LeafDescriptor::To(3, {0xffff'ffff'f000}, Access::kReadOnly, MemoryType::kNormalNonCacheable)
          .raw,
      0xffff'ffff'f78bU | kBoth54And53);
  // Page, RW, Device: AttrIndx 1.
  EXPECT_EQ(LeafDescriptor::To(3, {0x900'0000}, Access::kReadWrite, MemoryType::kDevice).raw,
            0x900'0707U | kBoth54And53);
}

// What descriptors.h promises for the regimes, for every access and type.
TEST(Descriptors, MeanTheSameInEveryRegime) {
  for (const Access access : {Access::kReadOnly, Access::kReadWrite, Access::kExecute}) {
    for (const MemoryType type :
         {MemoryType::kNormal, MemoryType::kDevice, MemoryType::kNormalNonCacheable}) {
      for (const int level : {1, 2, 3}) {
        const auto leaf = LeafDescriptor::To(level, {uint64_t{1} << 40}, access, type);
        EXPECT_EQ(leaf.Get<LeafDescriptor::AP1>(), 0U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::AP2>(), access == Access::kReadWrite ? 0U : 1U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::UXN>(), access == Access::kExecute ? 0U : 1U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::PXN>(), leaf.Get<LeafDescriptor::UXN>());
        EXPECT_EQ(leaf.Get<LeafDescriptor::NG>(), 0U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::NS>(), 0U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::DBM>(), 0U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::AF>(), 1U);
        EXPECT_EQ(leaf.Get<LeafDescriptor::CONTIGUOUS>(), 0U);
        EXPECT_EQ(leaf.output(), PhysAddr{uint64_t{1} << 40});
      }
    }
  }
}

TEST(Descriptors, Tables) {
  const auto table = TableDescriptor::To({0x4321'0000});
  EXPECT_EQ(table.raw, 0x4321'0003U);
  EXPECT_EQ(table.table(), PhysAddr{0x4321'0000});
  EXPECT_TRUE(Descriptor::FromRaw(table.raw).is_table(0));
  EXPECT_TRUE(Descriptor::FromRaw(table.raw).is_table(2));
  // The same bits at level 3 are a page.
  EXPECT_FALSE(Descriptor::FromRaw(table.raw).is_table(3));
  EXPECT_FALSE(Descriptor::FromRaw(0x4000'0001).is_table(1));
  EXPECT_TRUE(Descriptor::FromRaw(0x4000'0001).valid());
  EXPECT_FALSE(Descriptor::FromRaw(0x4000'0002).valid());
}

TEST(BitField, GetsAndSetsOnlyItsBits) {
  using F = LeafDescriptor::SH;
  const auto all = LeafDescriptor::FromRaw(~uint64_t{0});
  EXPECT_EQ(all.With<F>(0).raw, ~uint64_t{0x300});
  EXPECT_EQ(LeafDescriptor{}.With<F>(7).raw, 0x300U);  // excess bits dropped
  EXPECT_EQ(all.With<F>(2).Get<F>(), 2U);
  EXPECT_EQ((BitField<LeafDescriptor, 63, 0>::kMask), ~uint64_t{0});
}

}  // namespace
}  // namespace khop::arm64
