// SPDX-License-Identifier: MIT
// khop_relocate.ko on the lab's own 5.10, where signatures are asked for.
#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

class OwnModule : public ModuleMachine {};

// Modules have to be signed, images too, and both are: what kexec_file_load took is moved with the
// MMU on.
TEST_F(OwnModule, SignedModuleMovesASignedImage) {
  START_WITH_MODULE({.next_kernel = "5.10-signed",
                     .next_file = "Image.signed",
                     .append = "module.sig_enforce=1 lockdown=integrity",
                     .files = {{"unsigned.ko", "module-5.10-signed/khop_relocate.ko"},
                               {"next/unsigned", "kernels/5.10-signed/Image"}}},
                    "5.10-signed");
  ExpectRefused("insmod /unsigned.ko", "Loading of unsigned module is rejected");
  MUST(Insert("verify=sha256"));
  const std::string more =
      " --initrd=/next/initrd --command-line='" + std::string(kNextCommandLine) + "'";
  ExpectRefused("kexec -s -l /next/unsigned" + more, "");
  EXPECT_EQ(guest().Must("cat /sys/kernel/kexec_loaded").value_or(""), "0\n");
  ExpectRefused("khop-guest-tool kexec load", "kexec of unsigned images is restricted");
  MUST(guest().Must("kexec -s -l /next/Image" + more));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

// The module changed by a byte after it was signed.
TEST_F(OwnModule, ChangedModuleIsRefused) {
  START_WITH_MODULE({.append = "module.sig_enforce=1"}, "5.10-signed");
  MUST(guest().Must("sed -i 's/the khop authors/the khop AUTHORS/' /khop_relocate.ko"));
  ExpectRefused("insmod /khop_relocate.ko", "");
}

// Probes are closed to modules under this lockdown, signed or not: the module says so.
TEST_F(OwnModule, LockdownOfProbesIsRespected) {
  START_WITH_MODULE({.append = "lockdown=confidentiality"}, "5.10-signed");
  ExpectRefused("insmod /khop_relocate.ko",
                "khop_relocate: not loaded: the kernel is locked down and allows no probes");
}

// What khop loads by kexec_file_load is an image like any other.
TEST_F(OwnModule, MovesWhatKhopLoadedByFile) {
  START_WITH_MODULE(
      {.next_kernel = "5.10-signed", .next_file = "Image.signed", .append = "lockdown=integrity"},
      "5.10-signed");
  MUST(Insert("verify=crc32c"));
  MUST(Load("--route file"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned, "khop exec --now"));
  ExpectMmuWasOn();
}

}  // namespace
}  // namespace khop::lab
