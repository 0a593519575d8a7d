// SPDX-License-Identifier: MIT
#include "core/base/range_set.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

namespace khop {
namespace {

constexpr PhysRange R(uint64_t start, uint64_t end) { return {{start}, end - start}; }

std::vector<PhysRange> List(const RangeSet& set) { return {set.begin(), set.end()}; }
using Ranges = std::vector<PhysRange>;

class RangeSetTest : public testing::Test {
 protected:
  RangeSetTest() {
    EXPECT_TRUE(set_.Add(R(10, 20)));
    EXPECT_TRUE(set_.Add(R(30, 40)));
    EXPECT_TRUE(set_.Add(R(50, 60)));
  }

  std::array<PhysRange, 4> storage_;
  RangeSet set_{storage_};
};

TEST_F(RangeSetTest, AddMerges) {
  struct Row {
    PhysRange added;
    Ranges after;
  };
  const Row rows[] = {
      {R(0, 5), {R(0, 5), R(10, 20), R(30, 40), R(50, 60)}},
      {R(70, 80), {R(10, 20), R(30, 40), R(50, 60), R(70, 80)}},
      {R(22, 28), {R(10, 20), R(22, 28), R(30, 40), R(50, 60)}},
      {R(0, 10), {R(0, 20), R(30, 40), R(50, 60)}},    // touches the first
      {R(60, 61), {R(10, 20), R(30, 40), R(50, 61)}},  // touches the last
      {R(20, 30), {R(10, 40), R(50, 60)}},             // joins two
      {R(15, 55), {R(10, 60)}},                        // joins all
      {R(0, 100), {R(0, 100)}},                        // covers all
      {R(12, 18), {R(10, 20), R(30, 40), R(50, 60)}},  // is there
      {R(10, 20), {R(10, 20), R(30, 40), R(50, 60)}},
      {R(25, 25), {R(10, 20), R(30, 40), R(50, 60)}},  // is empty
      {R(25, 50), {R(10, 20), R(25, 60)}},
  };
  for (const Row& row : rows) {
    const auto storage = storage_;
    RangeSet set = set_;
    ASSERT_TRUE(set.Add(row.added));
    EXPECT_EQ(List(set), row.after);
    storage_ = storage;
  }
}

TEST_F(RangeSetTest, RemoveSplits) {
  struct Row {
    PhysRange removed;
    Ranges after;
  };
  const Row rows[] = {
      {R(0, 10), {R(10, 20), R(30, 40), R(50, 60)}},  // not there
      {R(20, 30), {R(10, 20), R(30, 40), R(50, 60)}},
      {R(60, 90), {R(10, 20), R(30, 40), R(50, 60)}},
      {R(15, 15), {R(10, 20), R(30, 40), R(50, 60)}},  // is empty
      {R(32, 38), {R(10, 20), R(30, 32), R(38, 40), R(50, 60)}},
      {R(10, 15), {R(15, 20), R(30, 40), R(50, 60)}},
      {R(15, 20), {R(10, 15), R(30, 40), R(50, 60)}},
      {R(30, 40), {R(10, 20), R(50, 60)}},
      {R(15, 55), {R(10, 15), R(55, 60)}},
      {R(0, 100), {}},
      {R(25, 100), {R(10, 20)}},
  };
  for (const Row& row : rows) {
    const auto storage = storage_;
    RangeSet set = set_;
    ASSERT_TRUE(set.Remove(row.removed));
    EXPECT_EQ(List(set), row.after);
    storage_ = storage;
  }
}

TEST_F(RangeSetTest, Questions) {
  EXPECT_TRUE(set_.Contains(PhysAddr{10}));
  EXPECT_TRUE(set_.Contains(PhysAddr{19}));
  EXPECT_FALSE(set_.Contains(PhysAddr{20}));
  EXPECT_FALSE(set_.Contains(PhysAddr{9}));
  EXPECT_TRUE(set_.Contains(R(30, 40)));
  EXPECT_FALSE(set_.Contains(R(30, 41)));
  EXPECT_FALSE(set_.Contains(R(15, 35)));
  EXPECT_TRUE(set_.Contains(R(25, 25)));
  EXPECT_TRUE(set_.Overlaps(R(15, 35)));
  EXPECT_TRUE(set_.Overlaps(R(0, 11)));
  EXPECT_FALSE(set_.Overlaps(R(0, 10)));
  EXPECT_FALSE(set_.Overlaps(R(40, 50)));
  EXPECT_FALSE(set_.Overlaps(R(15, 15)));
  EXPECT_EQ(set_.total_bytes(), 30U);
  EXPECT_EQ(set_.size(), 3U);
  set_.Clear();
  EXPECT_TRUE(set_.empty());
  EXPECT_FALSE(set_.Overlaps(R(0, 100)));
}

TEST_F(RangeSetTest, RunsOutOfSpaceAndStaysAsItWas) {
  ASSERT_TRUE(set_.Add(R(70, 80)));
  const Ranges before = List(set_);
  EXPECT_EQ(set_.Add(R(90, 91)).error(), (Error{ErrorCode::kOutOfMemory, 4}));
  EXPECT_EQ(set_.Remove(R(32, 33)).error(), (Error{ErrorCode::kOutOfMemory, 4}));
  EXPECT_EQ(List(set_), before);
  // What needs no more space still works.
  EXPECT_TRUE(set_.Add(R(65, 70)));
  EXPECT_TRUE(set_.Remove(R(30, 35)));
}

TEST_F(RangeSetTest, TheEndsOfTheAddressSpace) {
  constexpr uint64_t kMax = ~uint64_t{0};
  EXPECT_EQ(set_.Add({{kMax}, 2}).error(), (Error{ErrorCode::kInvalidArgument, kMax}));
  EXPECT_EQ(set_.Remove({{2}, kMax}).error(), (Error{ErrorCode::kInvalidArgument, 2}));
  EXPECT_FALSE(set_.Contains(PhysRange{{15}, kMax}));
  ASSERT_TRUE(set_.Add(R(kMax - 10, kMax)));
  EXPECT_TRUE(set_.Contains(R(kMax - 10, kMax)));
  ASSERT_TRUE(set_.Add(R(0, kMax)));
  EXPECT_EQ(List(set_), (Ranges{R(0, kMax)}));
}

TEST(RangeSet, IsConstexpr) {
  constexpr uint64_t kTotal = [] {
    std::array<PhysRange, 3> storage;
    RangeSet set(storage);
    const bool ok = set.Add(R(0, 10)).has_value() && set.Remove(R(3, 5)).has_value();
    return ok ? set.total_bytes() : 0;
  }();
  static_assert(kTotal == 8);
}

// Against a bitmap of the same addresses.
TEST(RangeSet, BehavesAsABitmap) {
  constexpr uint64_t kAddresses = 96;
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    std::array<PhysRange, 12> storage;
    RangeSet set(storage);
    std::array<bool, kAddresses> model{};
    for (int step = 0; step < 60; ++step) {
      const uint64_t start = random() % kAddresses;
      const PhysRange range{{start}, random() % (kAddresses - start + 1) / (1 + random() % 8)};
      const bool add = random() % 2 == 0;
      auto next = model;
      for (uint64_t a = start; a < range.end().value; ++a) {
        next[a] = add;
      }
      Ranges expected;
      for (uint64_t a = 0; a < kAddresses; ++a) {
        if (next[a] && (a == 0 || !next[a - 1])) {
          expected.push_back({{a}, 0});
        }
        if (next[a]) {
          ++expected.back().size;
        }
      }
      const Ranges before = List(set);
      const auto done = add ? set.Add(range) : set.Remove(range);
      ASSERT_EQ(done.has_value(), expected.size() <= storage.size());
      ASSERT_EQ(List(set), done ? expected : before);
      model = done ? next : model;

      const uint64_t probe = random() % kAddresses;
      const PhysRange question{{probe}, random() % (kAddresses - probe + 1)};
      bool all = true;
      bool any = false;
      for (uint64_t a = probe; a < question.end().value; ++a) {
        all = all && model[a];
        any = any || model[a];
      }
      ASSERT_EQ(set.Contains(question), all);
      ASSERT_EQ(set.Overlaps(question), any);
    }
  }
}

}  // namespace
}  // namespace khop
