// SPDX-License-Identifier: MIT
// The crash reservation on the lab's other kernels.
#include "lab/scenarios/crash_machine.h"

namespace khop::lab {
namespace {

class CrashKernels : public CrashMachine {
 protected:
  void HopFrom(const std::string& kernel) {
    START_FIRST_MACHINE(WithReservation(kernel));
    MUST(Load("--route reserved"));
    EXPECT_FALSE(CrashLoaded());
    HopOutOfTheReservation();
  }
  void CaptureOf(const std::string& kernel) {
    START_FIRST_MACHINE(WithCapture(kernel));
    MUST(guest().Must("khop load --crash /next/Image --initrd /next/initrd --cmdline '" +
                      std::string(kCaptureLine) + "'"));
    PanicAndCapture();
  }
};

TEST_F(CrashKernels, ReservedHopFrom510) { HopFrom("5.10"); }
TEST_F(CrashKernels, ReservedHopFrom612) { HopFrom("6.12"); }
TEST_F(CrashKernels, ReservedHopFrom72) { HopFrom("7.2"); }
TEST_F(CrashKernels, KdumpOf510) { CaptureOf("5.10"); }
TEST_F(CrashKernels, KdumpOf612) { CaptureOf("6.12"); }
TEST_F(CrashKernels, KdumpOf72) { CaptureOf("7.2"); }

}  // namespace
}  // namespace khop::lab
