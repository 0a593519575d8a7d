// SPDX-License-Identifier: MIT
// The lab itself: a Debian kernel boots, its facts are what they must be, commands run, and each
// way for a machine to end is told from the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lab/vm/guest.h"
#include "lab/vm/lab_files.h"
#include "lab/vm/machine.h"

namespace khop::lab {
namespace {

using testing::Contains;
using testing::HasSubstr;

// A booted guest without khop, or the reason why there is none.
class Boot : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    const Result<std::filesystem::path> directory = MakeRunDirectory("boot-" + name);
    ASSERT_TRUE(directory) << directory.error().what;
    directory_ = *directory;
  }
  void TearDown() override {
    std::error_code error;
    std::filesystem::remove(directory_ / "first.cpio", error);
  }

  // Boots `short_name`; `facts_` are what it said.
  void Start(const std::string& short_name, const std::string& append) {
    const Result<LabKernel> kernel = FindKernel(short_name);
    if (!kernel) {
      GTEST_SKIP() << kernel.error().what;
    }
    kernel_ = *kernel;
    const Result<Initramfs> guest = BaseGuest(false);
    ASSERT_TRUE(guest) << guest.error().what;
    const Result<Initramfs::Written> written = guest->Write(directory_ / "first.cpio");
    ASSERT_TRUE(written) << written.error().what;
    initrd_ = *written;
    Result<Machine> machine = Machine::Start({.kernel = kernel_.image,
                                              .initrd = directory_ / "first.cpio",
                                              .command_line = "console=ttyAMA0 " + append,
                                              .console_log = directory_ / "console.log"});
    ASSERT_TRUE(machine) << machine.error().what;
    machine_ = std::move(*machine);
    guest_.emplace(machine_);
    const Result<Facts> facts = guest_->WaitUntilUp(Seconds(120));
    ASSERT_TRUE(facts) << facts.error().what;
    facts_ = *facts;
  }

  std::filesystem::path directory_;
  LabKernel kernel_;
  Initramfs::Written initrd_;
  Machine machine_;
  std::optional<Guest> guest_;
  Facts facts_;
};

TEST_F(Boot, FactsOf61) {
  Start("6.1", "khop_lab.word=one");
  if (IsSkipped() || HasFatalFailure()) {
    return;
  }
  EXPECT_EQ(facts_.uname, kernel_.release);
  EXPECT_EQ(facts_.command_line, "console=ttyAMA0 khop_lab.word=one");
  // 6.1 does not show its initrd; the files that came out of it are what was packed.
  EXPECT_EQ(facts_.initrd_sha256, "");
  EXPECT_EQ(facts_.manifest_sha256, initrd_.manifest_sha256);
  EXPECT_EQ(facts_.counter_hz, 62'500'000u);
  EXPECT_GT(facts_.memory_total_kib, 900u * 1024);
  EXPECT_THAT(facts_.iomem, Contains(HasSubstr("System RAM")));

  const Result<CommandResult> result =
      guest_->Run("echo out; echo err >&2; printf 'a\\r\\tb'; exit 3");
  ASSERT_TRUE(result) << result.error().what;
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\nerr\na\r\tb");

  const Result<Facts> later = guest_->GatherFacts();
  ASSERT_TRUE(later) << later.error().what;
  EXPECT_GT(later->counter, facts_.counter);

  // What the kernel prints while an answer is under way spoils none.
  const Result<std::string> noisy = guest_->Must(
      "dmesg -n 8; (for i in $(seq 400); do echo noise $i > /dev/kmsg; done) & "
      "for i in $(seq 400); do echo line $i; done");
  ASSERT_TRUE(noisy) << noisy.error().what;
  EXPECT_THAT(*noisy, testing::StartsWith("line 1\n"));
  EXPECT_THAT(*noisy, testing::EndsWith("line 400\n"));

  // QEMU's monitor works, and the first bytes of RAM hold the device tree or the kernel.
  const Result<std::string> status = machine_.Monitor("info status");
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_THAT(*status, HasSubstr("running"));
  const Result<std::string> memory = machine_.ReadMemory(0x40000000, 4096);
  ASSERT_TRUE(memory) << memory.error().what;
  EXPECT_EQ(memory->size(), 4096u);

  const Result<MachineEnd> end = guest_->PowerOff();
  ASSERT_TRUE(end) << end.error().what;
  EXPECT_EQ(end->reason, EndReason::kGuestPowerOff);
  EXPECT_EQ(end->exit_code, 0);
}

TEST_F(Boot, InitrdOf612AndReset) {
  Start("6.12", "retain_initrd");
  if (IsSkipped() || HasFatalFailure()) {
    return;
  }
  EXPECT_EQ(facts_.uname, kernel_.release);
  EXPECT_EQ(facts_.initrd_sha256, initrd_.sha256);

  const Result<void> started = guest_->Start("reboot -f");
  ASSERT_TRUE(started) << started.error().what;
  const Result<MachineEnd> end = machine_.WaitForEnd(Seconds(30));
  ASSERT_TRUE(end) << end.error().what;
  EXPECT_EQ(end->reason, EndReason::kGuestReset);
}

// A failed wait says what the console said last, and a machine left running is killed with its
// owner.
TEST_F(Boot, FailedWaitQuotesTheConsole) {
  Start("6.1", "khop_lab.nodigest");
  if (IsSkipped() || HasFatalFailure()) {
    return;
  }
  EXPECT_EQ(facts_.manifest_sha256, "");
  const Result<std::string> line = machine_.WaitForText("no kernel says this", Seconds(1));
  ASSERT_FALSE(line);
  EXPECT_THAT(line.error().what, HasSubstr("no kernel says this"));
  EXPECT_THAT(line.error().what, HasSubstr("@khop ready"));
  const Result<MachineEnd> end = machine_.WaitForEnd(Seconds(0.2));
  EXPECT_FALSE(end);
  machine_.Kill();
  EXPECT_FALSE(machine_.running());
}

}  // namespace
}  // namespace khop::lab
