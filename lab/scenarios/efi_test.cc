// SPDX-License-Identifier: MIT
// Machines with UEFI and ACPI: what the next kernel is told, and where it runs. The hops themselves
// are rows of matrix.txt.
#include <cinttypes>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class Efi : public FirstMachine {
 protected:
  // Where KASLR has put the kernel that runs now.
  void ReadTextAddress(std::string* address) {
    const Result<std::string> text =
        guest().Must("echo 0 > /proc/sys/kernel/kptr_restrict; grep ' _text$' /proc/kallsyms");
    MUST(text);
    *address = *text;
    const Result<std::string> log = guest().Must("dmesg");
    MUST(log);
    EXPECT_THAT(*log, testing::HasSubstr("KASLR enabled"));
  }
};

// Two hops of one kernel run at two addresses: each got seeds of its own.
TEST_F(Efi, TwiceWithFreshSeeds) {
  START_FIRST_MACHINE({.efi = true, .memory_mib = 1536, .next_carries_kernel = true});
  const Result<nlohmann::json> plan = KhopJson(guest(), "plan /next/Image --initrd /next/initrd");
  MUST(plan);
  // QEMU has no secure monitor here: PSCI is the hypervisor's. The UART is that of the SPCR.
  EXPECT_EQ(plan->value("conduit", ""), "hvc");
  EXPECT_EQ(plan->value("console", ""), "pl011 at 0x9000000");
  MUST(Load(""));
  const auto exec_now = [](Guest& g) { return g.Start("khop exec --now"); };
  MUST(ProveHop(machine(), guest(), Expected(), exec_now));
  std::string first;
  ReadTextAddress(&first);
  MUST(guest().Must("khop load /next/Image --initrd /sys/firmware/initrd --reuse-cmdline"));
  MUST(ProveHop(machine(), guest(), Expected(), exec_now));
  std::string second;
  ReadTextAddress(&second);
  EXPECT_NE(first, second);
}

// A changed payload is noticed, said on the SPCR's UART, and ends in a reset by the FADT's PSCI.
TEST_F(Efi, ChangedBitResets) {
  START_FIRST_MACHINE({.efi = true});
  MUST(Load(""));
  const uint64_t start = SegmentStart("initrd");
  ASSERT_NE(start, 0u);
  char address[32];
  snprintf(address, sizeof address, "%#" PRIx64, start + 4096);
  MUST(guest().Must(std::string("khop-guest-tool flip ") + address + " 0x10"));
  MUST(guest().Kexec());
  ExpectResetWithReason("digest does not match");
}

// Without linux,initrd-* the next kernel would take the first boot's initrd, whose memory was used
// for other things long ago.
TEST_F(Efi, WithoutInitrd) {
  START_FIRST_MACHINE({.efi = true});
  MUST(guest().Must("dd if=/dev/zero of=/tmp/busy bs=1M count=300 2>&1"));
  MUST(guest().Must("rm /tmp/busy"));
  const Result<std::string> loaded =
      guest().Must("khop load /next/Image --route gather --cmdline 'console=ttyAMA0 panic=-1'");
  MUST(loaded);
  EXPECT_THAT(*loaded, testing::HasSubstr("no initrd was given"));
  EXPECT_NE(SegmentStart("initrd"), 0u);
  const size_t before = machine().console().size();
  MUST(guest().Start("khop exec --now"));
  const Result<MachineEnd> end = machine().WaitForEnd(Seconds(120));
  MUST(end);
  const std::string said = machine().console().substr(before);
  EXPECT_THAT(said, testing::HasSubstr(next_kernel_.release));
  EXPECT_THAT(said, testing::HasSubstr("Trying to unpack rootfs image as initramfs"));
  EXPECT_THAT(said, testing::Not(testing::HasSubstr("Initramfs unpacking failed")));
  EXPECT_THAT(said, testing::HasSubstr("Unable to mount root fs"));
}

}  // namespace
}  // namespace khop::lab
