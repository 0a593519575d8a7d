// SPDX-License-Identifier: MIT
// The routes kernel and file: what the kernel is handed, and what becomes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/relocator/blob.h"
#include "tool/load/routes.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

using system::FakeSystem;

class HeldTest : public testing::Test {
 protected:
  Result<report::Plan> Load(const LoadOptions& options) {
    machine_.system.NewProcess();
    return load::Load(machine_.system, options, NoProgress);
  }
  Result<report::Plan> Load(Route route) {
    LoadOptions options = Options(route);
    return Load(options);
  }
  LoadOptions Options(Route route) {
    LoadOptions options = machine_.Options();
    options.route = route;
    // kexec_file_load takes one.
    if (route == Route::kFile) options.initrds = {"/boot/initrd"};
    return options;
  }
  Result<void> Exec() {
    machine_.system.NewProcess();
    return load::Exec(machine_.system, ExecMode::kNow, NoProgress);
  }
  report::Status Status() { return *GetStatus(machine_.system); }
  std::string Text(const std::string& path) { return machine_.system.Find(path)->text; }
  // Whether what is loaded is the in-place load that a test began with.
  void LoadSomethingFirst() {
    ASSERT_TRUE(Load(Route::kInPlace));
    first_ = machine_.system.loaded->bytes;
  }
  void ExpectFirstStillLoaded() {
    ASSERT_NE(machine_.system.loaded, nullptr);
    EXPECT_EQ(machine_.system.loaded->bytes, first_);
    EXPECT_EQ(Status().route, "in-place");
    EXPECT_TRUE(report::Ready(Status()));
  }

  TestMachine machine_;
  std::vector<std::byte> first_;
};

class KernelRouteTest : public HeldTest {};

TEST_F(KernelRouteTest, HandsOverEverythingAtItsPlaceAndHoldsNothing) {
  const auto before = machine_.Look();
  const auto plan = Load(Route::kKernel);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "kernel");
  EXPECT_EQ(machine_.system.segment_count(), 0U);
  const auto& image = *machine_.system.loaded;
  ASSERT_EQ(image.segments.size(), 4U);
  EXPECT_EQ(image.entry, plan->control.start);
  const auto bytes = [&](uint64_t at) {
    const auto& segment = image.segments.at(at);
    return std::string(reinterpret_cast<const char*>(segment.data()), segment.size());
  };
  for (const auto& segment : plan->segments) {
    if (segment.name == "kernel") {
      EXPECT_EQ(segment.start, plan->entry);
      EXPECT_EQ(bytes(segment.start), Text("/boot/Image"));
      EXPECT_EQ(segment.start % system::FakeSystem::kDefaultHuge, 0U);
    } else if (segment.name == "initrd") {
      const std::string first = Text("/boot/initrd");
      EXPECT_EQ(bytes(segment.start),
                first + std::string((4 - first.size() % 4) % 4, '\0') + Text("/boot/more"));
    }
    // Nothing goes where the running kernel or a reservation is by /proc/iomem.
    const PhysRange where{PhysAddr{segment.start}, segment.size};
    EXPECT_FALSE(where.Overlaps({PhysAddr{0x40210000}, 0x21f0000}));
    EXPECT_LE(where.end(), PhysAddr{0x7c000000});
  }
  EXPECT_EQ(plan->bytes_in_place, 0U);
  EXPECT_EQ(plan->bytes_to_move, plan->bytes_to_verify);
  // Twice the payload at the peak, and the plan says so.
  EXPECT_TRUE(std::ranges::any_of(plan->notes, [](const std::string& note) {
    return note.starts_with("memory at the peak: ") && note.find("copy") != std::string::npos;
  }));
  const auto done = Exec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(machine_.system.reboots, 1);
  ASSERT_TRUE(Unload(machine_.system));
  EXPECT_EQ(machine_.Look(), before);
}

// The relocator's own checks accept the hand-off, and its digests are those of the segments.
TEST_F(KernelRouteTest, TheRelocatorVerifiesWhatTheKernelMoves) {
  const auto plan = Load(Route::kKernel);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto& image = *machine_.system.loaded;
  const std::vector<std::byte>& control = image.segments.at(plan->control.start);
  relocator::BlobHeader blob;
  memcpy(&blob, control.data(), sizeof(blob));
  const handoff::View view(control.data() + blob.parameters.handoff_offset);
  EXPECT_TRUE(handoff::CheckBody(view, digest::DigestFeatures::Scalar()).ok());
  EXPECT_TRUE(view.moves().empty());
  EXPECT_EQ(view.header().stamp, 0U);
  ASSERT_EQ(view.verify().size(), 3U);
  for (const handoff::VerifyRange& range : view.verify()) {
    const auto& segment = image.segments.at(range.start);
    ASSERT_EQ(segment.size(), range.size);
    for (uint64_t at = 0, n = range.first_digest; at < range.size; at += handoff::kPieceSize, ++n) {
      digest::Sha256 sha256(digest::DigestFeatures::Scalar());
      sha256.Update(std::span(segment).subspan(at).first(
          std::min<uint64_t>(handoff::kPieceSize, segment.size() - at)));
      const auto digest = sha256.Finish();
      EXPECT_EQ(memcmp(view.digest(static_cast<uint32_t>(n)), digest.data(), digest.size()), 0);
    }
  }
}

TEST_F(KernelRouteTest, RefusesMoreThanHalfOfMemoryAndWhatIsNotThere) {
  LoadSomethingFirst();
  machine_.system.SetFile("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:     800000 kB\n");
  const auto half = Load(Route::kKernel);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, ExitCode::kHalfOfMemory) << half.error().message;
  machine_.system.SetFile("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable:     20000 kB\n");
  const auto none = Load(Route::kKernel);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ExitCode::kNoMemory) << none.error().message;
  machine_.system.SetFile("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable:     800000 kB\n");
  machine_.system.kexec_limit = 1 << 20;
  EXPECT_EQ(Load(Route::kKernel).error().code, ExitCode::kNoMemory);
  ExpectFirstStillLoaded();
}

TEST_F(KernelRouteTest, ExecStartsWhatWasLoadedOrNothing) {
  ASSERT_TRUE(Load(Route::kKernel));
  EXPECT_TRUE(report::Ready(Status()));
  const auto kernel = [&] { return machine_.system.loaded->segments.at(Status().entry); };
  const auto ours = kernel();
  // Another tool loads its own.
  const std::vector<std::byte> foreign(4096, std::byte{0x66});
  const system::KexecSegment segment{
      .buffer = foreign, .destination = {0x48000000}, .size = foreign.size()};
  ASSERT_TRUE(machine_.system.KexecLoad({0x48000000}, {&segment, 1}));
  const auto done = Exec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(kernel(), ours);
  EXPECT_EQ(machine_.system.reboots, 1);
  // A file that changed is not what was loaded.
  std::string changed = Text("/boot/initrd");
  changed[500000] ^= 1;
  machine_.system.SetFile("/boot/initrd", changed);
  const auto refused = Exec();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kFileChanged);
  EXPECT_EQ(machine_.system.reboots, 1);
  // And another tool may unload it.
  machine_.system.loaded.reset();
  EXPECT_FALSE(report::Ready(Status()));
  EXPECT_EQ(Exec().error().code, ExitCode::kForeignImage);
}

TEST_F(KernelRouteTest, ReplacesAnArenaAndIsReplacedByOne) {
  LoadSomethingFirst();
  ASSERT_TRUE(Load(Route::kKernel));
  EXPECT_EQ(machine_.system.segment_count(), 0U);
  EXPECT_EQ(Status().route, "kernel");
  ASSERT_TRUE(Load(Route::kInPlace));
  EXPECT_TRUE(report::Ready(Status()));
  EXPECT_EQ(Status().route, "in-place");
}

// Wherever khop dies, the next one leaves an image that is whole, or none.
TEST_F(KernelRouteTest, KilledAnywhere) {
  int calls = 0;
  {
    TestMachine whole;
    LoadOptions options = whole.Options();
    options.route = Route::kKernel;
    ASSERT_TRUE(load::Load(whole.system, options, NoProgress));
    calls = whole.system.calls;
  }
  ASSERT_GT(calls, 50);
  for (int die = 0; die < calls; die += 7) {
    TestMachine machine;
    const auto before = machine.Look();
    LoadOptions options = machine.Options();
    options.route = Route::kKernel;
    machine.system.die_call = die;
    (void)load::Load(machine.system, options, NoProgress);
    machine.system.die_call = -1;
    machine.system.NewProcess();
    const auto status = GetStatus(machine.system);
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_TRUE(Unload(machine.system)) << die;
    EXPECT_EQ(machine.Look(), before) << die;
  }
}

class FileRouteTest : public HeldTest {
 protected:
  void SetUp() override { machine_.system.kexec_file_error = 0; }
};

TEST_F(FileRouteTest, PassesTheVeryFiles) {
  const auto plan = Load(Route::kFile);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "file");
  EXPECT_EQ(plan->digest, "none");
  const auto& image = *machine_.system.loaded;
  EXPECT_EQ(image.kernel_file, "/boot/Image");
  EXPECT_EQ(image.initrd_file, "/boot/initrd");
  EXPECT_EQ(image.command_line, "console=ttyAMA0");
  EXPECT_EQ(image.file_flags, 0U);
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  EXPECT_TRUE(report::Ready(Status()));
  const auto done = Exec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(machine_.system.reboots, 1);
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  ASSERT_TRUE(Unload(machine_.system));
  EXPECT_EQ(machine_.system.loaded, nullptr);
}

TEST_F(FileRouteTest, NoInitrdIsTold) {
  LoadOptions options = Options(Route::kFile);
  options.initrds.clear();
  ASSERT_TRUE(Load(options));
  EXPECT_EQ(machine_.system.loaded->file_flags, system::kKexecFileNoInitramfs);
  EXPECT_EQ(machine_.system.loaded->initrd_file, "");
}

TEST_F(FileRouteTest, NoCmaWhereItIsKnown) {
  LoadOptions options = Options(Route::kFile);
  options.no_cma = true;
  const auto plan = Load(options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(machine_.system.loaded->file_flags, 0U);
  EXPECT_TRUE(std::ranges::any_of(
      plan->notes, [](const std::string& note) { return note.starts_with("--no-cma: "); }));
  machine_.system.kexec_file_flags |= system::kKexecFileNoCma;
  ASSERT_TRUE(Load(options));
  EXPECT_EQ(machine_.system.loaded->file_flags, system::kKexecFileNoCma);
  const auto done = Exec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(machine_.system.loaded->file_flags, system::kKexecFileNoCma);
}

TEST_F(FileRouteTest, WhatItCannotHonourIsRefused) {
  LoadSomethingFirst();
  machine_.system.SetFile("/boot/dtb", TestTree(0x40000000));
  const std::vector<std::pair<const char*, void (*)(LoadOptions&)>> cases = {
      {"--dtb", [](LoadOptions& o) { o.dtb = "/boot/dtb"; }},
      {"--initrd", [](LoadOptions& o) { o.initrds = {"/boot/initrd", "/boot/more"}; }},
      {"--mmu", [](LoadOptions& o) { o.mmu = MmuMode::kOff; }},
      {"--verify", [](LoadOptions& o) { o.digest_asked = true; }},
      {"--mem-min", [](LoadOptions& o) { o.mem_min = 0x50000000; }},
  };
  for (const auto& [name, change] : cases) {
    LoadOptions options = Options(Route::kFile);
    change(options);
    const auto plan = Load(options);
    ASSERT_FALSE(plan) << name;
    EXPECT_EQ(plan.error().code, ExitCode::kRouteOption) << plan.error().message;
    EXPECT_TRUE(plan.error().message.starts_with(name)) << plan.error().message;
  }
  ExpectFirstStillLoaded();
}

TEST_F(FileRouteTest, EveryRefusalOfTheKernelIsExplained) {
  LoadSomethingFirst();
  const int loads = machine_.system.kexec_loads;
  const std::vector<std::pair<int, ExitCode>> cases = {
      {ENOSYS, ExitCode::kKexecFileNotBuilt},
      {EACCES, ExitCode::kImaPolicy},
      {ENODATA, ExitCode::kSignature},
      {ENOKEY, ExitCode::kSignature},
      {EKEYREJECTED, ExitCode::kSignature},
      {EKEYREVOKED, ExitCode::kSignature},
      {EKEYEXPIRED, ExitCode::kSignature},
      {EBADMSG, ExitCode::kSignature},
      {ELIBBAD, ExitCode::kSignature},
      {ENOPKG, ExitCode::kSignature},
      {ENOEXEC, ExitCode::kNotAKernel},
      {EINVAL, ExitCode::kNotAKernel},
      {EFBIG, ExitCode::kNoMemory},
      {ENOMEM, ExitCode::kNoMemory},
      {EBUSY, ExitCode::kBusy},
      {EADDRNOTAVAIL, ExitCode::kNoContiguousMemory},
      {ETXTBSY, ExitCode::kFileChanged},
      {EPERM, ExitCode::kLockdown},
      {EIO, ExitCode::kSystemCall}};
  std::vector<std::string> messages;
  for (const auto& [error, code] : cases) {
    machine_.system.kexec_file_error = error;
    const auto plan = Load(Route::kFile);
    ASSERT_FALSE(plan) << error;
    EXPECT_EQ(plan.error().code, code) << error << ": " << plan.error().message;
    EXPECT_TRUE(plan.error().message.starts_with("kexec_file_load: ")) << plan.error().message;
    // A key that was revoked or has expired is rejected.
    if (error != EKEYREVOKED && error != EKEYEXPIRED) {
      EXPECT_EQ(std::ranges::count(messages, plan.error().message), 0) << plan.error().message;
    }
    messages.push_back(plan.error().message);
  }
  // Never by the other system call.
  EXPECT_EQ(machine_.system.kexec_loads, loads);
  machine_.system.kexec_file_error = 0;
  ExpectFirstStillLoaded();
}

TEST_F(FileRouteTest, UnderLockdownItIsTheOnlyWay) {
  machine_.system.SetFile("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  LoadOptions options = Options(Route::kAuto);
  options.initrds = {"/boot/initrd"};
  const auto plan = Load(options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "file");
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  ASSERT_EQ(plan->refused.size(), Routes().size() - 1);
  for (const auto& refusal : plan->refused) {
    EXPECT_NE(refusal.reason.find("lockdown"), std::string::npos) << refusal.reason;
  }
  EXPECT_TRUE(report::Ready(Status()));
  const auto done = Exec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  // A signature that lockdown does not accept ends it.
  machine_.system.kexec_file_error = EBADMSG;
  const auto refused = Load(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kSignature);
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  EXPECT_NE(machine_.system.loaded, nullptr);
}

}  // namespace
}  // namespace khop::load
