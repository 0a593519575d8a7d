// SPDX-License-Identifier: MIT
// khop_relocate.ko at every exception level and firmware, with much to move and little memory.
#include <cinttypes>
#include <cstdio>

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

  // `command` hops. Counts how often the MMU was on or off when the machine was looked at, from the
  // old kernel's last line to the next one's first, while the CPU ran at addresses of physical
  // memory.
  void WatchTheMmu(const std::string& command, int* on, int* off) {
    constexpr uint64_t kAboveMemory = uint64_t{1} << 32;
    const size_t before = machine().console().size();
    MUST(guest().Start(command));
    MUST(machine().WaitForText("Bye!", Seconds(60)));
    while (machine().console().find("Booting Linux", before) == std::string::npos) {
      MUST(machine().Monitor("stop"));
      const Result<std::string> registers = machine().Monitor("info registers");
      MUST(registers);
      const Result<std::string> address = machine().Monitor("gva2gpa 0x8765432000");
      MUST(address);
      MUST(machine().Monitor("cont"));
      const size_t at = registers->find(" PC=");
      uint64_t pc = 0;
      ASSERT_NE(at, std::string::npos) << *registers;
      ASSERT_EQ(sscanf(registers->c_str() + at, " PC=%" SCNx64, &pc), 1) << *registers;
      if (pc < kAboveMemory) {
        const bool is_off = address->find("0x8765432000") != std::string::npos;
        ++*(is_off ? off : on);
      }
      machine().NextLine(Seconds(0.002));
    }
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

// Not what the relocator says of itself: QEMU's monitor translates an address that nobody maps
// while the image is moved. That fails with the MMU on, and gives the address itself with it off.
TEST_F(ModuleFull, TheMmuIsSeenFromOutside) {
  for (const bool with_module : {false, true}) {
    START_WITH_MODULE({.memory_mib = 2048, .next_padding = uint64_t{100} << 20});
    MUST(LoadByKexec("--no-checks"));
    if (with_module) {
      MUST(Insert());
    }
    int on = 0;
    int off = 0;
    ASSERT_NO_FATAL_FAILURE(WatchTheMmu("kexec -e", &on, &off));
    printf("%s the module: %d times on, %d times off\n", with_module ? "with" : "without", on, off);
    // What is entered after the moves, and before them, has it off either way.
    EXPECT_GT(on + off, 20);
    if (with_module) {
      EXPECT_GT(on, 3 * off);
    } else {
      EXPECT_GT(off, 3 * on);
    }
    MUST(guest().WaitUntilUp(Seconds(180)));
  }
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

TEST_F(ModuleFull, InsertedAndRemovedAllTheTime) {
  START_WITH_MODULE({});
  HopWhileItComesAndGoes();
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

// The one that dkms made of the source package.
TEST_F(ModuleFull, BuiltByDkms) {
  if (!FindGuestFile("module-dkms/khop_relocate.ko")) GTEST_SKIP() << "dkms has built no module";
  START_WITH_MODULE({.files = {{"dkms.ko", "module-dkms/khop_relocate.ko"}}});
  MUST(guest().Must("insmod /dkms.ko timeline=2"));
  MUST(LoadByKexec("--no-checks"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

// Built for a kernel that moves with the MMU on itself: one line, and nothing is left of it.
TEST_F(ModuleFull, LinuxFrom516IsRefused) {
  START_WITH_MODULE({.files = {{"other.ko", "module/khop_relocate.ko"}}}, "6.1");
  ExpectRefused("insmod /khop_relocate.ko",
                "khop_relocate: not loaded: Linux 5.16 and later relocate with the MMU on "
                "themselves");
  // One for another kernel does not get as far (CONFIG_MODVERSIONS).
  ExpectRefused("insmod /other.ko", "disagrees about version of symbol module_layout");
  EXPECT_EQ(guest().Must("cat /proc/modules").value_or("?").find("khop_relocate"),
            std::string::npos);
}

}  // namespace
}  // namespace khop::lab
