// SPDX-License-Identifier: MIT
// The crash reservation on the fake machine: a payload for exec, a kernel for a panic, or both.
#include "tool/load/crash.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "core/handoff/check.h"
#include "core/relocator/blob.h"
#include "tool/devicetree/machine.h"
#include "tool/devicetree/tree.h"
#include "tool/image/test_packed.h"
#include "tool/load/crash_machine.h"
#include "tool/load/replay_hop.h"

namespace khop::load {
namespace {

TEST_F(CrashTest, ReservedPutsThePayloadThereAndLeavesTheSlotEmpty) {
  const auto plan = TryLoad();
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "reserved");
  EXPECT_EQ(plan->bytes_to_move, 0U);
  EXPECT_FALSE(system_.crash);
  for (const report::Segment& segment : plan->segments) {
    const PhysRange range{{segment.start}, segment.size};
    EXPECT_EQ(kReservation.Contains(range), segment.name != "stamp") << segment.name;
  }
  // Whatever becomes of the reservation, the relocator itself is not in it.
  EXPECT_FALSE(kReservation.Overlaps({{system_.loaded->destination}, system_.loaded->size}));
  // The next kernel sees all memory.
  const auto tree = TreeAt(Find(plan->segments, "dtb").start);
  const auto chosen = tree.FindNode("/chosen");
  EXPECT_FALSE(tree.Find(*chosen, "linux,usable-memory-range"));
  EXPECT_FALSE(tree.Find(*chosen, "linux,elfcorehdr"));
  EXPECT_EQ(devicetree::ReadChosenString(tree, "khop,route"), "reserved");
  // The relocator's tables and checks are about the payload's pages, and the one that khop holds.
  const handoff::View view(system_.loaded->bytes.data() + [&] {
    relocator::BlobHeader blob;
    memcpy(&blob, system_.loaded->bytes.data(), sizeof(blob));
    return blob.parameters.handoff_offset;
  }());
  for (const handoff::Range& range : view.arena()) {
    const PhysRange mapped{{range.start}, range.size};
    if (!kReservation.Overlaps(mapped)) continue;
    EXPECT_TRUE(std::ranges::any_of(plan->segments, [&](const report::Segment& s) {
      return mapped.Contains(PhysAddr{s.start});
    }));
    EXPECT_TRUE(kReservation.Contains(mapped));
    EXPECT_GE(mapped.start.value, kReservation.start.value + uint64_t{4} * 4096);
  }
  const auto status = Status();
  EXPECT_TRUE(report::Ready(status)) << report::RenderText(status);
  ExpectHopsOutOfTheReservation();
  system_.NewProcess();
  EXPECT_TRUE(*Unload(system_));
  EXPECT_EQ(machine_.Look(), clean_);
}

// The stamp, and the word that says that the payload was verified then.
TEST_F(CrashTest, ReservedIsVerifiedEarlyWhereItCanBeRead) {
  LoadOptions options = machine_.Options();
  options.route = Route::kReserved;
  options.early = true;
  const auto plan = Load(system_, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto words = [&] {
    std::array<uint64_t, 2> both;
    memcpy(both.data(), system_.PhysicalBytes(Find(plan->segments, "stamp").start), sizeof(both));
    return both;
  };
  using Words = std::array<uint64_t, 2>;
  system_.counter = 4711;
  ASSERT_TRUE(TryExec());
  EXPECT_EQ(words(), (Words{4711, handoff::EarlyWord(4711)}));
  EXPECT_THAT(report::RenderText(Status()), testing::HasSubstr("every digest is that of the load"));

  // A bit of the initrd's end has flipped: refused, and the word is taken back.
  const report::Segment& initrd = Find(plan->segments, "initrd");
  const uint64_t last = initrd.start + initrd.size - 1;
  std::byte& byte = system_.reserved_memory[AlignDown(last, 4096)][last % 4096];
  byte ^= std::byte{1};
  EXPECT_EQ(TryExec().error().code, ExitCode::kArenaGone);
  EXPECT_EQ(words(), (Words{0, 0}));
  EXPECT_FALSE(report::Ready(Status()));
  byte ^= std::byte{1};

  // Where nobody can read it the relocator verifies, and there is no word.
  system_.Remove("/proc/kcore");
  ASSERT_TRUE(TryExec());
  EXPECT_EQ(words(), (Words{4711, 0}));
}

// The kernel does not map the reservation while a crash kernel is in it.
TEST_F(CrashTest, BesideACrashKernelTheRelocatorVerifies) {
  LoadOptions options = machine_.Options();
  options.route = Route::kReserved;
  options.early = true;
  ASSERT_TRUE(TryLoadCrash());
  system_.NewProcess();
  const auto plan = Load(system_, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  system_.counter = 4711;
  ASSERT_TRUE(TryExec());
  std::array<uint64_t, 2> words;
  memcpy(words.data(), system_.PhysicalBytes(Find(plan->segments, "stamp").start), sizeof(words));
  EXPECT_EQ(words, (std::array<uint64_t, 2>{4711, 0}));
}

TEST_F(CrashTest, APanicStartsTheCaptureKernel) {
  const auto plan = TryLoadCrash();
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "crash");
  ExpectPanicStarts(plan->segments);
  const auto tree = TreeAt(Find(plan->segments, "dtb").start);
  const auto chosen = tree.FindNode("/chosen");
  const auto& header = Find(plan->segments, "elfcorehdr");
  ASSERT_TRUE(tree.Find(*chosen, "linux,elfcorehdr"));
  EXPECT_TRUE(tree.Find(*chosen, "linux,usable-memory-range"));
  const std::string core = Reserved(header.start, header.size);
  EXPECT_EQ(Segments({reinterpret_cast<const std::byte*>(core.data()),
                      reinterpret_cast<const std::byte*>(core.data()) + core.size()})
                .size(),
            6U);
  EXPECT_FALSE(system_.loaded);
  EXPECT_EQ(machine_.Look(), clean_);
  const auto status = Status();
  EXPECT_EQ(status.loaded_by, report::LoadedBy::kNobody);
  EXPECT_EQ(status.crash.loaded_by, report::LoadedBy::kKhop);
  // What exec starts is another matter.
  ASSERT_TRUE(TryLoad(Route::kInPlace));
  ASSERT_TRUE(TryExec());
  system_.NewProcess();
  EXPECT_TRUE(*Unload(system_));
  EXPECT_TRUE(system_.crash);
  system_.NewProcess();
  EXPECT_TRUE(*UnloadCrash(system_));
  EXPECT_FALSE(system_.crash);
  EXPECT_FALSE(system_.Find("/run/khop/state.json"));
  EXPECT_FALSE(*UnloadCrash(system_));
}

TEST_F(CrashTest, CombinedNeverPanicsIntoThePayload) {
  for (const bool in_one_call : {true, false}) {
    SCOPED_TRACE(in_one_call);
    if (!in_one_call) {
      ASSERT_TRUE(TryLoadCrash());
    }
    const auto plan = TryLoad(Route::kReserved, in_one_call);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto status = Status();
    EXPECT_TRUE(report::Ready(status)) << report::RenderText(status);
    ASSERT_EQ(status.crash.loaded_by, report::LoadedBy::kKhop);
    EXPECT_TRUE(status.crash.with_payload);
    EXPECT_EQ(status.crash.command_line, in_one_call ? "capture" : "console=ttyAMA0");
    EXPECT_LE(system_.crash->segments.size(), 16U);
    ExpectPanicStarts(status.crash.segments);
    EXPECT_NE(Find(status.crash.segments, "kernel").start, plan->entry);
    ExpectHopsOutOfTheReservation();
    // The crash kernel outlives the other, and the other way round.
    system_.NewProcess();
    if (in_one_call) {
      EXPECT_TRUE(*UnloadCrash(system_));
      ExpectHopsOutOfTheReservation();
      system_.NewProcess();
      EXPECT_TRUE(*Unload(system_));
    } else {
      EXPECT_TRUE(*Unload(system_));
      ExpectPanicStarts(Status().crash.segments);
      EXPECT_TRUE(*UnloadCrash(system_));
    }
    EXPECT_EQ(machine_.Look(), clean_);
  }
}

// What the image brings counts, alone, beside a payload, and when it is read again for a new one.
TEST_F(CrashTest, AUkiBringsItsCommandLine) {
  image::Bytes line;
  image::PutText(line, 0, "capture=\"a  crashkernel=b\" of the UKI");
  const image::Bytes uki =
      image::MakeUki({{".cmdline", line}, {".linux", image::PackXz(image::NoisyImage())}});
  const std::string text(reinterpret_cast<const char*>(uki.data()), uki.size());
  const std::string wanted(reinterpret_cast<const char*>(line.data()), line.size());
  system_.SetFile("/boot/uki", text);
  const auto expect_line = [&](const std::string& expected) {
    const auto crash = Status().crash;
    EXPECT_EQ(crash.command_line, expected);
    const auto tree = TreeAt(Find(crash.segments, "dtb").start);
    EXPECT_EQ(devicetree::ReadChosenString(tree, "bootargs"), expected);
  };
  LoadOptions crash;
  crash.kernel = "/boot/uki";
  crash.blob = machine_.blob;
  LoadOptions both = machine_.Options();
  both.route = Route::kReserved;
  both.crash_kernel = std::make_shared<const LoadOptions>(crash);
  system_.NewProcess();
  ASSERT_TRUE(Load(system_, both, NoProgress));
  expect_line(wanted);
  system_.NewProcess();
  ASSERT_TRUE(*UnloadCrash(system_));
  system_.NewProcess();
  ASSERT_TRUE(*Unload(system_));

  crash.append = "and=more";
  system_.NewProcess();
  const auto alone = LoadCrash(system_, crash, NoProgress);
  ASSERT_TRUE(alone) << alone.error().message;
  expect_line(wanted + " and=more");
  ASSERT_TRUE(TryLoad(Route::kReserved));
  expect_line(wanted + " and=more");

  // Of the running kernel's line only the word goes, whatever quotes hold.
  system_.SetFile("/proc/cmdline", "a=\"x  crashkernel=1M\"  crashkernel=64M b\n");
  crash.reuse_command_line = true;
  system_.NewProcess();
  ASSERT_TRUE(*Unload(system_));
  ASSERT_TRUE(LoadCrash(system_, crash, NoProgress));
  expect_line("a=\"x  crashkernel=1M\" b and=more");
}

TEST_F(CrashTest, NothingNamedIsTheDefaultEntry) {
  system_.SetFile("/boot/loader/entries/a.conf",
                  "title A\nlinux /Image\ninitrd /initrd\noptions of the entry\n");
  LoadOptions options;
  options.blob = machine_.blob;
  const auto plan = LoadCrash(system_, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->notes, testing::Contains("boot entry a (A)"));
  EXPECT_EQ(plan->command_line, "of the entry");
  ExpectPanicStarts(plan->segments);
}

// All that a second load of it needs is in the state.
TEST(CaptureOptionsTest, SurviveTheState) {
  State state;
  state.crash = CrashLoaded{.plan = {},
                            .loaded_at = "now",
                            .kernel = "/k",
                            .configuration = "board",
                            .initrds = {"/i"},
                            .command_line = "line",
                            .dtb = "/d",
                            .dtbos = {"/o", "/p"},
                            .digest_kind = handoff::DigestKind::kCrc32c};
  std::string boot;
  const auto back = DecodeState(EncodeState(state, "boot"), &boot);
  ASSERT_TRUE(back) << back.error().message;
  const LoadOptions options = CaptureOptions(*back->crash, {});
  EXPECT_EQ(options.kernel, "/k");
  EXPECT_EQ(options.configuration, "board");
  EXPECT_EQ(options.initrds, std::vector<std::string>{"/i"});
  EXPECT_EQ(options.command_line, "line");
  EXPECT_EQ(options.dtb, "/d");
  EXPECT_EQ(options.dtbos, (std::vector<std::string>{"/o", "/p"}));
  EXPECT_EQ(options.digest, handoff::DigestKind::kCrc32c);
}

TEST_F(CrashTest, AnotherToolsKdumpStays) {
  LoadForeignCrash();
  EXPECT_EQ(TryLoad().error().code, ExitCode::kCrashSlotTaken);
  EXPECT_EQ(TryLoadCrash().error().code, ExitCode::kCrashSlotTaken);
  EXPECT_EQ(UnloadCrash(system_).error().code, ExitCode::kCrashSlotTaken);
  EXPECT_EQ(Status().crash.loaded_by, report::LoadedBy::kOther);
  // auto goes past it and says so.
  system_.free_pages = {0x50000000, 0x50400000, 0x50800000};
  for (uint64_t at = 0x51000000; at < 0x51a00000; at += 8192) system_.base_pages.push_back(at);
  const auto plan = TryLoad(Route::kAuto);
  EXPECT_TRUE(system_.crash);
  EXPECT_EQ(system_.crash->entry, kReservation.start.value);
  const std::string told = plan ? report::RenderText(*plan) : plan.error().message;
  EXPECT_THAT(told, testing::HasSubstr("another tool has loaded one"));
}

TEST_F(CrashTest, ExecRefusesWhenTheSlotHasChanged) {
  ASSERT_TRUE(TryLoad());
  LoadForeignCrash();
  EXPECT_EQ(TryExec().error().code, ExitCode::kForeignImage);
  EXPECT_FALSE(report::Ready(Status()));
  system_.crash.reset();
  ExpectHopsOutOfTheReservation();
  // The kernel gives a part of the reservation back (kexec_crash_size).
  auto& iomem = system_.Find("/proc/iomem")->text;
  const std::string before = iomem;
  iomem.replace(iomem.find("63ffffff : Crash"), 8, "600fffff");
  EXPECT_EQ(TryExec().error().code, ExitCode::kArenaGone);
  iomem = before;
  ASSERT_TRUE(TryLoad(Route::kReserved, true));
  system_.crash.reset();
  EXPECT_EQ(TryExec().error().code, ExitCode::kForeignImage);
  EXPECT_THAT(report::RenderText(Status()), testing::HasSubstr("another tool has unloaded"));
  EXPECT_EQ(system_.reboots, 1);
}

TEST_F(CrashTest, BadInputChangesNothing) {
  ASSERT_TRUE(TryLoad(Route::kInPlace));
  const auto before = machine_.Look();
  const std::string state = system_.Find("/run/khop/state.json")->text;
  const std::string iomem = system_.Find("/proc/iomem")->text;
  const auto expect = [&](const Result<report::Plan>& plan, ExitCode code) {
    ASSERT_FALSE(plan) << static_cast<int>(code);
    EXPECT_EQ(plan.error().code, code) << plan.error().message;
    EXPECT_FALSE(plan.error().message.contains('\n'));
    EXPECT_EQ(machine_.Look(), before);
    EXPECT_EQ(system_.Find("/run/khop/state.json")->text, state);
    EXPECT_FALSE(system_.crash);
  };
  const auto reserve = [&](const char* range) {
    std::string changed = iomem;
    const std::string line = "  60000000-63ffffff : Crash kernel\n";
    changed.replace(changed.find(line), line.size(),
                    *range == '\0' ? "" : "  " + std::string(range) + " : Crash kernel\n");
    system_.SetFile("/proc/iomem", changed);
  };
  reserve("");
  expect(TryLoad(), ExitCode::kNoReservation);
  expect(TryLoadCrash(), ExitCode::kNoReservation);
  reserve("60000000-603fffff");
  expect(TryLoad(), ExitCode::kReservationTooSmall);
  expect(TryLoadCrash(), ExitCode::kReservationTooSmall);
  // Room for itself, and none to run in.
  reserve("60000000-61ffffff");
  expect(TryLoadCrash(), ExitCode::kCrashNoRoom);
  expect(TryLoad(Route::kReserved, true), ExitCode::kCrashNoRoom);
  system_.SetFile("/proc/iomem", iomem);
  system_.SetFile("/proc/sys/kernel/kexec_load_limit_panic", "1\n");
  expect(TryLoad(), ExitCode::kLoadLimit);
  system_.SetFile("/proc/sys/kernel/kexec_load_limit_panic", "-1\n");
  const auto bounded = [&](uint64_t min, uint64_t max, Route route) {
    system_.NewProcess();
    LoadOptions options = machine_.Options();
    options.route = route;
    options.mem_min = min;
    options.mem_max = max;
    return Load(system_, options, NoProgress);
  };
  expect(bounded(0x9000000, 0xa000000, Route::kAuto), ExitCode::kBadRegion);
  expect(bounded(0x40210000, 0x42000000, Route::kAuto), ExitCode::kBadRegion);
  expect(bounded(0x7c000000, UINT64_MAX, Route::kAuto), ExitCode::kBadRegion);
  expect(bounded(0x60000000, 0x60100000, Route::kReserved), ExitCode::kBadRegion);
  expect(bounded(0x60000000, 0x60000000, Route::kReserved), ExitCode::kUsage);
  expect(bounded(0x50000000, 0x58000000, Route::kReserved), ExitCode::kReservationTooSmall);
  EXPECT_TRUE(report::Ready(Status()));
  ASSERT_TRUE(TryExec());
}

TEST_F(CrashTest, BoundsHoldOnEveryRoute) {
  for (const Route route : {Route::kInPlace, Route::kReserved, Route::kGather}) {
    SCOPED_TRACE(static_cast<int>(route));
    system_.NewProcess();
    LoadOptions options = machine_.Options();
    options.route = route;
    options.mem_min = route == Route::kReserved ? 0x61000000 : 0x54000000;
    options.mem_max = options.mem_min + 32 * kMiB;
    const auto plan = Load(system_, options, NoProgress);
    ASSERT_TRUE(plan) << plan.error().message;
    for (const report::Segment& segment : plan->segments) {
      if (route == Route::kReserved && segment.name == "stamp") continue;
      EXPECT_GE(segment.start, options.mem_min) << segment.name;
      EXPECT_LE(segment.start + segment.size, options.mem_max) << segment.name;
    }
    EXPECT_TRUE(report::Ready(Status()));
  }
}

TEST_F(CrashTest, AFailedCrashLoadKeepsWhatExecStarts) {
  ASSERT_TRUE(TryLoad(Route::kInPlace));
  ASSERT_TRUE(TryLoadCrash());
  const auto before = machine_.Look();
  system_.crash_error = ENOMEM;
  EXPECT_EQ(TryLoad().error().code, ExitCode::kNoMemory);
  EXPECT_EQ(machine_.Look(), before);
  auto status = Status();
  EXPECT_TRUE(report::Ready(status)) << report::RenderText(status);
  // The kernel had lost the old one by then, and khop says so.
  EXPECT_EQ(status.crash.loaded_by, report::LoadedBy::kNobody);
  system_.crash_error = 0;
  ASSERT_TRUE(TryLoadCrash());
  // Refused before it began: nothing is lost.
  system_.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "5\n");
  system_.kexec_error = EBUSY;
  EXPECT_EQ(TryLoad().error().code, ExitCode::kBusy);
  EXPECT_EQ(TryLoadCrash().error().code, ExitCode::kBusy);
  system_.kexec_error = 0;
  status = Status();
  EXPECT_EQ(status.crash.loaded_by, report::LoadedBy::kKhop);
  ExpectPanicStarts(status.crash.segments);
}

TEST_F(CrashTest, ASecondLoadLeavesTheFirstInPeaceOrIsRefused) {
  const auto first = TryLoad();
  ASSERT_TRUE(first);
  const auto second = TryLoad();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_NE(first->entry, second->entry);
  ExpectHopsOutOfTheReservation();
  EXPECT_EQ(TryLoadCrash().error().code, ExitCode::kCrashSlotTaken);
  // As much as is left but for a little.
  system_.SetFile("/boot/large", TestImage(3'500'000, 59 * kMiB));
  system_.NewProcess();
  LoadOptions options = machine_.Options();
  options.kernel = "/boot/large";
  options.route = Route::kReserved;
  const auto third = Load(system_, options, NoProgress);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ExitCode::kReservationTooSmall);
  EXPECT_THAT(third.error().message, testing::HasSubstr("khop unload first"));
  ExpectHopsOutOfTheReservation();
}

TEST_F(CrashTest, KilledAtEveryCall) {
  // Hundreds of loads: of little.
  system_.SetFile("/boot/Image", TestImage(20'000, 40'000));
  system_.SetFile("/boot/initrd", std::string(10'000, 'i'));
  int deaths = 0;
  for (int call = 0; !HasFailure(); ++call) {
    SCOPED_TRACE(call);
    const bool combined = call % 2 == 0;
    system_.NewProcess();
    LoadOptions options = machine_.Options();
    options.digest = handoff::DigestKind::kCrc32c;
    options.route = Route::kReserved;
    if (combined) options.crash_kernel = std::make_shared<const LoadOptions>(options);
    system_.die_call = call;
    (void)Load(system_, options, NoProgress);
    if (!system_.dead()) break;
    ++deaths;
    // A reboot now starts what is whole, or nothing.
    system_.NewProcess();
    if (system_.loaded) {
      EXPECT_TRUE(HopReplay(system_).Verified());
    }
    const auto status = Status();
    EXPECT_EQ(status.crash.loaded_by != report::LoadedBy::kNobody, system_.crash != nullptr);
    // Unsure is told, not taken for somebody else's.
    if (system_.crash && status.crash.loaded_by == report::LoadedBy::kOther) {
      EXPECT_THAT(status.crash.note, testing::HasSubstr("a khop that died"));
      EXPECT_EQ(TryLoad().error().code, ExitCode::kCrashSlotTaken);
    }
    system_.NewProcess();
    (void)UnloadCrash(system_);
    EXPECT_FALSE(system_.crash);
    system_.NewProcess();
    (void)Unload(system_);
    EXPECT_EQ(machine_.Look(), clean_);
    EXPECT_FALSE(system_.Find("/run/khop/state.json"));
  }
  EXPECT_GT(deaths, 100);
}

}  // namespace
}  // namespace khop::load
