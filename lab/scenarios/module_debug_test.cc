// SPDX-License-Identifier: MIT
// khop_relocate.ko on a 5.10 with what finds a module's faults (KASAN, lockdep and other checks),
// and with memory that the kernel denies.
#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

class ModuleDebug : public ModuleMachine {
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
    // kexec-tools loads nothing where the running tree keeps its kaslr-seed, as it does without
    // KASLR.
    StartWithModule({.next_kernel = "5.10-signed",
                     .machine = "virt,gic-version=2,dtb-randomness=off",
                     .memory_mib = 2048},
                    "5.10-debug");
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
  // Every page of at least that order is denied: the stock code starts the next kernel.
  void ExpectStockRelocation(int order, const std::string& reason);
};

#define START_WITH_DEBUGGING()              \
  do {                                      \
    StartWithDebugging();                   \
    if (IsSkipped() || HasFatalFailure()) { \
      return;                               \
    }                                       \
  } while (false)

void ModuleDebug::ExpectStockRelocation(int order, const std::string& reason) {
  START_WITH_DEBUGGING();
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(DenyPages(100, order));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kLeftAlone + reason, "khop-guest-tool denied"));
  EXPECT_EQ(SctlrOfMoves(), 0u);
  ExpectNoFinding();
}

TEST_F(ModuleDebug, NothingIsFoundInAHop) {
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
TEST_F(ModuleDebug, InsertedAndRemovedAllTheTime) {
  START_WITH_DEBUGGING();
  ASSERT_NO_FATAL_FAILURE(HopWhileItComesAndGoes());
  ExpectNoFinding();
}

TEST_F(ModuleDebug, NoPageAtAll) { ExpectStockRelocation(0, "no memory"); }
TEST_F(ModuleDebug, NoRunOfPages) { ExpectStockRelocation(4, "no memory for the control area"); }

// Whichever of them it is.
TEST_F(ModuleDebug, SomePagesAreDenied) {
  START_WITH_DEBUGGING();
  MUST(Insert("timeline=2 verify=crc32c"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(DenyPages(5, 0));
  ASSERT_NO_FATAL_FAILURE(HopAndFind("khop_relocate: ", "khop-guest-tool denied"));
  ExpectNoFinding();
}

}  // namespace
}  // namespace khop::lab
