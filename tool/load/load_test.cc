// SPDX-License-Identifier: MIT
// load, status, exec and unload on the fake machine, from good days to the worst.
#include "tool/load/load.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "core/handoff/handoff.h"
#include "tool/load/session.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

class LoadTest : public testing::Test {
 protected:
  Result<report::Plan> TryLoad() { return Load(system_, machine_.Options(), NoProgress); }
  std::string Physical(uint64_t address, uint64_t size) {
    std::string bytes;
    for (uint64_t i = 0; i < size; ++i) {
      const std::byte* const at = system_.PhysicalBytes(address + i);
      bytes += at == nullptr ? '?' : static_cast<char>(*at);
    }
    return bytes;
  }
  static const report::Segment& Find(const report::Plan& plan, std::string_view name) {
    for (const auto& segment : plan.segments) {
      if (segment.name == name) return segment;
    }
    ADD_FAILURE() << name;
    return plan.segments.front();
  }
  static bool Checks(const report::Status& status, std::string_view name) {
    for (const auto& check : status.checks) {
      if (check.name == name) return check.ok;
    }
    return false;
  }

  TestMachine machine_;
  system::FakeSystem& system_ = machine_.system;
};

TEST_F(LoadTest, PutsEverythingInPlaceAndGivesItBack) {
  const auto before = machine_.Look();
  const auto plan = TryLoad();
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(system_.loaded);
  EXPECT_EQ(system_.loaded->entry, plan->control.start);
  EXPECT_EQ(system_.loaded->destination, plan->control.start);
  EXPECT_EQ(plan->bytes_to_move, 0U);
  EXPECT_EQ(plan->entry % (2 << 20), 0U);
  EXPECT_EQ(Physical(plan->entry, 3'500'000), system_.Find("/boot/Image")->text);
  // The BSS is there and zero.
  EXPECT_EQ(Physical(plan->entry + 3'500'000, 200'000), std::string(200'000, '\0'));
  // The second initrd follows at a multiple of 4.
  const auto& initrd = Find(*plan, "initrd");
  EXPECT_EQ(initrd.size, 1'000'004U + 77);
  EXPECT_EQ(Physical(initrd.start, initrd.size),
            std::string(1'000'001, 'i') + std::string(3, '\0') + std::string(77, 'm'));
  EXPECT_EQ(Physical(Find(*plan, "dtb").start, 4), "\xd0\x0d\xfe\xed");
  EXPECT_TRUE(system_.dropped_from_cache.empty());
  // What is held: 3,700,000 + 1,000,081 bytes and less than 6 MiB more.
  EXPECT_EQ(system_.PagesInUse(), 3U);
  EXPECT_EQ(system_.pool_persistent, 0U);
  // Each held page was cleaned whole.
  for (const report::ArenaPages& pages : plan->arena) EXPECT_EQ(pages.count, 3U);
  uint64_t cleaned = 0;
  for (const auto& [address, size] : system_.cleaned) cleaned += size;
  EXPECT_EQ(cleaned, 3U << 21);

  system_.NewProcess();
  const auto status = GetStatus(system_);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(report::Ready(*status)) << report::RenderText(*status);
  EXPECT_EQ(LoadedPlan(system_)->entry, plan->entry);

  system_.NewProcess();
  EXPECT_TRUE(Unload(system_).value());
  EXPECT_EQ(machine_.Look(), before);
  EXPECT_FALSE(system_.Find("/run/khop/state.json"));
  EXPECT_FALSE(system_.Find("/run/khop/control.0"));
  EXPECT_FALSE(Unload(system_).value());
  EXPECT_EQ(GetStatus(system_)->loaded_by, report::LoadedBy::kNobody);
}

// Where memory is short the files do not stay in it beside their contents.
TEST_F(LoadTest, LargeFilesLeaveThePageCache) {
  system_.SetFile("/proc/meminfo", "MemTotal: 20000 kB\nMemAvailable:     13000 kB\n");
  ASSERT_TRUE(TryLoad());
  EXPECT_TRUE(system_.dropped_from_cache.contains("/boot/Image"));
  EXPECT_FALSE(system_.dropped_from_cache.contains("/boot/initrd"));
}

TEST_F(LoadTest, HandOffNamesWhatIsThere) {
  const auto plan = TryLoad();
  ASSERT_TRUE(plan);
  const auto& bytes = system_.loaded->bytes;
  handoff::Header header;
  memcpy(&header, bytes.data() + plan->control.blob_bytes + plan->control.stack_bytes,
         sizeof(header));
  EXPECT_EQ(header.magic, handoff::kMagic);
  EXPECT_EQ(header.entry, plan->entry);
  EXPECT_EQ(header.dtb, Find(*plan, "dtb").start);
  EXPECT_EQ(header.stamp, Find(*plan, "stamp").start);
  EXPECT_EQ(header.moves.count, 0U);
  EXPECT_EQ(header.verify.count, 3U);
  EXPECT_EQ(header.flags & handoff::kLinuxImage, handoff::kLinuxImage);
  EXPECT_EQ(header.cache_line_size, 64U);
}

TEST_F(LoadTest, EachVerifyKind) {
  for (const auto kind :
       {handoff::DigestKind::kNone, handoff::DigestKind::kCrc32c, handoff::DigestKind::kSha256}) {
    LoadOptions options = machine_.Options();
    options.digest = kind;
    ASSERT_TRUE(Load(system_, options, NoProgress));
    system_.NewProcess();
    EXPECT_TRUE(Exec(system_, ExecMode::kNow, NoProgress));
  }
  EXPECT_EQ(system_.reboots, 3);
}

TEST_F(LoadTest, ReplacesWhatWasLoaded) {
  ASSERT_TRUE(TryLoad());
  const auto first = machine_.Look();
  system_.NewProcess();
  LoadOptions options = machine_.Options();
  options.command_line = "second";
  ASSERT_TRUE(Load(system_, options, NoProgress));
  EXPECT_EQ(machine_.Look(), first);
  EXPECT_EQ(GetStatus(system_)->command_line, "second");
  EXPECT_TRUE(report::Ready(*GetStatus(system_)));
}

TEST_F(LoadTest, ExecStampsAndJumps) {
  const auto plan = TryLoad();
  ASSERT_TRUE(plan);
  system_.NewProcess();
  system_.counter = 0x1122334455667788;
  ASSERT_TRUE(Exec(system_, ExecMode::kNow, NoProgress));
  EXPECT_EQ(system_.reboots, 1);
  EXPECT_EQ(system_.taken_memory, 0u);
  uint64_t stamp = 0;
  memcpy(&stamp, system_.PhysicalBytes(Find(*plan, "stamp").start), sizeof(stamp));
  EXPECT_EQ(stamp, system_.counter);
}

TEST_F(LoadTest, EarlyVerificationIsToldToTheRelocatorByExecOnly) {
  LoadOptions options = machine_.Options();
  options.early = true;
  const auto plan = Load(system_, options, NoProgress);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->digest, "early");
  handoff::Header header;
  memcpy(&header,
         system_.loaded->bytes.data() + plan->control.blob_bytes + plan->control.stack_bytes,
         sizeof(header));
  EXPECT_NE(header.flags & handoff::kVerifyEarly, 0U);
  EXPECT_EQ(header.digests.count, 4U);  // the relocator can do it all the same
  const auto words = [&] {
    std::array<uint64_t, 2> both;
    memcpy(both.data(), system_.PhysicalBytes(header.stamp), sizeof(both));
    return both;
  };
  using Words = std::array<uint64_t, 2>;
  // A reboot(2) without khop finds nothing there.
  EXPECT_EQ(words(), (Words{0, 0}));
  system_.NewProcess();
  EXPECT_EQ(GetStatus(system_)->digest, "early");
  EXPECT_EQ(words(), (Words{0, 0}));

  system_.NewProcess();
  system_.counter = 4711;
  ASSERT_TRUE(Exec(system_, ExecMode::kNow, NoProgress));
  EXPECT_EQ(words(), (Words{4711, handoff::EarlyWord(4711)}));
  EXPECT_GE(system_.cleaned[system_.PhysicalBytes(header.stamp)], 16U);

  // An exec that refuses takes back what one before has said: a bit has flipped since.
  system_.NewProcess();
  *system_.PhysicalBytes(plan->entry + 70'000) ^= std::byte{1};
  EXPECT_EQ(Exec(system_, ExecMode::kNow, NoProgress).error().code, ExitCode::kArenaGone);
  EXPECT_EQ(words(), (Words{0, 0}));
  *system_.PhysicalBytes(plan->entry + 70'000) ^= std::byte{1};

  // systemd shuts down for a while before it calls reboot(2): that is not just before it.
  system_.NewProcess();
  system_.SetFile("/run/systemd/system", "");
  ASSERT_TRUE(Exec(system_, ExecMode::kOrderly, NoProgress));
  EXPECT_EQ(words(), (Words{0, 0}));
}

TEST_F(LoadTest, ExecTakesItsWordBackWhenRebootFails) {
  LoadOptions options = machine_.Options();
  options.early = true;
  const auto plan = Load(system_, options, NoProgress);
  ASSERT_TRUE(plan);
  system_.NewProcess();
  system_.meanwhile = [&](std::string_view call) {
    if (call == "Reboot") system_.fail_call = system_.calls - 1;
  };
  EXPECT_FALSE(Exec(system_, ExecMode::kNow, NoProgress));
  std::array<uint64_t, 2> words = {1, 1};
  memcpy(words.data(), system_.PhysicalBytes(Find(*plan, "stamp").start), sizeof(words));
  EXPECT_EQ(words, (std::array<uint64_t, 2>{0, 0}));
}

// The digests do not depend on how many take them.
TEST_F(LoadTest, DigestsByAnyNumberOfCpus) {
  std::string first;
  for (const unsigned cpus : {1U, 2U, 3U, 8U, 100U}) {
    system_.cpu_count = cpus;
    const auto plan = TryLoad();
    ASSERT_TRUE(plan);
    handoff::Header header;
    const size_t at = plan->control.blob_bytes + plan->control.stack_bytes;
    memcpy(&header, system_.loaded->bytes.data() + at, sizeof(header));
    // Kernel and initrd; the tree has fresh seeds in it.
    const std::string digests(
        reinterpret_cast<const char*>(system_.loaded->bytes.data() + at + header.digests.offset),
        size_t{header.digests.count - 1} * 32);
    if (first.empty()) first = digests;
    EXPECT_EQ(digests, first) << cpus;
    EXPECT_TRUE(report::Ready(*GetStatus(system_))) << cpus;
  }
}

TEST_F(LoadTest, ExecParksCpusLastAndPutsThemBackIfItStays) {
  ASSERT_TRUE(TryLoad());
  const std::string file = "/sys/devices/system/cpu/cpu1/online";
  system_.SetFile("/sys/devices/system/cpu/online", "0-1\n");
  system_.SetFile(file, "1\n");
  system_.NewProcess();
  std::string at_reboot;
  system_.meanwhile = [&](std::string_view call) {
    if (call != "Reboot") return;
    at_reboot = system_.Find(file)->text;
    system_.fail_call = system_.calls - 1;
  };
  EXPECT_FALSE(Exec(system_, ExecMode::kNow, NoProgress, {.park_cpus = true}));
  EXPECT_EQ(at_reboot, "0\n");
  EXPECT_EQ(system_.Find(file)->text, "1\n");
  // What is not parked at all refuses, and nothing has happened.
  system_.meanwhile = nullptr;
  system_.NewProcess();
  system_.Remove(file);
  const auto refused = Exec(system_, ExecMode::kNow, NoProgress, {.park_cpus = true});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("--park-cpus"), std::string::npos);
  EXPECT_EQ(system_.reboots, 0);
}

TEST_F(LoadTest, ExecGoesThroughSystemdWhereItRuns) {
  ASSERT_TRUE(TryLoad());
  system_.SetFile("/run/systemd/system", "");
  ASSERT_TRUE(Exec(system_, ExecMode::kOrderly, NoProgress));
  EXPECT_EQ(system_.runs, (std::vector<std::vector<std::string>>{{"systemctl", "kexec"}}));
  EXPECT_EQ(system_.reboots, 0);
  system_.run_status = 1;
  EXPECT_FALSE(Exec(system_, ExecMode::kOrderly, NoProgress));
  ASSERT_TRUE(Exec(system_, ExecMode::kNow, NoProgress));
  EXPECT_EQ(system_.reboots, 1);
}

TEST_F(LoadTest, ExecRefusesWhatIsNotIntact) {
  EXPECT_EQ(Exec(system_, ExecMode::kNow, NoProgress).error().code, ExitCode::kNothingLoaded);
  const auto plan = TryLoad();
  ASSERT_TRUE(plan);
  const auto code = [&] {
    system_.NewProcess();
    const auto done = Exec(system_, ExecMode::kNow, NoProgress);
    const auto status = GetStatus(system_);
    EXPECT_EQ(done.has_value(), report::Ready(*status)) << report::RenderText(*status);
    return done ? ExitCode::kOk : done.error().code;
  };
  for (const auto& segment : plan->segments) {
    if (segment.name == "stamp") continue;
    const uint64_t bytes = segment.name == "kernel" ? segment.file_bytes : segment.size;
    std::byte* const last = system_.PhysicalBytes(segment.start + bytes - 1);
    *last ^= std::byte{1};
    EXPECT_EQ(code(), ExitCode::kArenaGone) << segment.name;
    EXPECT_FALSE(Checks(*GetStatus(system_), "contents"));
    *last ^= std::byte{1};
  }
  system_.SetFile("/proc/sys/kernel/shm_rmid_forced", "1\n");
  EXPECT_EQ(code(), ExitCode::kUnsafeSystem);
  system_.SetFile("/proc/sys/kernel/shm_rmid_forced", "0\n");
  system_.Migrate(0x50200000, 0x5fe00000);
  EXPECT_EQ(code(), ExitCode::kArenaGone);
  EXPECT_FALSE(Checks(*GetStatus(system_), "pages"));
  system_.Migrate(0x5fe00000, 0x50200000);
  auto image = std::move(system_.loaded);
  EXPECT_EQ(code(), ExitCode::kForeignImage);
  system_.loaded = std::move(image);
  EXPECT_EQ(system_.reboots, 0);
  system_.RemoveSegment(SegmentKey(0, 0));
  EXPECT_EQ(code(), ExitCode::kArenaGone);
  EXPECT_TRUE(Unload(system_).value());
}

TEST_F(LoadTest, BadInputChangesNothing) {
  ASSERT_TRUE(TryLoad());
  const auto before = machine_.Look();
  const std::string state = system_.Find("/run/khop/state.json")->text;
  const std::string good = system_.Find("/boot/Image")->text;
  struct Case {
    std::function<void(LoadOptions&)> spoil;
    ExitCode code;
  };
  const auto with_image = [&](std::string text) {
    return [this, text = std::move(text)](LoadOptions& options) {
      system_.SetFile("/boot/bad", text);
      options.kernel = "/boot/bad";
    };
  };
  std::string big_endian = good;
  big_endian[24] |= 1;
  std::string pages_16k = good;
  pages_16k[24] = static_cast<char>((pages_16k[24] & ~6) | 4);
  std::string huge = good;
  huge[22] = 1;  // image_size of 2^48 and more
  const std::vector<Case> cases = {
      {[](LoadOptions& o) { o.kernel = "/none"; }, ExitCode::kFileMissing},
      {with_image(""), ExitCode::kFileEmpty},
      {with_image(good.substr(0, 60)), ExitCode::kTruncated},
      {with_image(std::string(5000, 'x')), ExitCode::kNotAKernel},
      {with_image(big_endian), ExitCode::kBigEndian},
      {with_image(pages_16k), ExitCode::kPageSize},
      {with_image(huge), ExitCode::kNotAKernel},
      {[](LoadOptions& o) { o.initrds = {"/none"}; }, ExitCode::kFileMissing},
      {[this](LoadOptions& o) {
         system_.SetFile("/empty", "");
         o.initrds = {"/boot/initrd", "/empty"};
       },
       ExitCode::kFileEmpty},
      {[this](LoadOptions& o) {
         system_.SetFile("/secret", "x");
         system_.Find("/secret")->open_error = EACCES;
         o.initrds = {"/secret"};
       },
       ExitCode::kFileUnreadable},
      {[](LoadOptions& o) { o.command_line = std::string(2048, 'x'); },
       ExitCode::kCommandLineTooLong},
      {[](LoadOptions& o) { o.dtb = "/boot/initrd"; }, ExitCode::kBadDeviceTree},
      {[](LoadOptions& o) { o.dtb = "/none"; }, ExitCode::kFileMissing},
      {[this](LoadOptions& o) {
         std::string large;
         large.resize(300'000'000, 'l');
         system_.SetFile("/boot/large", std::move(large));
         o.initrds = {"/boot/large"};
         o.route = Route::kGather;
       },
       ExitCode::kNoMemory},
  };
  for (const Case& c : cases) {
    system_.NewProcess();
    LoadOptions options = machine_.Options();
    c.spoil(options);
    const auto plan = Load(system_, options, NoProgress);
    ASSERT_FALSE(plan) << static_cast<int>(c.code);
    EXPECT_EQ(plan.error().code, c.code) << plan.error().message;
    EXPECT_EQ(machine_.Look(), before) << plan.error().message;
    EXPECT_EQ(system_.Find("/run/khop/state.json")->text, state) << plan.error().message;
    system_.Remove("/boot/large");
  }
  EXPECT_TRUE(report::Ready(*GetStatus(system_)));
}

TEST_F(LoadTest, KexecLoadsFailureKeepsTheOldImage) {
  ASSERT_TRUE(TryLoad());
  const auto before = machine_.Look();
  system_.NewProcess();
  // The probe is not made where loads are counted, so the failure comes at the commit.
  system_.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "5\n");
  system_.kexec_error = EBUSY;
  const auto plan = TryLoad();
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::kBusy);
  EXPECT_EQ(machine_.Look(), before);
  EXPECT_TRUE(report::Ready(*GetStatus(system_)));
}

TEST_F(LoadTest, OneAtATime) {
  system_.lock_held = true;
  EXPECT_EQ(TryLoad().error().code, ExitCode::kBusy);
  EXPECT_EQ(Unload(system_).error().code, ExitCode::kBusy);
}

TEST_F(LoadTest, DamagedStateIsSaidAndUnloadClearsIt) {
  const auto before = machine_.Look();
  ASSERT_TRUE(TryLoad());
  for (const char* const text : {"", "{", "[]", "{\"version\": 99, \"boot_id\": \"x\"}",
                                 "{\"version\": 3, \"boot_id\": \"x\", \"current\": {}}"}) {
    system_.NewProcess();
    system_.SetFile("/run/khop/state.json", text);
    EXPECT_EQ(TryLoad().error().code, ExitCode::kBadState) << text;
    EXPECT_EQ(GetStatus(system_).error().code, ExitCode::kBadState) << text;
  }
  EXPECT_TRUE(Unload(system_).value());
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(LoadTest, OrphansWithoutAStateAreFound) {
  const auto before = machine_.Look();
  ASSERT_TRUE(TryLoad());
  system_.NewProcess();
  system_.Remove("/run/khop/state.json");
  EXPECT_FALSE(Checks(*GetStatus(system_), "leftovers"));
  EXPECT_EQ(TryLoad().error().code, ExitCode::kBadState);
  system_.NewProcess();
  EXPECT_TRUE(Unload(system_).value());
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(LoadTest, AnUnsafeStateDirectoryIsRefused) {
  (void)system_.MakeDirectory("/run/khop");
  system_.Find("/run/khop")->info.mode = 0777;
  EXPECT_EQ(TryLoad().error().code, ExitCode::kUnsafeSystem);
}

TEST_F(LoadTest, AnAdministratorsPoolComesBackExactly) {
  system_.SetPool(7);
  const auto before = machine_.Look();
  for (int i = 0; i < 3; ++i) {
    system_.NewProcess();
    ASSERT_TRUE(TryLoad());
    EXPECT_EQ(system_.pool_free(), 7U);
    EXPECT_EQ(system_.PagesInUse(), 3U);
  }
  system_.NewProcess();
  EXPECT_TRUE(Unload(system_).value());
  EXPECT_EQ(machine_.Look(), before);
}

}  // namespace
}  // namespace khop::load
