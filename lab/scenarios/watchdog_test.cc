// SPDX-License-Identifier: MIT
// A next kernel that hangs after a good jump: a hardware watchdog brings the machine back.
#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

using testing::HasSubstr;

class Watchdog : public FirstMachine {};

TEST_F(Watchdog, ANextKernelThatHangsIsResetIntoTheNormalBoot) {
  START_FIRST_MACHINE({.allow_reboot = true,
                       .extra_arguments = {"-device", "i6300esb"},
                       .append = "watchdog.stop_on_reboot=0",
                       .drivers = {"i6300esb"}});
  // Without the driver there is none, and no hop.
  MUST(guest().Must("khop load /next/Image --cmdline 'console=ttyAMA0 rdinit=/none root=none'"));
  const auto refused = guest().Run("khop exec --now --watchdog 240");
  MUST(refused);
  EXPECT_EQ(refused->exit_code, 101) << refused->output;
  MUST(guest().Must("insmod /drivers/i6300esb.ko"));
  const auto doctor = guest().Must("khop doctor");
  MUST(doctor);
  EXPECT_THAT(*doctor, HasSubstr("khop exec --watchdog"));
  // No root, no init, no panic= on the command line: it stays there for ever.
  const size_t before = machine().console().size();
  MUST(guest().Start("khop exec --now --watchdog 240"));
  const auto facts = guest().WaitUntilUp(Seconds(600));
  MUST(facts);
  EXPECT_EQ(facts->uname, kernel_.release);
  EXPECT_EQ(facts->command_line, facts_.command_line);
  // The hop was good; what came after it was not.
  const std::string said = machine().console().substr(before);
  EXPECT_THAT(said, HasSubstr("Linux version " + next_kernel_.release));
  EXPECT_THAT(said, HasSubstr("Kernel panic - not syncing"));
  EXPECT_THAT(said, HasSubstr("Linux version " + kernel_.release));
}

}  // namespace
}  // namespace khop::lab
