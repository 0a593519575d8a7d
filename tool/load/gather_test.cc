// SPDX-License-Identifier: MIT
// The gather route on the fake machine: loads that are replayed as the relocator would do them.
#include <gtest/gtest.h>

#include <algorithm>

#include "tool/load/gather_machine.h"
#include "tool/load/session.h"

namespace khop::load {
namespace {

constexpr uint64_t kTestRam = 0x40000000;
constexpr const char* kCompaction = "/proc/sys/vm/compact_unevictable_allowed";

TEST(GatherTest, ScatteredBasePagesEndWhereTheyBelong) {
  for (const uint32_t seed : {1U, 2U, 3U}) {
    GatherMachine machine(seed);
    const auto before = machine.Look();
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->route, "gather");
    EXPECT_GT(plan->bytes_to_move, 0U);
    EXPECT_GT(plan->moves, 0U);
    EXPECT_EQ(plan->mmu, "on");
    ASSERT_EQ(plan->arena.size(), 1U);
    EXPECT_EQ(plan->arena[0].page_size, kTestPage);
    ExpectHop(machine, *plan);
    EXPECT_EQ(NotCleaned(machine), std::vector<uint64_t>());
    // Locked before the first touch, with compaction told to leave them alone.
    EXPECT_EQ(machine.system.loose_pages, 0);
    EXPECT_EQ(machine.system.Find(kCompaction)->text, "0\n");
    // The payload, three pages of service, and of the control area what is owned.
    const uint64_t payload =
        AlignUp(kTestImageSize, kTestPage) + AlignUp(100'001, kTestPage) + 2 * kTestPage;
    const uint64_t held = machine.system.PagesInUse(kTestPage) * kTestPage;
    EXPECT_LE(held,
              payload + (kTestImageMemory - kTestImageSize) + plan->control.size + 5 * kTestPage);
    machine.system.NewProcess();
    const auto status = GetStatus(machine.system);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_TRUE(report::Ready(*status)) << report::RenderText(*status);
    EXPECT_EQ(status->bytes_to_move, plan->bytes_to_move);
    EXPECT_EQ(status->mmu, "on");
    machine.system.NewProcess();
    EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
    EXPECT_EQ(machine.system.reboots, 1);
    EXPECT_EQ(machine.system.kexec_loads, 2);  // exec begins with one
    machine.system.NewProcess();
    EXPECT_TRUE(Unload(machine.system).value());
    auto after = machine.Look();
    EXPECT_EQ(after, before);
    EXPECT_EQ(machine.system.Find(kCompaction)->text, "1\n");
  }
}

TEST(GatherTest, EveryDigestAndNoMmu) {
  for (const auto digest :
       {handoff::DigestKind::kNone, handoff::DigestKind::kCrc32c, handoff::DigestKind::kSha256}) {
    GatherMachine machine;
    LoadOptions options = machine.Options();
    options.digest = digest;
    options.mmu = MmuMode::kOff;
    const auto plan = machine.Load(options);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->mmu, "off");
    EXPECT_EQ(plan->control.table_bytes, 0U);
    ExpectHop(machine, *plan);
  }
}

TEST(GatherTest, AutoTellsWhyNotInPlace) {
  GatherMachine machine;
  const auto plan = machine.Load(machine.Options(Route::kAuto));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "gather");
  ASSERT_EQ(plan->refused.size(), 2U);
  EXPECT_EQ(plan->refused[0].route, "in-place");
  EXPECT_NE(plan->refused[0].reason.find("2 MiB"), std::string::npos);
  ExpectHop(machine, *plan);
  machine.system.NewProcess();
  EXPECT_EQ(plan->refused[1].route, "reserved");
  EXPECT_EQ(LoadedPlan(machine.system)->refused.size(), 2U);
  // In place is strict.
  machine.system.NewProcess();
  EXPECT_EQ(machine.Load(machine.Options(Route::kInPlace)).error().code,
            ExitCode::kNoContiguousMemory);
  machine.system.NewProcess();
  EXPECT_TRUE(report::Ready(*GetStatus(machine.system)));
}

// In place but for a few pages: only those are moved.
TEST(GatherTest, DegradesPageByPage) {
  GatherMachine machine;
  machine.system.base_pages.clear();
  for (uint64_t i = 0; i < 300; ++i) {
    // Three of the kernel's first hundred pages are somewhere else.
    const bool elsewhere = i == 7 || i == 8 || i == 50;
    machine.system.base_pages.push_back((elsewhere ? 0x41f00000 : 0x41000000) + i * kTestPage);
  }
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->bytes_to_move, 3 * kTestPage);
  EXPECT_LE(plan->moves, 3U);
  EXPECT_EQ(plan->entry, 0x41000000U);
  ExpectHop(machine, *plan);
}

// Two stretches of memory 8 GiB apart, and pages in the first one.
struct FarApart : GatherMachine {
  FarApart() {
    system.SetFile("/proc/iomem",
                   "40000000-41ffffff : System RAM\n  40000000-403fffff : Kernel code\n"
                   "240000000-241ffffff : System RAM\n");
  }
};

TEST(GatherTest, DestinationsAreSoughtNearThePagesFirst) {
  FarApart machine;
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_LT(plan->entry, 0x42000000U);
  // The kernel was not even asked about the others.
  EXPECT_GT(machine.system.page_flags_read_to, 0x40000000U);
  EXPECT_LT(machine.system.page_flags_read_to, 0x240000000U);
  ExpectHop(machine, *plan);
}

// Few pages are where any destination is, so it may be low.
TEST(GatherTest, TheLowestMemoryIsLookedAtToo) {
  FarApart machine;
  machine.system.base_pages.clear();
  for (uint64_t i = 0; i < 512; ++i) {
    machine.system.base_pages.push_back(0x240000000 + 16 * i * kTestPage);
  }
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_LT(plan->entry, 0x42000000U);
  EXPECT_LT(FindSegment(*plan, "initrd").start, 0x42000000U);
  ExpectHop(machine, *plan);
}

TEST(GatherTest, DestinationsAreFarWhereThereIsNoPlaceNear) {
  FarApart machine;
  constexpr uint64_t kReserved = uint64_t{1} << 32;
  for (uint64_t page = 0x40000000; page < 0x42000000; page += kTestPage) {
    machine.system.page_flags[page] = kReserved;
  }
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GE(plan->entry, 0x240000000U);
  EXPECT_EQ(plan->mmu, "on");
  ExpectHop(machine, *plan);
}

TEST(GatherTest, LargestPagesFirst) {
  GatherMachine machine;
  const auto size = [](uint64_t kib) { return kib << 10; };
  machine.system.pools[size(32768)].free = {0x42000000};
  machine.system.free_pages = {0x41400000, 0x41800000};
  std::erase_if(machine.system.base_pages, [](uint64_t page) { return page >= 0x41000000; });
  for (uint64_t i = 0; i < 12; ++i) {
    machine.system.pools[size(64)].free.push_back(0x41000000 + ((i * 5) % 12) * size(64));
  }
  // 5 MB: two pages of 2 MiB, some of 64 KiB, the rest in base pages.
  machine.system.SetFile("/proc/iomem",
                         "40000000-43ffffff : System RAM\n  40000000-403fffff : Kernel code\n");
  machine.system.SetFile("/boot/initrd", std::string(4'900'000, 'z'));
  const auto before = machine.Look();
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(machine.system.PagesInUse(size(32768)), 0U);
  EXPECT_EQ(machine.system.PagesInUse(), 2U);
  EXPECT_GT(machine.system.PagesInUse(size(64)), 10U);
  EXPECT_GT(machine.system.PagesInUse(kTestPage), 0U);
  EXPECT_EQ(plan->arena.size(), 3U);
  ExpectHop(machine, *plan);
  EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
  machine.system.NewProcess();
  EXPECT_TRUE(Unload(machine.system).value());
  EXPECT_EQ(machine.Look(), before);
}

TEST(GatherTest, PagesInReservedMemoryAreRefused) {
  GatherMachine machine;
  machine.system.SetFile("/proc/iomem",
                         "40000000-41ffffff : System RAM\n  40000000-403fffff : Kernel code\n"
                         "  41000000-413fffff : reserved\n");
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  for (const uint64_t page : machine.system.Held(kTestPage)) {
    EXPECT_FALSE(page >= 0x41000000 && page < 0x41400000);
  }
  ExpectHop(machine, *plan);
}

TEST(GatherTest, RemovableMemoryIsRefused) {
  GatherMachine machine;
  machine.system.SetFile("/sys/devices/system/memory/block_size_bytes", "800000\n");
  machine.system.SetFile("/sys/devices/system/memory/memory130/valid_zones", "Movable\n");
  machine.system.SetFile("/sys/devices/system/memory/memory131/valid_zones", "Normal\n");
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  for (const uint64_t page : machine.system.Held(kTestPage)) {
    EXPECT_FALSE(page >= 0x41000000 && page < 0x41800000);
  }
}

// Pages that are neither free nor a process's are no destinations, at no address.
TEST(GatherTest, DestinationsThatAreInUseAreRefused) {
  GatherMachine machine;
  const auto free_plan = machine.Load(machine.Options());
  ASSERT_TRUE(free_plan);
  EXPECT_TRUE(Unload(machine.system).value());
  machine.system.NewProcess();
  // The kernel's own page in the middle of where it went.
  machine.system.page_flags[free_plan->entry + 40 * kTestPage] = 0;
  std::erase(machine.system.base_pages, free_plan->entry + 40 * kTestPage);
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_NE(plan->entry, free_plan->entry);
  ExpectHop(machine, *plan);
  EXPECT_TRUE(Unload(machine.system).value());
  machine.system.NewProcess();
  // Everywhere.
  const auto before = machine.Look();
  for (uint64_t page = kTestRam; page < kTestRam + 0x2000000; page += 64 * kTestPage) {
    machine.system.page_flags[page] = uint64_t{1} << 7;
    std::erase(machine.system.base_pages, page);
  }
  const auto pages = machine.system.base_pages.size();
  const auto refused = machine.Load(machine.Options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kNoContiguousMemory) << refused.error().message;
  auto after = machine.Look();
  EXPECT_EQ(after.base_pages, pages);
  after.base_pages = before.base_pages;
  EXPECT_EQ(after, before);
}

TEST(GatherTest, TooLittleMemory) {
  GatherMachine machine(1, 60);
  const auto before = machine.Look();
  const auto plan = machine.Load(machine.Options());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::kNoMemory) << plan.error().message;
  EXPECT_EQ(machine.Look(), before);
  EXPECT_FALSE(machine.system.Find("/run/khop/state.json"));
}

TEST(GatherTest, WithoutMemoryForTablesTheMmuStaysOff) {
  uint64_t with_tables = 0;
  {
    GatherMachine machine;
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    with_tables = machine.system.loaded->size;
  }
  for (const MmuMode mode : {MmuMode::kAuto, MmuMode::kOn}) {
    GatherMachine machine;
    machine.system.kexec_limit = with_tables - 1;
    const auto before = machine.Look();
    LoadOptions options = machine.Options();
    options.mmu = mode;
    const auto plan = machine.Load(options);
    if (mode == MmuMode::kOn) {
      ASSERT_FALSE(plan);
      EXPECT_EQ(plan.error().code, ExitCode::kNoMemory);
      EXPECT_EQ(machine.Look(), before);
      continue;
    }
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->mmu, "off");
    EXPECT_NE(plan->mmu_reason.find("memory"), std::string::npos);
    ExpectHop(machine, *plan);
    EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
  }
}

TEST(GatherTest, InPlaceFallsBackToo) {
  TestMachine machine;
  const auto with_tables = Load(machine.system, machine.Options(), NoProgress);
  ASSERT_TRUE(with_tables);
  machine.system.NewProcess();
  machine.system.kexec_limit = machine.system.loaded->size - 1;
  const auto plan = Load(machine.system, machine.Options(), NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "in-place");
  EXPECT_EQ(plan->mmu, "off");
  EXPECT_NE(plan->mmu_reason.find("memory"), std::string::npos);
  EXPECT_TRUE(HopReplay(machine.system).Verified());
}

TEST(GatherTest, InPlaceWithoutMmu) {
  TestMachine machine;
  LoadOptions options = machine.Options();
  options.mmu = MmuMode::kOff;
  const auto plan = Load(machine.system, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "in-place");
  EXPECT_EQ(plan->mmu, "off");
  EXPECT_EQ(plan->control.table_bytes, 0U);
  const HopReplay hop(machine.system);
  EXPECT_FALSE(hop.mmu);
  EXPECT_TRUE(hop.Verified());
}

TEST(GatherTest, CompactionOfAnAdministratorIsHisOwn) {
  GatherMachine machine;
  machine.system.SetFile(kCompaction, "0\n");
  ASSERT_TRUE(machine.Load(machine.Options()));
  EXPECT_TRUE(Unload(machine.system).value());
  EXPECT_EQ(machine.system.Find(kCompaction)->text, "0\n");
  // Changed since: left alone.
  machine.system.SetFile(kCompaction, "1\n");
  machine.system.NewProcess();
  ASSERT_TRUE(machine.Load(machine.Options()));
  machine.system.SetFile(kCompaction, "1\n");
  machine.system.NewProcess();
  EXPECT_TRUE(Unload(machine.system).value());
  EXPECT_EQ(machine.system.Find(kCompaction)->text, "1\n");
}

TEST(GatherTest, ReplacedByInPlaceAndBack) {
  GatherMachine machine(1, 700);
  std::erase_if(machine.system.base_pages, [](uint64_t page) { return page >= 0x41a00000; });
  const auto before = machine.Look();
  ASSERT_TRUE(machine.Load(machine.Options()));
  machine.system.free_pages = {0x41a00000, 0x41c00000, 0x41e00000};
  machine.system.NewProcess();
  ASSERT_TRUE(machine.Load(machine.Options(Route::kInPlace)));
  EXPECT_EQ(machine.system.PagesInUse(kTestPage), 0U);
  EXPECT_EQ(machine.system.Find(kCompaction)->text, "1\n");
  machine.system.NewProcess();
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  ExpectHop(machine, *plan);
  EXPECT_EQ(machine.system.Find(kCompaction)->text, "0\n");
  machine.system.NewProcess();
  EXPECT_TRUE(Unload(machine.system).value());
  machine.system.free_pages.clear();
  EXPECT_EQ(machine.Look(), before);
}

// After the hand-over the kernel takes a page of a destination, so the load plans anew. What the
// kernel holds goes first, unless an unload would count.
TEST(GatherTest, ALoadThatPlansAnewLeavesTheKernelOneImage) {
  const auto first = GatherMachine(7, 500).Load(GatherMachine().Options());
  ASSERT_TRUE(first);
  for (const std::string_view when : {"", "limited", "refused", "killed"}) {
    SCOPED_TRACE(when);
    GatherMachine machine(7, 500);
    if (when == "limited") machine.system.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "9");
    std::string had;  // before each call: an image or none
    machine.system.meanwhile = [&](std::string_view call) {
      if (call != "KexecLoad") return;
      had += machine.system.loaded ? '1' : '0';
      // With tables and without: twice.
      const bool anew = had.size() == 3 || had.size() == 6;
      machine.system.kexec_error = when == "refused" && anew ? ENOMEM : 0;
      if (when != "killed" || !anew) return;
      machine.system.fail_call = machine.system.calls - 1;
      machine.system.die_call = machine.system.calls;
    };
    machine.system.on_rename = [&] {
      if (machine.system.kexec_loads != 1) return;
      machine.system.page_flags[UnownedPage(machine, FindSegment(*first, "kernel"))] = kSlab;
    };
    auto plan = machine.Load(machine.Options());
    machine.system.meanwhile = nullptr;
    machine.system.on_rename = nullptr;
    if (when == "killed") {
      // Nothing is loaded, which exec sees, and nothing stands in the way of another load.
      EXPECT_TRUE(machine.system.dead());
      machine.system.NewProcess();
      const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code, ExitCode::kForeignImage);
      machine.system.NewProcess();
      plan = machine.Load(machine.Options());
    }
    ASSERT_TRUE(plan) << plan.error().message;
    if (when.empty() || when == "limited") {
      EXPECT_EQ(had, when.empty() ? "010" : "01");
      EXPECT_NE(plan->entry, first->entry);
    } else if (when == "refused") {
      // The one before is loaded again, and starts when what is in its way has gone.
      EXPECT_EQ(had, "0100100");
      EXPECT_EQ(plan->entry, first->entry);
      EXPECT_EQ(plan->notes.size(), 1U);
      machine.system.page_flags.clear();
      machine.system.NewProcess();
      ASSERT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
    }
    ExpectHop(machine, *plan);
  }
}

}  // namespace
}  // namespace khop::load
