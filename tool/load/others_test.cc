// SPDX-License-Identifier: MIT
// What others do to khop's state, memory and image between its runs and while it is at work.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tool/load/small_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;
constexpr const char* kState = "/run/khop/state.json";

class Others : public testing::TestWithParam<Route> {
 protected:
  // Every verb refuses with `code`, in one line, and changes nothing.
  void ExpectAllRefuse(ExitCode code) {
    const auto before = machine_.Look();
    std::vector<Failure> failures;
    if (const auto plan = machine_.LoadAnew(); !plan) failures.push_back(plan.error());
    if (const auto done = machine_.ExecAnew(); !done) failures.push_back(done.error());
    if (const auto had = machine_.UnloadAnew(); !had) failures.push_back(had.error());
    system_.NewProcess();
    if (const auto status = GetStatus(system_); !status) failures.push_back(status.error());
    EXPECT_EQ(failures.size(), 4U);
    for (const Failure& failure : failures) {
      EXPECT_EQ(failure.code, code) << failure.message;
      EXPECT_FALSE(failure.message.contains('\n'));
    }
    EXPECT_EQ(machine_.Look(), before);
  }
  void ExpectHops() {
    const int before = system_.reboots;
    const auto done = machine_.ExecAnew();
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(system_.reboots, before + 1);
    ExpectSoundHop(machine_, "exec");
  }
  void ExpectUnloads() {
    const auto unloaded = machine_.UnloadAnew();
    ASSERT_TRUE(unloaded) << unloaded.error().message;
    EXPECT_EQ(machine_.Look(), clean_);
    EXPECT_EQ(machine_.Files(), std::set<std::string>());
  }
  // The state is lost: every verb says so, until unload starts afresh.
  void ExpectAllButUnloadSayBadState() {
    EXPECT_EQ(machine_.LoadAnew().error().code, ExitCode::kBadState);
    system_.NewProcess();
    EXPECT_EQ(GetStatus(system_).error().code, ExitCode::kBadState);
    EXPECT_EQ(system_.reboots, 0);
    const auto unloaded = machine_.UnloadAnew();
    ASSERT_TRUE(unloaded) << unloaded.error().message;
    // What only the state told is lost with it.
    auto after = machine_.Look();
    after.compaction = clean_.compaction;
    EXPECT_EQ(after, clean_);
    ASSERT_TRUE(machine_.LoadAnew());
    ExpectHops();
  }
  // As another tool's kexec_load.
  void LoadForeign() {
    system_.loaded = std::make_unique<system::FakeSystem::LoadedImage>();
    system_.loaded->entry = 0xdead0000;
  }

  SmallMachine machine_{GetParam()};
  system::FakeSystem& system_ = machine_.system;
  const TestMachine::Footprint clean_ = machine_.Look();
};

TEST_P(Others, NoRoomUnderRun) {
  // No load, however much room there is for a beginning.
  uint64_t used = 0;
  for (const auto& [path, file] : system_.files()) {
    if (path.starts_with("/run/")) used += file.text.size();
  }
  for (uint64_t room = 0;; room += 1500) {
    system_.run_size = used + room;
    const auto plan = machine_.LoadAnew();
    const bool finished = plan && GetStatus(system_)->checks.front().name != "leftovers";
    if (finished) break;
    if (plan) {
      // Loaded, but there was no room to say so: the next khop does.
      system_.run_size = UINT64_MAX;
      ExpectHops();
      ExpectUnloads();
      continue;
    }
    EXPECT_EQ(plan.error().code, ExitCode::kSystemCall) << plan.error().message;
    EXPECT_TRUE(plan.error().message.contains("/run/khop/")) << plan.error().message;
    EXPECT_EQ(machine_.Look(), clean_) << room;
    EXPECT_EQ(machine_.Files(), std::set<std::string>()) << room;
    ASSERT_LT(room, uint64_t{1} << 20);
  }
  // What is loaded starts, and can be given back, with no room left at all.
  system_.run_size = 0;
  ExpectHops();
  const auto before = machine_.Look();
  EXPECT_EQ(machine_.LoadAnew().error().code, ExitCode::kSystemCall);
  EXPECT_EQ(machine_.Look(), before);
  ExpectHops();
  // The files that make room for the journal count against the limit.
  used = 0;
  for (const auto& [path, file] : system_.files()) {
    if (path.starts_with("/run/")) used += file.text.size();
  }
  system_.run_size = used;
  ExpectUnloads();
}

TEST_P(Others, RunIsReadOnly) {
  ASSERT_TRUE(machine_.LoadAnew());
  system_.run_is_read_only = true;
  ExpectAllRefuse(ExitCode::kSystemCall);
  EXPECT_TRUE(system_.loaded);
  ExpectSoundHop(machine_, "a plain reboot");
  system_.run_is_read_only = false;
  ExpectHops();
  ExpectUnloads();
}

TEST_P(Others, ProcOrSysIsNotMounted) {
  ASSERT_TRUE(machine_.LoadAnew());
  for (const char* const gone : {"/proc/self", "/sys/kernel"}) {
    const auto kept = *system_.Find(gone);
    system_.Remove(gone);
    ExpectAllRefuse(ExitCode::kSystemCall);
    system_.SetFile(gone, "");
    *system_.Find(gone) = kept;
  }
  ExpectHops();
}

TEST_P(Others, PrivateIpcNamespace) {
  ASSERT_TRUE(machine_.LoadAnew());
  const std::string state = system_.Find(kState)->text;
  std::string& own = system_.Find("/proc/self/ns/ipc")->link;
  const std::string first = own;
  own = "ipc:[4026532205]";
  ExpectAllRefuse(ExitCode::kUnsafeSystem);
  EXPECT_EQ(system_.Find(kState)->text, state);
  own = first;
  ExpectHops();
  ExpectUnloads();
}

TEST_P(Others, SegmentsWithoutProcessesAreRemoved) {
  ASSERT_TRUE(machine_.LoadAnew());
  system_.SetFile("/proc/sys/kernel/shm_rmid_forced", "1\n");
  EXPECT_EQ(machine_.LoadAnew().error().code, ExitCode::kUnsafeSystem);
  EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kUnsafeSystem);
  // What the kernel does at that moment.
  for (int segment = 0; segment < kSegmentsPerSlot; ++segment) {
    system_.RemoveSegment(SegmentKey(0, segment));
  }
  system_.SetFile("/proc/sys/kernel/shm_rmid_forced", "0\n");
  EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kArenaGone);
  EXPECT_EQ(system_.reboots, 0);
  ASSERT_TRUE(machine_.LoadAnew());
  ExpectHops();
  ExpectUnloads();
}

// Nobody can see whose image is loaded: exec loads its own once more.
TEST_P(Others, AnotherToolLoads) {
  ASSERT_TRUE(machine_.LoadAnew());
  LoadForeign();
  ExpectHops();
  // Where that is refused, what was loaded with khop before still starts.
  system_.SetFile("/proc/sys/kernel/kexec_load_disabled", "1\n");
  system_.kexec_error = EPERM;
  ExpectHops();
  system_.kexec_error = 0;
  system_.SetFile("/proc/sys/kernel/kexec_load_disabled", "0\n");
  // With another error nothing is started.
  const int before = system_.reboots;
  LoadForeign();
  system_.kexec_error = ENOMEM;
  EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kNoMemory);
  EXPECT_EQ(system_.reboots, before);
  system_.kexec_error = 0;
  ExpectHops();
  ExpectUnloads();
}

TEST_P(Others, AnotherToolUnloads) {
  ASSERT_TRUE(machine_.LoadAnew());
  system_.loaded.reset();
  EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kForeignImage);
  EXPECT_EQ(system_.reboots, 0);
  ASSERT_TRUE(machine_.LoadAnew());
  ExpectHops();
  ExpectUnloads();
}

// Somebody takes the pages that khop has just put into the pool, or that are free.
TEST_P(Others, PagesAreTakenMeanwhile) {
  for (const bool over_another : {false, true}) {
    SmallMachine machine(GetParam());
    if (over_another) {
      ASSERT_TRUE(machine.LoadAnew());
    }
    const auto before = machine.Look();
    machine.system.NewProcess();
    int key = 1;
    machine.system.meanwhile = [&](std::string_view call) {
      if (call != "ShmCreate") return;
      const auto take = [&](uint64_t unit, uint64_t pages) {
        if (pages == 0) return;
        const auto id = machine.system.ShmCreate(key++, pages * unit, unit);
        ASSERT_TRUE(id);
        ASSERT_TRUE(machine.system.Populate(*machine.system.ShmAttach(*id), pages * unit));
      };
      for (const auto& [size, pool] : machine.system.pools) take(size, pool.pooled.size());
      take(kPage, machine.system.base_pages.size());
    };
    const auto plan = Load(machine.system, machine.Options(), NoProgress);
    machine.system.meanwhile = nullptr;
    ASSERT_FALSE(plan);
    EXPECT_TRUE(plan.error().code == ExitCode::kNoMemory ||
                plan.error().code == ExitCode::kMemoryLimit)
        << plan.error().message;
    EXPECT_GT(key, 1);
    while (key > 1) machine.system.RemoveSegment(--key);
    EXPECT_EQ(machine.Look(), before);
    if (over_another) {
      ASSERT_TRUE(machine.ExecAnew());
      ExpectSoundHop(machine, "the one before");
    }
  }
}

TEST_P(Others, StateCutShortAtEveryByte) {
  ASSERT_TRUE(machine_.LoadAnew());
  const std::string state = system_.Find(kState)->text;
  for (size_t size = 0; size < state.size(); ++size) {
    system_.SetFile(kState, state.substr(0, size));
    const auto done = machine_.ExecAnew();
    ASSERT_FALSE(done) << size;
    EXPECT_EQ(done.error().code, ExitCode::kBadState) << size;
  }
  ExpectAllButUnloadSayBadState();
}

TEST_P(Others, StateWithAnyBitFlipped) {
  ASSERT_TRUE(machine_.LoadAnew());
  const std::string state = system_.Find(kState)->text;
  for (size_t at = 0; at < state.size(); ++at) {
    std::string changed = state;
    changed[at] = static_cast<char>(changed[at] ^ 1 << at % 8);
    system_.SetFile(kState, changed);
    const auto done = machine_.ExecAnew();
    ASSERT_FALSE(done) << at;
    EXPECT_EQ(done.error().code, ExitCode::kBadState) << at;
  }
  system_.SetFile(kState, state);
  ExpectHops();
}

TEST_P(Others, ForeignState) {
  ASSERT_TRUE(machine_.LoadAnew());
  std::string garbage(5000, '\0');
  for (size_t i = 0; i < garbage.size(); ++i) garbage[i] = static_cast<char>(i * i >> 3);
  std::string other = system_.Find(kState)->text;
  other.replace(other.find("\"version\": "), 12, "\"version\": 9");
  for (const std::string& text :
       {std::string("{}"), std::string("null"), garbage, other, std::string(65 << 20, ' ')}) {
    system_.SetFile(kState, text);
    EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kBadState) << text.substr(0, 20);
  }
  system_.SetFile(kState, other);
  EXPECT_TRUE(machine_.ExecAnew().error().message.contains("another version"));
  ExpectAllButUnloadSayBadState();
}

// khop's copy of the control area, with which exec begins.
TEST_P(Others, ControlAreaDamagedOrGone) {
  const std::string path = "/run/khop/control.0";
  ASSERT_TRUE(machine_.LoadAnew());
  const std::string good = system_.Find(path)->text;
  for (size_t at = 0; at < good.size(); at += 97) {
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 1 << at % 8);
    system_.SetFile(path, changed);
    EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kBadState) << at;
  }
  system_.Remove(path);
  EXPECT_EQ(machine_.ExecAnew().error().code, ExitCode::kBadState);
  EXPECT_EQ(system_.reboots, 0);
  ASSERT_TRUE(machine_.LoadAnew());
  ExpectHops();
  ExpectUnloads();
}

TEST_P(Others, TheDirectoryIsNotRootsOwn) {
  ASSERT_TRUE(machine_.LoadAnew());
  auto& info = system_.Find("/run/khop")->info;
  const system::FileInfo good = info;
  info.uid = 1000;
  ExpectAllRefuse(ExitCode::kUnsafeSystem);
  info = good;
  info.mode = 0755;
  ExpectAllRefuse(ExitCode::kUnsafeSystem);
  info = good;
  info.is_directory = false;
  info.is_link = true;
  ExpectAllRefuse(ExitCode::kUnsafeSystem);
  info = good;
  // A link in the place of the lock is not followed.
  system_.Find("/run/khop/lock")->info.is_link = true;
  ExpectAllRefuse(ExitCode::kSystemCall);
  system_.Find("/run/khop/lock")->info.is_link = false;
  ExpectHops();
  ExpectUnloads();
}

// Somebody else's segment has khop's key.
TEST_P(Others, KeysAreTaken) {
  SmallMachine& machine = machine_;
  ASSERT_TRUE(system_.ShmCreate(SegmentKey(0, 0), 4096, 4096));
  system_.SetSegmentOwner(SegmentKey(0, 0), 1000);
  const auto before = machine.Look();
  EXPECT_EQ(machine.LoadAnew().error().code, ExitCode::kBusy);
  EXPECT_EQ(machine.Look(), before);
}

INSTANTIATE_TEST_SUITE_P(Routes, Others, testing::Values(Route::kInPlace, Route::kGather),
                         [](const auto& route) {
                           return route.param == Route::kInPlace ? "InPlace" : "Gather";
                         });

}  // namespace
}  // namespace khop::load
