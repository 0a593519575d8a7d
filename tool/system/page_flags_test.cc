// SPDX-License-Identifier: MIT
#include "tool/system/page_flags.h"

#include <gtest/gtest.h>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBase = 0x40000000;

uint64_t Bit(int bit) { return uint64_t{1} << bit; }

TEST(PageFlagsTest, OnlyFreeAndReclaimablePages) {
  EXPECT_TRUE(MayBeOverwritten(Bit(10)));                                        // free
  EXPECT_TRUE(MayBeOverwritten(Bit(5)));                                         // page cache
  EXPECT_TRUE(MayBeOverwritten(Bit(5) | Bit(6) | Bit(11) | Bit(12) | Bit(14)));  // a process's
  EXPECT_FALSE(MayBeOverwritten(0));                                             // the kernel's own
  EXPECT_TRUE(MayBeOverwritten(Bit(11) | Bit(12)));  // a process's, not on a list yet
  EXPECT_TRUE(MayBeOverwritten(Bit(5) | Bit(18)));   // of a ramfs
  EXPECT_TRUE(MayBeOverwritten(Bit(26)));            // a page table
  for (const int never : {7, 8, 17, 19, 20, 23, 32, 33}) {
    EXPECT_FALSE(MayBeOverwritten(Bit(5) | Bit(never))) << never;
    EXPECT_FALSE(MayBeOverwritten(Bit(10) | Bit(never))) << never;
  }
}

class RangesTest : public testing::Test {
 protected:
  void Use(uint64_t page, uint64_t flags) { system_.page_flags[kBase + page * kPage] = flags; }
  static PhysRange Pages(uint64_t first, uint64_t count) {
    return {PhysAddr{kBase + first * kPage}, count * kPage};
  }
  FakeSystem system_;
};

TEST_F(RangesTest, OverwritableIsFreeOrOwned) {
  for (const uint64_t page : {3U, 4U, 9U, 20000U}) Use(page, 0);
  const std::vector<PhysRange> memory = {Pages(0, 12), Pages(19990, 20)};
  const std::vector<PhysRange> owned = {Pages(4, 1)};
  EXPECT_EQ(FindOverwritable(system_, memory, owned, kPage).value(),
            (std::vector<PhysRange>{Pages(0, 3), Pages(4, 5), Pages(10, 2), Pages(19990, 10),
                                    Pages(20001, 9)}));
  // Short ones are of no use.
  EXPECT_EQ(FindOverwritable(system_, memory, owned, 5 * kPage).value(),
            (std::vector<PhysRange>{Pages(4, 5), Pages(19990, 10), Pages(20001, 9)}));
  EXPECT_EQ(FindBusy(system_, memory).value(),
            (std::vector<PhysRange>{Pages(3, 2), Pages(9, 1), Pages(20000, 1)}));
}

TEST_F(RangesTest, UnflaggedPagesMayBeFree) {
  for (const uint64_t page : {3U, 4U}) Use(page, 0);
  Use(9, Bit(7));
  const std::vector<PhysRange> memory = {Pages(0, 12)};
  EXPECT_EQ(FindBusy(system_, memory, Unflagged::kFree).value(),
            (std::vector<PhysRange>{Pages(9, 1)}));
  EXPECT_FALSE(MayBeOverwritten(0));
}

TEST_F(RangesTest, WithoutTheFileNothingIsAllowed) {
  system_.Remove("/proc/kpageflags");
  const std::vector<PhysRange> memory = {Pages(0, 12)};
  EXPECT_EQ(FindBusy(system_, memory).error().code, ExitCode::kNoRoute);
  EXPECT_EQ(FindOverwritable(system_, memory, {}, kPage).error().code, ExitCode::kNoRoute);
  EXPECT_TRUE(FindBusy(system_, {}).value().empty());
}

}  // namespace
}  // namespace khop::system
