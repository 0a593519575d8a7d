// SPDX-License-Identifier: MIT
// khop_relocate.ko on the lab's own 5.10: with signatures that are asked for, with what finds
// faults in it, and with memory that the kernel denies.
#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

class OwnModule : public ModuleMachine {
 protected:
  // Up to the last kernel's first line, nothing in the log is a finding of KASAN, of lockdep or of
  // one of the kernel's other checks.
  void ExpectNoFinding() {
    const std::string& all = machine().console();
    const std::string said = all.substr(0, all.rfind("Booting Linux"));
    EXPECT_THAT(said, testing::Not(testing::ContainsRegex(
                          "BUG:|WARNING:|KASAN|possible circular|INFO: |Call trace|inconsistent|"
                          "suspicious RCU|Internal error")));
  }
  // Something is looking: the debug kernel says so itself.
  void StartWithDebugging() {
    StartWithModule({.next_kernel = "5.10-signed", .memory_mib = 2048}, "5.10-debug");
    if (IsSkipped() || HasFatalFailure()) return;
    MUST(guest().Must("mount -t debugfs none /sys/kernel/debug"));
    MUST(guest().Must("test -f /proc/lockdep_stats"));
    MUST(guest().Must("grep -q 'debug_locks: *1' /proc/lockdep_stats"));
    MUST(guest().Must("test -d /sys/kernel/debug/fail_page_alloc"));
    EXPECT_THAT(machine().console(), testing::HasSubstr("KernelAddressSanitizer initialized"));
  }
  // Pages of at least that order are denied, that many of a hundred.
  void DenyPages(int of_a_hundred, int order) {
    MUST(
        guest().Must("cd /sys/kernel/debug/fail_page_alloc && echo 1 > task-filter && "
                     "echo 0 > ignore-gfp-wait && echo 0 > verbose && echo -1 > times && "
                     "echo " +
                     std::to_string(order) + " > min-order && echo " +
                     std::to_string(of_a_hundred) + " > probability"));
  }
};

#define START_WITH_DEBUGGING()              \
  do {                                      \
    StartWithDebugging();                   \
    if (IsSkipped() || HasFatalFailure()) { \
      return;                               \
    }                                       \
  } while (false)

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

TEST_F(OwnModule, NothingIsFoundInAHop) {
  START_WITH_DEBUGGING();
  MUST(Insert());
  MUST(guest().Must("rmmod khop_relocate"));
  MUST(Insert("timeline=2 verify=crc32c"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
  ExpectNoFinding();
}

// Images come and go beside it, and the reboot comes while it does.
TEST_F(OwnModule, InsertedAndRemovedAllTheTime) {
  START_WITH_DEBUGGING();
  ASSERT_NO_FATAL_FAILURE(HopWhileItComesAndGoes());
  ExpectNoFinding();
}

TEST_F(OwnModule, NoPageAtAll) {
  START_WITH_DEBUGGING();
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(DenyPages(100, 0));
  ASSERT_NO_FATAL_FAILURE(
      HopAndFind(std::string(kLeftAlone) + "no memory", "khop-guest-tool denied"));
  EXPECT_EQ(SctlrOfMoves(), 0u);
  ExpectNoFinding();
}

TEST_F(OwnModule, NoRunOfPages) {
  START_WITH_DEBUGGING();
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(DenyPages(100, 4));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(std::string(kLeftAlone) + "no memory for the control area",
                                     "khop-guest-tool denied"));
  EXPECT_EQ(SctlrOfMoves(), 0u);
  ExpectNoFinding();
}

// Whichever of them it is.
TEST_F(OwnModule, SomePagesAreDenied) {
  START_WITH_DEBUGGING();
  MUST(Insert("timeline=2 verify=crc32c"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(DenyPages(5, 0));
  ASSERT_NO_FATAL_FAILURE(HopAndFind("khop_relocate: ", "khop-guest-tool denied"));
  ExpectNoFinding();
}

}  // namespace
}  // namespace khop::lab
