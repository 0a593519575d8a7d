// SPDX-License-Identifier: MIT
// khop_relocate.ko at every exception level and firmware, with much to move and little memory.
#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

class ModuleFull : public ModuleMachine {
 protected:
  void HopWithTimeline(const FirstMachineConfig& config) {
    START_WITH_MODULE(config);
    MUST(Insert("timeline=2 verify=crc32c"));
    MUST(LoadByKexec("--no-checks"));
    ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
    ExpectMmuWasOn();
  }
};

// As everybody would: the relocator verifies what it moved, and the purgatory, caches off, once
// more.
TEST_F(ModuleFull, SatisfiesThePurgatory) {
  START_WITH_MODULE({});
  MUST(Insert("verify=sha256"));
  MUST(LoadByKexec());
  HopExpectation expected = Expected();
  expected.route = "";
  // The purgatory takes about a minute for its digest.
  MUST(ProveHop(
      machine(), guest(), expected, [](Guest& g) { return g.Start("kexec -e"); }, Seconds(400)));
  EXPECT_THAT(machine().console(), testing::HasSubstr(kPlanned));
}

TEST_F(ModuleFull, AtEl2) { HopWithTimeline({.machine = "virt,gic-version=2,virtualization=on"}); }
TEST_F(ModuleFull, AtEl2WithVhe) {
  HopWithTimeline(
      {.cpu = "neoverse-n1", .machine = "virt,gic-version=3,its=off,virtualization=on"});
}
TEST_F(ModuleFull, OnTwoCpus) { HopWithTimeline({.cpus = 2}); }
TEST_F(ModuleFull, WithUefiAndATree) {
  HopWithTimeline({.efi = true, .machine = "virt,gic-version=2,acpi=off"});
}
TEST_F(ModuleFull, WithUefiAndAcpi) {
  HopWithTimeline({.efi = true, .machine = "virt,gic-version=2"});
}
TEST_F(ModuleFull, Moves100Mib) {
  HopWithTimeline({.memory_mib = 2048, .next_padding = uint64_t{100} << 20});
}

TEST_F(ModuleFull, InFragmentedMemory) {
  START_WITH_MODULE({});
  ASSERT_NO_FATAL_FAILURE(FragmentMemory(2048));
  MUST(Insert("timeline=2 verify=crc32c"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

// Whether a run is left that the control area fits into or not: the next kernel comes up.
TEST_F(ModuleFull, InMemoryWithoutRuns) {
  START_WITH_MODULE({});
  MUST(guest().Must("khop-guest-tool fragment 64"));
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind("khop_relocate: "));
}

TEST_F(ModuleFull, RelocatesWhatKhopLoaded) {
  START_WITH_MODULE({});
  MUST(Insert("verify=sha256"));
  MUST(Load(""));
  const Result<HopProof> hop =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(hop);
  EXPECT_THAT(machine().console(), testing::HasSubstr(kPlanned));
  ExpectMmuWasOn();
}

// The second replaces the first; both have been there with the module.
TEST_F(ModuleFull, TwoImagesInTurn) {
  START_WITH_MODULE({});
  MUST(Insert("timeline=2"));
  MUST(guest().Must("kexec -l /next/Image --initrd=/next/initrd --command-line=wrong"));
  MUST(LoadByKexec("--no-checks"));
  MUST(guest().Must("kexec -u"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

TEST_F(ModuleFull, RemovedBeforeTheReboot) {
  START_WITH_MODULE({});
  MUST(Insert());
  MUST(LoadByKexec("--no-checks"));
  MUST(guest().Must("rmmod khop_relocate"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(""));
}

// Another one's probe at the same place, and all probes turned off.
TEST_F(ModuleFull, BesideOtherProbes) {
  START_WITH_MODULE({});
  MUST(
      guest().Must("mount -t tracefs none /sys/kernel/tracing; cd /sys/kernel/tracing; "
                   "echo 'p:lab machine_kexec' > kprobe_events; "
                   "echo 1 > events/kprobes/lab/enable"));
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

TEST_F(ModuleFull, WithProbesTurnedOff) {
  START_WITH_MODULE({});
  MUST(Insert("timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  MUST(
      guest().Must("mount -t debugfs none /sys/kernel/debug; echo 0 > "
                   "/sys/kernel/debug/kprobes/enabled"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(""));
  EXPECT_EQ(SctlrOfMoves(), 0u);
}

// Every allocation of a plan, in turn: none is followed by anything but a hop.
TEST_F(ModuleFull, DeniedMemoryAtAnyPoint) {
  for (int allocation = 1; allocation <= 7; ++allocation) {
    START_WITH_MODULE({});
    MUST(Insert("timeline=2 verify=crc32c fail_allocation=" + std::to_string(allocation)));
    MUST(LoadByKexec("--no-checks"));
    ASSERT_NO_FATAL_FAILURE(HopAndFind(std::string(kLeftAlone) + "no memory")) << allocation;
    EXPECT_EQ(SctlrOfMoves(), 0u);
  }
}

// A plain reboot is none of the module's business, and it says so in sysfs.
TEST_F(ModuleFull, TellsWhatItDoes) {
  START_WITH_MODULE({.allow_reboot = true});
  MUST(Insert());
  const Result<std::string> state = guest().Must(
      "cd /sys/kernel/khop_relocate; cat decision planned left_alone last_moved_bytes");
  MUST(state);
  EXPECT_EQ(*state, "no reboot by kexec yet\n0\n0\n0\n");
  EXPECT_NE(guest().Run("kexec -e")->exit_code, 0);  // nothing is loaded
  MUST(LoadByKexec("--no-checks"));
  const size_t before = machine().console().size();
  MUST(guest().Start("reboot -f"));
  MUST(guest().WaitUntilUp(Seconds(120)));
  EXPECT_THAT(machine().console().substr(before),
              testing::Not(testing::HasSubstr("khop_relocate: ")));
}

}  // namespace
}  // namespace khop::lab
