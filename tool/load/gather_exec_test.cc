// SPDX-License-Identifier: MIT
// The gather route when memory has changed between load and exec.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "tool/load/gather_machine.h"
#include "tool/load/session.h"
#include "tool/load/unowned.h"
#include "tool/system/huge_pages.h"

namespace khop::load {
namespace {

// Moves `count` pages that are held to free ones.
void Migrate(GatherMachine& machine, size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  const auto held = machine.system.Held(kTestPage);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t from = held[random() % held.size()];
    const uint64_t to = machine.system.base_pages.front();
    machine.system.base_pages.erase(machine.system.base_pages.begin());
    machine.system.Migrate(from, to);
    machine.system.base_pages.push_back(from);
  }
}

// Something is taken from all that was free.
void SetFlagsEverywhere(GatherMachine& machine, uint64_t flags) {
  for (uint64_t page = 0x4000'0000; page < 0x4200'0000; page += 16 * kTestPage) {
    machine.system.page_flags.try_emplace(page, flags);
  }
}

// The kernel takes something from all memory below 4 GiB that `plan` does not name.
void LeaveNoOtherPlace(GatherMachine& machine, const report::Plan& plan) {
  const Ranges all = AllDestinations(plan, kTestPage);
  for (uint64_t page = 0x4000'0000; page < 0x4200'0000; page += 16 * kTestPage) {
    if (!Touches(all, {PhysAddr{page}, kTestPage})) machine.system.page_flags[page] = kSlab;
  }
}

// By a new process; what it says.
std::string ExpectRefusal(GatherMachine& machine, ExitCode code) {
  machine.system.NewProcess();
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  EXPECT_EQ(machine.system.reboots, 0);
  EXPECT_FALSE(done);
  if (done) return "";
  EXPECT_EQ(done.error().code, code) << done.error().message;
  return done.error().message;
}

// What khop's pages hold: one that is dead has no effect on the system, but goes on in memory.
using Memory = std::map<uint64_t, std::string>;
Memory Remember(GatherMachine& machine) {
  Memory memory;
  for (const uint64_t page : machine.system.Held(kTestPage)) {
    memory[page].assign(reinterpret_cast<char*>(machine.system.PhysicalBytes(page)), kTestPage);
  }
  return memory;
}
void Restore(GatherMachine& machine, const Memory& memory) {
  for (const auto& [page, bytes] : memory) {
    memcpy(machine.system.PhysicalBytes(page), bytes.data(), bytes.size());
  }
}

// Somebody takes `page`, which is khop's: what is in it moves to a free one.
void TakeAway(GatherMachine& machine, uint64_t page) {
  machine.system.Migrate(page, machine.system.base_pages.back());
  machine.system.base_pages.pop_back();
  machine.system.page_flags[page] = 0;
}

TEST(GatherTest, PagesThatMovedArePlannedAnew) {
  for (const uint32_t seed : {1U, 2U, 3U, 4U}) {
    for (const MmuMode mode : {MmuMode::kAuto, MmuMode::kOff}) {
      GatherMachine machine(seed, 500);
      LoadOptions options = machine.Options();
      options.mmu = mode;
      ASSERT_TRUE(machine.Load(options));
      const auto before = machine.Look();
      machine.system.NewProcess();
      Migrate(machine, size_t{seed} * 20, seed);
      EXPECT_TRUE(report::Ready(*GetStatus(machine.system)));
      machine.system.NewProcess();
      machine.system.counter = 0x1234;
      const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
      ASSERT_TRUE(done) << done.error().message;
      EXPECT_EQ(machine.system.reboots, 1);
      EXPECT_EQ(machine.system.kexec_loads, 2);  // that of the new plan
      EXPECT_GT(machine.system.taken_memory, 0u);
      machine.system.NewProcess();
      const auto plan = LoadedPlan(machine.system);
      ASSERT_TRUE(plan);
      ExpectHop(machine, *plan, "seed " + std::to_string(seed));
      uint64_t stamp = 0;
      memcpy(&stamp, machine.system.PhysicalBytes(FindSegment(*plan, "stamp").start),
             sizeof(stamp));
      EXPECT_EQ(stamp, 0x1234U);
      // What was migrated was cleaned again.
      EXPECT_EQ(machine.Look(), before);
    }
  }
}

// A reboot without khop after pages moved does not start garbage: the digests say so.
TEST(GatherTest, APlainRebootAfterMigrationIsCaught) {
  GatherMachine machine;
  ASSERT_TRUE(machine.Load(machine.Options()));
  const auto held = machine.system.Held(kTestPage);
  const HopReplay intact(machine.system);
  EXPECT_TRUE(intact.Verified());
  // A page that is moved in the hop now holds something else.
  bool caught = false;
  for (const uint64_t page : held) {
    std::byte* const bytes = machine.system.PhysicalBytes(page);
    bytes[100] ^= std::byte{1};
    caught |= !HopReplay(machine.system).Verified();
    bytes[100] ^= std::byte{1};
    if (caught) break;
  }
  EXPECT_TRUE(caught);
}

TEST(GatherTest, ADestinationThatSomebodyTookIsGivenUp) {
  for (const std::string_view name : {"kernel", "initrd", "dtb", "control"}) {
    GatherMachine machine(7, 500);
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    machine.system.NewProcess();
    const uint64_t start = name == "control" ? plan->control.start : FindSegment(*plan, name).start;
    const uint64_t size = name == "control" ? plan->control.size : FindSegment(*plan, name).size;
    // A page of it that is not owned.
    const auto held = machine.system.Held(kTestPage);
    uint64_t foreign = 0;
    for (uint64_t page = start; page < start + size; page += kTestPage) {
      if (std::ranges::find(held, page) == held.end()) foreign = page;
    }
    if (foreign == 0) {
      // All of it was khop's: one page moves away.
      foreign = start;
      TakeAway(machine, foreign);
    } else {
      machine.system.page_flags[foreign] = 0;
    }
    machine.system.NewProcess();
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    ASSERT_TRUE(done) << name << ": " << done.error().message;
    machine.system.NewProcess();
    const auto again = LoadedPlan(machine.system);
    ASSERT_TRUE(again);
    if (name != "control") {
      EXPECT_NE(FindSegment(*again, name).start, start) << name;
    }
    // Nor is what else is around the page that was taken trusted any more.
    const PhysRange block{PhysAddr{AlignDown(foreign, system::kHugePageSize)},
                          system::kHugePageSize};
    const auto session = Session::Open(machine.system);
    ASSERT_TRUE(session);
    const Loaded& loaded = *session->state().current;
    const Ranges unowned =
        Without(AllDestinations(*again, kTestPage), Addresses(*loaded.arena.extents));
    EXPECT_TRUE(InBoth(unowned, {&block, 1}).empty()) << name;
    ExpectHop(machine, *again, std::string(name));
  }
}

// A page that waits on a CPU's list of free pages looks like one that the kernel has; the next
// pages that are asked for come from there.
TEST(GatherTest, APageOnACpusListIsTakenFromThere) {
  for (const int lists : {1, 2}) {
    GatherMachine machine(7, 500);
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    const report::Segment kernel = FindSegment(*plan, "kernel");
    const uint64_t foreign = UnownedPage(machine, kernel);
    machine.system.page_flags[foreign] = 0;
    machine.system.NewProcess();
    const int loads = machine.system.kexec_loads;
    // Another tool has put its own there since.
    machine.system.loaded->bytes.assign(machine.system.loaded->bytes.size(), std::byte{0xee});
    // The first time is before anything is looked at.
    int taken = 0;
    machine.system.meanwhile = [&](std::string_view call) {
      if (call != "TakeMemory" || ++taken <= lists) return;
      machine.system.page_flags[foreign] = uint64_t{1} << 12;  // a process's
    };
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    machine.system.meanwhile = nullptr;
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(machine.system.kexec_loads, loads + 1);
    machine.system.NewProcess();
    const auto again = LoadedPlan(machine.system);
    ASSERT_TRUE(again);
    EXPECT_EQ(FindSegment(*again, "kernel").start == kernel.start, lists == 1);
    ExpectHop(machine, *again, std::to_string(lists));
  }
}

// A driver's page has no flag either, and after a plan that could not be made it is looked at as
// before.
TEST(GatherTest, WithoutAnotherPlaceExecRefuses) {
  for (const uint64_t flags : {uint64_t{0}, kSlab}) {
    GatherMachine machine(7, 500);
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    const report::Segment kernel = FindSegment(*plan, "kernel");
    const uint64_t foreign = UnownedPage(machine, kernel);
    LeaveNoOtherPlace(machine, *plan);
    machine.system.page_flags[foreign] = flags;
    const int loads = machine.system.kexec_loads;
    const std::string said = ExpectRefusal(machine, ExitCode::kNoContiguousMemory);
    EXPECT_NE(said.find("khop unload"), std::string::npos) << said;
    EXPECT_EQ(machine.system.kexec_loads, loads);
    // Nothing is lost: it goes away, and what is loaded starts.
    machine.system.page_flags.erase(foreign);
    machine.system.NewProcess();
    const auto later = Exec(machine.system, ExecMode::kNow, NoProgress);
    ASSERT_TRUE(later) << later.error().message;
    ExpectHop(machine, *plan);
  }
}

// Nor is there one for the initrd beside the kernel, but for both far away.
TEST(GatherTest, WhatIsInNobodysWayMovesToo) {
  GatherMachine machine;
  constexpr uint64_t kFar = uint64_t{64} << 30;
  machine.system.SetFile("/proc/iomem",
                         "40000000-41ffffff : System RAM\n  40000000-403fffff : Kernel code\n"
                         "1000000000-1007ffffff : System RAM\n");
  machine.system.SetFile("/boot/initrd", std::string(2'200'000, 'z'));
  machine.system.base_pages.clear();
  for (uint64_t i = 0; i < 1024; ++i) {
    machine.system.base_pages.push_back(kFar + 16 * i * kTestPage);
  }
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_LT(plan->entry, 0x42000000U);
  LeaveNoOtherPlace(machine, *plan);
  // Another block of 2 MiB than the kernel's, which would stay.
  ASSERT_NE(FindSegment(*plan, "initrd").start >> 21, plan->entry >> 21);
  machine.system.page_flags[FindSegment(*plan, "initrd").start + 270 * kTestPage] = kSlab;
  machine.system.NewProcess();
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  ASSERT_TRUE(done) << done.error().message;
  machine.system.NewProcess();
  const auto again = LoadedPlan(machine.system);
  ASSERT_TRUE(again);
  EXPECT_GE(again->entry, kFar);
  EXPECT_GE(FindSegment(*again, "initrd").start, kFar);
  ExpectHop(machine, *again);
}

// The new plan moves the initrd, so the tree is told; and then it cannot be loaded.
TEST(GatherTest, APlanThatCannotBeLoadedLeavesTheTreeAlone) {
  for (const auto digest : {handoff::DigestKind::kNone, handoff::DigestKind::kSha256}) {
    for (const bool dies : {false, true}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(digest)) + (dies ? ", dies" : ""));
      GatherMachine machine(7, 500);
      LoadOptions options = machine.Options();
      options.digest = digest;
      const auto plan = machine.Load(options);
      ASSERT_TRUE(plan);
      const report::Segment initrd = FindSegment(*plan, "initrd");
      const uint64_t foreign = UnownedPage(machine, initrd);
      machine.system.page_flags[foreign] = kSlab;
      machine.system.NewProcess();
      Memory at_death;
      machine.system.meanwhile = [&](std::string_view call) {
        if (call != "KexecLoad") return;
        machine.system.fail_call = machine.system.calls - 1;
        if (!dies) return;
        machine.system.die_call = machine.system.calls;
        at_death = Remember(machine);
      };
      const auto failed = Exec(machine.system, ExecMode::kNow, NoProgress);
      machine.system.meanwhile = nullptr;
      ASSERT_FALSE(failed);
      EXPECT_EQ(machine.system.dead(), dies);
      Restore(machine, at_death);
      // What was in the way is gone.
      machine.system.page_flags.erase(foreign);
      machine.system.NewProcess();
      const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
      // Of one that died the journal still has the new plan, which is loaded in its stead.
      ASSERT_TRUE(done) << done.error().message;
      machine.system.NewProcess();
      const auto now = LoadedPlan(machine.system);
      ASSERT_TRUE(now);
      EXPECT_EQ(FindSegment(*now, "initrd").start == initrd.start, !dies);
      ExpectHop(machine, *now);
    }
  }
}

// It died after the tree was told and before the journal was.
TEST(GatherTest, ATreeThatNamesAnotherPlaceIsRefused) {
  GatherMachine machine(7, 500);
  LoadOptions options = machine.Options();
  options.digest = handoff::DigestKind::kNone;
  const auto plan = machine.Load(options);
  ASSERT_TRUE(plan);
  const report::Segment initrd = FindSegment(*plan, "initrd");
  const uint64_t foreign = UnownedPage(machine, initrd);
  machine.system.page_flags[foreign] = kSlab;
  machine.system.NewProcess();
  Memory at_death;
  machine.system.on_rename = [&] {
    if (!machine.system.Find("/run/khop/control.1") || !at_death.empty()) return;
    machine.system.die_call = 0;
    at_death = Remember(machine);
  };
  EXPECT_FALSE(Exec(machine.system, ExecMode::kNow, NoProgress));
  machine.system.on_rename = nullptr;
  ASSERT_TRUE(machine.system.dead());
  Restore(machine, at_death);
  machine.system.page_flags.erase(foreign);
  machine.system.NewProcess();
  EXPECT_FALSE(report::Ready(*GetStatus(machine.system)));
  ExpectRefusal(machine, ExitCode::kArenaGone);
}

// What kexec_load took at the load may be somebody's by now.
TEST(GatherTest, PagesThatWereTakenAtTheLoadAreLookedAtAgain) {
  GatherMachine machine(7, 500);
  machine.system.meanwhile = [&](std::string_view call) {
    if (call == "KexecLoad") SetFlagsEverywhere(machine, 0);
  };
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  machine.system.meanwhile = nullptr;
  {
    const auto session = Session::Open(machine.system);
    ASSERT_TRUE(session);
    ASSERT_FALSE(session->state().current->taken.empty());
  }
  for (auto& [page, flags] : machine.system.page_flags) flags = kSlab;
  ExpectRefusal(machine, ExitCode::kNoContiguousMemory);
}

// Parts that follow each other in one extent, of which only one finds another place.
TEST(GatherTest, NeighboursPartWhenOnesPlaceIsTaken) {
  for (const std::string_view name : {"initrd", "dtb"}) {
    GatherMachine machine;
    machine.system.base_pages.clear();
    for (uint64_t page = 0x4060'0000; page < 0x4090'0000; page += kTestPage) {
      machine.system.base_pages.push_back(page);
    }
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    const report::Segment initrd = FindSegment(*plan, "initrd");
    const report::Segment dtb = FindSegment(*plan, "dtb");
    ASSERT_EQ(AlignUp(initrd.start + initrd.size, kTestPage), dtb.start);
    TakeAway(machine, name == "dtb" ? dtb.start : initrd.start + 3 * kTestPage);
    machine.system.NewProcess();
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    ASSERT_TRUE(done) << name << ": " << done.error().message;
    machine.system.NewProcess();
    const auto again = LoadedPlan(machine.system);
    ASSERT_TRUE(again);
    EXPECT_EQ(FindSegment(*again, "initrd").start == initrd.start, name != "initrd");
    EXPECT_EQ(FindSegment(*again, "dtb").start == dtb.start, name != "dtb");
    ExpectHop(machine, *again, std::string(name));
  }
}

// The pages of the kernel's own copy of the control area may lie where the payload goes.
TEST(GatherTest, TheKernelsCopyIsNobodyInUse) {
  GatherMachine machine;
  const auto first = machine.Load(machine.Options());
  ASSERT_TRUE(first);
  ASSERT_TRUE(Unload(machine.system).value());
  machine.system.NewProcess();
  machine.system.kexec_pages = {first->entry, first->entry + 9 * kTestPage,
                                first->entry + 60 * kTestPage};
  std::erase_if(machine.system.base_pages, [&](uint64_t page) {
    return std::ranges::find(machine.system.kexec_pages, page) != machine.system.kexec_pages.end();
  });
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan);
  EXPECT_EQ(machine.system.kexec_loads, 3);  // one was an unload
  machine.system.NewProcess();
  EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
  EXPECT_EQ(machine.system.kexec_loads, 4);  // exec begins with one, and plans nothing anew
  ExpectHop(machine, *plan);
}

TEST(GatherTest, ContentsThatChangedAreRefused) {
  GatherMachine machine;
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan);
  Migrate(machine, 5, 1);
  // A fresh page in the place of one that was lost.
  for (const uint64_t page : machine.system.Held(kTestPage)) {
    machine.system.PhysicalBytes(page)[8] ^= std::byte{1};
  }
  ExpectRefusal(machine, ExitCode::kArenaGone);
}

// While the files were read some of what was free went onto a CPU's own list, or to somebody: only
// then khop plans anew.
TEST(GatherTest, PagesOnTheirWayDoNotStopALoad) {
  for (const uint64_t flags : {uint64_t{0}, kSlab}) {
    GatherMachine machine(7, 500);
    machine.system.on_rename = [&] {
      // All that remains to be done is to load it.
      if (!machine.system.Find("/run/khop/control.0") || machine.system.kexec_loads != 0) return;
      SetFlagsEverywhere(machine, flags);
    };
    std::string said;
    const auto listen = [&](std::string_view text) { said += std::string(text) + "\n"; };
    const auto plan = Load(machine.system, machine.Options(), listen);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_FALSE(machine.system.page_flags.empty());
    EXPECT_EQ(said.find("planning anew") == std::string::npos, flags == 0) << said;
    EXPECT_EQ(machine.system.kexec_loads, 1);
    EXPECT_EQ(plan->notes.size(), flags == 0 ? 0U : 1U);
    machine.system.on_rename = nullptr;
    machine.system.NewProcess();
    said.clear();
    const auto done = Exec(machine.system, ExecMode::kNow, listen);
    EXPECT_EQ(said.find("planning anew") == std::string::npos, flags == 0) << said;
    EXPECT_EQ(done.has_value(), flags == 0);
    // Handed over once more, as it is.
    EXPECT_EQ(machine.system.kexec_loads, flags == 0 ? 2 : 1);
    machine.system.NewProcess();
    EXPECT_EQ(LoadedPlan(machine.system)->entry, plan->entry);
  }
}

TEST(GatherTest, PagesOnTheirWayAfterTheHandOverDoNotEither) {
  GatherMachine machine(7, 500);
  machine.system.on_rename = [&] {
    if (machine.system.kexec_loads == 0) return;
    SetFlagsEverywhere(machine, 0);
  };
  std::string said;
  const auto plan = Load(machine.system, machine.Options(),
                         [&](std::string_view text) { said += std::string(text) + "\n"; });
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(machine.system.page_flags.empty());
  EXPECT_EQ(said.find("planning anew"), std::string::npos) << said;
  EXPECT_EQ(machine.system.kexec_loads, 1);
  EXPECT_EQ(plan->notes.size(), 0U);
}

// Once planned here and now, pages without a flag do not send khop looking again; others do.
TEST(GatherTest, PagesOnTheirWayDoNotStopAnExec) {
  for (const uint64_t flags : {uint64_t{0}, kSlab}) {
    GatherMachine machine(7, 500);
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan);
    machine.system.NewProcess();
    machine.system.page_flags[plan->entry] = 0;
    Migrate(machine, 1, 1);
    // After each kexec_load something is taken from all that was free.
    const int loads = machine.system.kexec_loads;
    machine.system.on_rename = [&] {
      if (machine.system.kexec_loads == loads) return;
      SetFlagsEverywhere(machine, flags);
    };
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    EXPECT_EQ(done.has_value(), flags == 0);
    if (flags == 0) {
      EXPECT_EQ(machine.system.kexec_loads, loads + 1);
    }
  }
}

TEST(GatherTest, PagesThatNeverRestAreRefusedInTheEnd) {
  GatherMachine machine(1, 500);
  ASSERT_TRUE(machine.Load(machine.Options()));
  machine.system.NewProcess();
  const Progress keep_moving = [&](std::string_view /*step*/) { Migrate(machine, 1, 3); };
  const auto done = Exec(machine.system, ExecMode::kNow, keep_moving);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::kArenaGone) << done.error().message;
  EXPECT_EQ(machine.system.reboots, 0);
  machine.system.NewProcess();
  EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
}

}  // namespace
}  // namespace khop::load
