// SPDX-License-Identifier: MIT
// The crash reservation: a hop out of it, a kdump, and both in one image.
#include "lab/scenarios/crash_machine.h"

namespace khop::lab {
namespace {

class Reserved : public CrashMachine {};
class Kdump : public CrashMachine {};
class Combined : public CrashMachine {
 protected:
  static std::string Both() {
    return std::string("--route reserved --crash-kernel /next/Image --crash-initrd /next/initrd ") +
           "--crash-cmdline '" + kCaptureLine + "'";
  }
};

TEST_F(Reserved, HopsWithoutACopy) {
  START_FIRST_MACHINE(WithReservation());
  MUST(Load("--route reserved"));
  // A panic does what it did before.
  EXPECT_FALSE(CrashLoaded());
  HopOutOfTheReservation();
}

// As kdump-tools does between load and exec.
TEST_F(Reserved, AnotherToolsKdumpIsRespected) {
  START_FIRST_MACHINE(WithReservation());
  const std::string load = "khop load /next/Image --initrd /next/initrd --cmdline '" +
                           std::string(kNextCommandLine) + "'";
  MUST(guest().Must("khop-guest-tool crash load"));
  ExpectExit(load + " --route reserved", 52, "another tool has loaded one");
  ExpectExit("khop load --crash /next/Image", 52, "another tool has loaded one");
  ExpectExit("khop unload --crash", 52, "another tool has loaded it");
  EXPECT_TRUE(CrashLoaded());
  MUST(guest().Must("khop-guest-tool crash unload"));
  // Bounds within the reservation leave auto no other choice; outside, bytes are copied.
  const Result<nlohmann::json> plan =
      KhopJson(guest(), load.substr(5) +
                            " --mem-min $(sed -n 's/^ *\\([0-9a-f]*\\)-.* : Crash kernel$/0x\\1/p'"
                            " /proc/iomem)");
  MUST(plan);
  EXPECT_EQ(plan->value("route", ""), "reserved");
  const Result<nlohmann::json> status = KhopJson(guest(), "status");
  MUST(status);
  EXPECT_TRUE(status->value("ready", false)) << status->dump(1);
  MUST(guest().Must("khop-guest-tool crash load"));
  ExpectExit("khop exec --now", 6, "another tool has loaded a crash kernel");
  ExpectExit("khop status", 0, "khop exec would refuse");
  // A plain reboot is one by firmware.
  MUST(guest().Must("khop unload"));
  EXPECT_TRUE(CrashLoaded());
  MUST(guest().Start("reboot -f"));
  const Result<MachineEnd> end = machine().WaitForEnd(Seconds(60));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestReset);
}

TEST_F(Kdump, APanicIsCaptured) {
  START_FIRST_MACHINE(WithCapture());
  MUST(guest().Must("khop load --crash /next/Image --initrd /next/initrd --cmdline '" +
                    std::string(kCaptureLine) + "'"));
  EXPECT_TRUE(CrashLoaded());
  PanicAndCapture();
}

TEST_F(Combined, APanicStartsTheCrashKernel) {
  START_FIRST_MACHINE(WithCapture());
  MUST(Load(Both()));
  EXPECT_TRUE(CrashLoaded());
  PanicAndCapture();
}

TEST_F(Combined, ARebootStartsThePayload) {
  START_FIRST_MACHINE(WithCapture());
  // Khop knows how to load it again, beside a payload.
  MUST(guest().Must("khop load --crash /next/Image --initrd /next/initrd --cmdline '" +
                    std::string(kCaptureLine) + "'"));
  MUST(Load("--route reserved"));
  EXPECT_TRUE(CrashLoaded());
  MUST(guest().Must("khop-guest-tool crash unload"));
  ExpectExit("khop exec --now", 6, "another tool has unloaded the crash kernel");
  MUST(Load(Both()));
  HopOutOfTheReservation();
}

}  // namespace
}  // namespace khop::lab
