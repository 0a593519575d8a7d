// SPDX-License-Identifier: MIT
#include "tool/load/extents.h"

#include <gtest/gtest.h>

#include <random>

#include "tool/load/ranges.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;

Extent Page(uint64_t offset, uint64_t address, uint64_t destination, uint32_t segment = 0) {
  return {offset * kPage, kPage, PhysAddr{address * kPage}, PhysAddr{destination * kPage}, segment};
}

PhysRange Pages(uint64_t start, uint64_t count) { return {PhysAddr{start * kPage}, count * kPage}; }

TEST(ExtentsTest, RunsAreJoined) {
  std::vector<Extent> extents;
  Append(extents, Page(0, 10, 20));
  Append(extents, Page(1, 11, 21));
  EXPECT_EQ(extents.size(), 1U);
  Append(extents, Page(2, 12, 23));     // elsewhere
  Append(extents, Page(3, 14, 24));     // from elsewhere
  Append(extents, Page(5, 15, 25));     // not in the segment's order
  Append(extents, Page(6, 16, 26, 1));  // of another segment
  EXPECT_EQ(extents.size(), 5U);
  std::vector<Extent> shuffled = {Page(2, 12, 22), Page(0, 10, 20), Page(1, 11, 21)};
  SortByDestination(shuffled);
  EXPECT_EQ(shuffled, (std::vector<Extent>{{0, 3 * kPage, {10 * kPage}, {20 * kPage}, 0}}));
  EXPECT_EQ(Addresses(std::vector<Extent>{Page(0, 7, 1), Page(1, 3, 2), Page(2, 6, 3)}),
            (Ranges{Pages(3, 1), Pages(6, 2)}));
}

TEST(ExtentsTest, TheStateHoldsThemInLittleSpace) {
  std::mt19937_64 random(3);
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < 20'000; ++i) {
    extents.push_back(Page((i * 7919) % 20'000, 0x40000 + random() % 100'000, 0x80000 + i,
                           static_cast<uint32_t>(i % 3)));
  }
  const std::string text = EncodeExtents(extents);
  EXPECT_LT(text.size(), extents.size() * 20);
  const auto back = DecodeExtents(text);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, extents);
  EXPECT_TRUE(DecodeExtents("").value().empty());
}

TEST(ExtentsTest, DamageIsSeen) {
  for (const char* const text :
       {";", "0,0,0,0,", "0,0,0,0;1", ",,,,;", ",,,,-1;", "-1,,,,1;", "g,,,,1;", "1?,,,,1;",
        ",-1,,,1;", ",,-1,,1;", ",,,-1,1;", ",,,,zzzzzzzzzzzzzzzzzzzz;", ",,zzzzzzzzzzz,,1;",
        ",,,,1;x", "!,,,,1;"}) {
    const auto extents = DecodeExtents(text);
    ASSERT_FALSE(extents) << text;
    EXPECT_EQ(extents.error().code, ExitCode::kBadState);
  }
}

TEST(RangesTest, SetsOfRanges) {
  const Ranges some = {Pages(0, 4), Pages(6, 2), Pages(10, 10)};
  EXPECT_EQ(Without(some, {}), some);
  EXPECT_EQ(Without(some, Ranges{Pages(1, 1), Pages(3, 8), Pages(12, 1), Pages(19, 5)}),
            (Ranges{Pages(0, 1), Pages(2, 1), Pages(11, 1), Pages(13, 6)}));
  EXPECT_EQ(InBoth(some, Ranges{Pages(3, 4), Pages(15, 100)}),
            (Ranges{Pages(3, 1), Pages(6, 1), Pages(15, 5)}));
  EXPECT_EQ(Joined({Pages(8, 1), Pages(3, 0), Pages(4, 4)}), (Ranges{Pages(4, 5)}));
  EXPECT_EQ(TotalSize(some), 16 * kPage);
}

// Against a bitmap.
TEST(RangesTest, AnyRanges) {
  std::mt19937 random(1);
  const auto make = [&](std::vector<bool>& bits) {
    Ranges ranges;
    for (size_t i = 0; i < bits.size(); ++i) {
      bits[i] = random() % 2 == 0;
      if (bits[i]) ranges.push_back(Pages(i, 1));
    }
    return Joined(std::move(ranges));
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<bool> a(40);
    std::vector<bool> b(40);
    const Ranges in_a = make(a);
    const Ranges in_b = make(b);
    Ranges without;
    Ranges both;
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] && !b[i]) without.push_back(Pages(i, 1));
      if (a[i] && b[i]) both.push_back(Pages(i, 1));
    }
    EXPECT_EQ(Joined(Without(in_a, in_b)), Joined(without));
    EXPECT_EQ(Joined(InBoth(in_a, in_b)), Joined(both));
  }
}

}  // namespace
}  // namespace khop::load
