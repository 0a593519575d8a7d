// SPDX-License-Identifier: MIT
// examples/embed, a bare-metal boot loader on khop's core, starts a real Debian kernel from
// scattered pages.
#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class Embed : public testing::Test {
 protected:
  void ExpectStarts(const std::string& cpu, const std::string& board, const std::string& level) {
    const Result<LabKernel> kernel = FindKernel("6.12");
    if (!kernel) {
      GTEST_SKIP() << kernel.error().what;
    }
    const Result<std::filesystem::path> loader = FindGuestFile("embed.Image");
    MUST(loader);
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    const Result<std::filesystem::path> directory =
        MakeRunDirectory(std::string("Embed.") + info->name());
    MUST(directory);
    const Result<GuestImage> initrd = MakeNextGuest(*directory, 0, 7);
    MUST(initrd);
    const std::string command_line = "console=ttyAMA0 retain_initrd khop_lab.embed=1";
    // Where the loader's source says that it expects the kernel.
    Result<Machine> machine =
        Machine::Start({.kernel = *loader,
                        .initrd = initrd->path,
                        .command_line = command_line,
                        .cpu = cpu,
                        .machine = board,
                        .extra_arguments = {"-device", "loader,addr=0x50000000,force-raw=on,file=" +
                                                           kernel->image.string()},
                        .console_log = *directory / "console.log"});
    MUST(machine);
    Guest guest(*machine);
    const Result<Facts> facts = guest.WaitUntilUp(Seconds(180));
    EXPECT_TRUE(facts) << machine->ConsoleTail();
    MUST(facts);
    EXPECT_EQ(facts->uname, kernel->release);
    EXPECT_EQ(facts->command_line, command_line);
    EXPECT_EQ(facts->initrd_sha256, initrd->written.sha256);
    const std::string& console = machine->console();
    EXPECT_THAT(console, testing::ContainsRegex("embed: bytes to move 0x[1-9a-f][0-9a-f]{5,}"));
    EXPECT_THAT(console, testing::HasSubstr("CPU: All CPU(s) started at " + level));
    EXPECT_THAT(console, testing::Not(testing::HasSubstr("resetting")));
    machine->Kill();
  }
};

TEST_F(Embed, StartsLinuxAtEl1) { ExpectStarts("cortex-a57", "virt,gic-version=3", "EL1"); }

TEST_F(Embed, StartsLinuxAtEl2WithVhe) {
  ExpectStarts("neoverse-n1", "virt,gic-version=3,virtualization=on", "EL2");
}

}  // namespace
}  // namespace khop::lab
