// SPDX-License-Identifier: MIT
#include "tool/load/arena.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "tool/load/placement.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = system::kHugePageSize;
constexpr uint64_t kBase = 0x50000000;

Result<void> NoJournal(const PoolRecords& /*pools*/) { return {}; }

class ArenaTest : public testing::Test {
 protected:
  ArenaTest() : map_(system::ReadMemoryMap(machine_.system).value()) {}

  Result<Arena> Create(const std::vector<uint64_t>& runs, uint64_t transient = 64 * kPage) {
    return Arena::Create(
        machine_.system, map_,
        {.slot = 0, .run_pages = runs, .forbidden = forbidden_, .transient_limit = transient},
        NoJournal);
  }
  void SetFree(const std::vector<uint64_t>& numbers) {
    machine_.system.free_pages.clear();
    for (const uint64_t n : numbers) machine_.system.free_pages.push_back(kBase + n * kPage);
  }

  TestMachine machine_;
  system::FakeSystem& system_ = machine_.system;
  system::MemoryMap map_;
  std::vector<PhysRange> forbidden_;
};

TEST_F(ArenaTest, HoldsJustWhatIsWanted) {
  const auto before = machine_.Look();
  {
    const auto arena = Create({3, 2});
    ASSERT_TRUE(arena) << arena.error().message;
    EXPECT_EQ(system_.PagesInUse(), 5U);
    EXPECT_EQ(system_.pool_persistent, 0U);
    EXPECT_EQ(system_.pool_surplus(), 5U);
    EXPECT_EQ(arena->record().Pages().at(0).count, 5U);
    EXPECT_EQ(arena->runs().size(), 2U);
  }
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(ArenaTest, SearchesUntilThereIsARunAndGivesTheRestBack) {
  SetFree({0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21, 22, 24, 26, 28, 30});
  const auto arena = Create({3});
  ASSERT_TRUE(arena) << arena.error().message;
  EXPECT_EQ(arena->runs()[0].value, kBase + 20 * kPage);
  EXPECT_EQ(system_.PagesInUse(), 3U);
  EXPECT_EQ(system_.free_pages.size(), 14U);
  // Each page is where the record says.
  for (const Extent& extent : arena->extents()) {
    EXPECT_TRUE(extent.in_place());
    for (uint64_t at = 0; at < extent.size; at += kPage) {
      arena->At({extent.address + at, 1})[0] = std::byte{7};
      EXPECT_EQ(*system_.PhysicalBytes(extent.address.value + at), std::byte{7});
    }
  }
}

TEST_F(ArenaTest, KeepsToTheTransientLimit) {
  std::vector<uint64_t> numbers;
  for (uint64_t n = 0; n < 60; n += 2) numbers.push_back(n);
  numbers.push_back(61);
  numbers.push_back(62);
  SetFree(numbers);
  const auto before = machine_.Look();
  const auto arena = Create({2}, 20 * kPage);
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().code, ExitCode::kNoContiguousMemory);
  EXPECT_EQ(machine_.Look(), before);
  EXPECT_TRUE(Create({2}, 40 * kPage));
}

TEST_F(ArenaTest, TooLittleMemory) {
  SetFree({0, 1, 2});
  const auto before = machine_.Look();
  const auto arena = Create({4});
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().code, ExitCode::kNoContiguousMemory);
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(ArenaTest, LeavesAnAdministratorsPoolAlone) {
  system_.SetPool(5);
  const auto before = machine_.Look();
  {
    const auto arena = Create({4});
    ASSERT_TRUE(arena);
    EXPECT_EQ(system_.pool_free(), 5U);
    EXPECT_EQ(system_.pool_total(), 9U);
  }
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(ArenaTest, UsesNoPageThatIsReserved) {
  // The first pages lie in a nested entry of /proc/iomem (CMA, say), the next are forbidden.
  system_.SetFile("/proc/iomem",
                  "40000000-7fffffff : System RAM\n  50000000-505fffff : reserved\n");
  map_ = system::ReadMemoryMap(system_).value();
  forbidden_ = {{PhysAddr{kBase + 4 * kPage - 1}, 2}};
  const auto arena = Create({4});
  ASSERT_TRUE(arena);
  EXPECT_EQ(arena->runs()[0].value, kBase + 5 * kPage);
}

class GatherArenaTest : public ArenaTest {
 protected:
  static constexpr uint64_t kBasePage = 4096;

  GatherArenaTest() {
    SetFree({});
    for (uint64_t page = 0; page < 1200; ++page) {
      system_.base_pages.push_back(kBase + page * kBasePage);
    }
  }

  // Of base pages.
  struct Want {
    uint64_t pages = 0;
    uint64_t extra = 0;
    uint64_t extra_for_huge = 0;
    bool insist = false;
  };
  Result<Arena> Gather(const Want& want) {
    return Arena::Gather(machine_.system, map_,
                         {.slot = 0,
                          .bytes = want.pages * kBasePage,
                          .extra = want.extra * kBasePage,
                          .extra_for_huge = want.extra_for_huge * kBasePage,
                          .insist = want.insist,
                          .forbidden = forbidden_,
                          .transient_limit = uint64_t{1} << 20,
                          .before_base_pages = [] { return Result<void>(); }},
                         NoJournal);
  }
  // The base pages that it takes, refused ones too.
  uint64_t Taken(const Want& want) {
    const auto arena = Gather(want);
    if (!arena) {
      ADD_FAILURE() << arena.error().message;
      return 0;
    }
    uint64_t bytes = 0;
    for (const ArenaSegment& segment : arena->record().segments) {
      if (segment.base) bytes += segment.size;
    }
    return bytes / kBasePage;
  }
};

// Pages that are refused are held until the end: what was to be chosen from shrinks by them, so
// that no more is taken in all.
TEST_F(GatherArenaTest, WhatIsRefusedIsPartOfTheChoice) {
  for (uint64_t page = 0; page < 1200; page += 10) {
    forbidden_.push_back({PhysAddr{kBase + page * kBasePage}, 1});
  }
  const auto before = machine_.Look();
  // Of 100 are 10 refused, so 10 more are needed, and as many may be refused again.
  EXPECT_EQ(Taken({.pages = 100}), 120U);
  EXPECT_EQ(Taken({.pages = 100, .extra = 5}), 117U);  // 11 of 105
  EXPECT_EQ(Taken({.pages = 100, .extra = 20}), 120U);
  EXPECT_EQ(Taken({.pages = 100, .extra = 50}), 150U);
  EXPECT_EQ(Taken({.pages = 100, .extra = 50, .insist = true}), 180U);
  EXPECT_EQ(machine_.Look(), before);
}

// A hundred of them come first, and three pages are needed.
TEST_F(GatherArenaTest, ManyThatAreRefusedAreNoReasonToFail) {
  forbidden_ = {{PhysAddr{kBase}, 100 * kBasePage}};
  EXPECT_TRUE(Gather({.pages = 3}));
}

TEST_F(GatherArenaTest, BasePagesToGiveUpHugeOnesForAreNoMoreThanThose) {
  EXPECT_EQ(Taken({.pages = 100, .extra = 20, .extra_for_huge = 30}), 120U);
  SetFree({4});
  EXPECT_EQ(Taken({.pages = 512 + 100, .extra = 20, .extra_for_huge = 30}), 150U);
}

TEST_F(GatherArenaTest, APoolWhosePagesCannotBeUsedGivesThemBack) {
  SetFree({4, 5});
  int without = 0;
  for (int call = 0;; ++call) {
    system_.NewProcess();
    system_.fail_call = call;
    system_.fail_error = ENOMEM;
    const auto arena = Gather({.pages = 2 * 512 + 100});
    if (system_.calls <= call) break;
    if (!arena || system_.PagesInUse() != 0) continue;
    ++without;
    EXPECT_EQ(system_.pool_total(), 0U) << "call " << call << " " << system_.failed;
  }
  EXPECT_GT(without, 1);
}

TEST_F(ArenaTest, OpensAgainAndNoticesWhatChanged) {
  ArenaRecord record;
  {
    auto arena = Create({3});
    ASSERT_TRUE(arena);
    memset(arena->At({arena->runs()[0] + kPage, kPage}).data(), 0x42, kPage);
    arena->Keep();
    record = arena->record();
  }
  system_.NewProcess();
  EXPECT_EQ(system_.PagesInUse(), 3U);
  {
    const auto arena = Arena::Open(system_, record);
    ASSERT_TRUE(arena) << arena.error().message;
    EXPECT_EQ(arena->At({PhysAddr{kBase + kPage + 5}, 1})[0], std::byte{0x42});
  }
  system_.Migrate(kBase + kPage, kBase + 40 * kPage);
  EXPECT_EQ(Arena::Open(system_, record).error().code, ExitCode::kArenaGone);
  system_.Migrate(kBase + 40 * kPage, kBase + kPage);
  EXPECT_TRUE(Arena::Open(system_, record));
  system_.RemoveSegment(SegmentKey(0, 0));
  EXPECT_EQ(Arena::Open(system_, record).error().code, ExitCode::kArenaGone);
  // Somebody else's segment under the same key is not ours.
  system_.SetPool(3);
  ASSERT_TRUE(system_.ShmCreate(SegmentKey(0, 0), 3 * kPage, kPage));
  EXPECT_EQ(Arena::Open(system_, record).error().code, ExitCode::kArenaGone);
}

// Every call fails in turn: nothing stays behind. A failure that hits the clean-up itself cannot be
// cleaned up by the same process; the journal's turn is tested in load_test.cc.
TEST_F(ArenaTest, EveryFailureLeavesNothing) {
  SetFree({0, 2, 4, 6, 8, 9, 10, 12});
  const auto before = machine_.Look();
  int failures = 0;
  for (int call = 0;; ++call) {
    system_.NewProcess();
    system_.fail_call = call;
    system_.fail_error = ENOMEM;
    const auto arena = Create({2, 1});
    const bool reached = system_.calls > call;
    if (!reached) {
      EXPECT_TRUE(arena);
      break;
    }
    if (!arena) {
      ++failures;
      EXPECT_EQ(machine_.Look(), before) << "call " << call << ": " << arena.error().message;
    }
  }
  EXPECT_GT(failures, 20);
}

}  // namespace
}  // namespace khop::load
