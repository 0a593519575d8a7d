// SPDX-License-Identifier: MIT
// Last words on another UART than the virt machine's own: a 16550 with registers of one byte, as a
// PCI device whose I/O ports the host bridge shows as memory.
#include <cinttypes>
#include <fstream>
#include <iterator>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class Uart : public FirstMachine {};

TEST_F(Uart, ResetReasonOnA16550) {
  const Result<std::filesystem::path> directory = MakeRunDirectory("Uart.16550");
  MUST(directory);
  const std::string output = *directory / "output";
  // Port 0x1000 is the first that Linux gives out; the bridge has them at 0x3eff0000.
  constexpr const char* kConsole = "8250 at 0x3eff1000";
  // The last console= is the one that the lab talks to.
  START_FIRST_MACHINE(
      {.extra_arguments = {"-chardev", "file,id=uart,path=" + output, "-device",
                           "pci-serial,chardev=uart"},
       .append = "earlycon=uart8250,mmio,0x3eff1000 console=ttyS0 console=ttyAMA0"});
  MUST(guest().Must("grep -q '^ttyS0' /proc/consoles"));
  MUST(guest().Must("grep -q '^0x0000000000001000 ' /sys/bus/pci/devices/*/resource"));
  const Result<nlohmann::json> plan = KhopJson(guest(), "plan /next/Image");
  MUST(plan);
  EXPECT_EQ(plan->value("console", ""), kConsole) << plan->dump();
  MUST(Load(""));
  char address[32];
  snprintf(address, sizeof address, "0x%" PRIx64, SegmentStart("initrd") + 4096);
  MUST(guest().Must(std::string("khop-guest-tool flip ") + address + " 0x10"));
  MUST(guest().Kexec());
  const Result<MachineEnd> end = machine().WaitForEnd(Seconds(60));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestReset) << ToString(end->reason);
  std::ifstream file(output, std::ios::binary);
  const std::string said((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(said.ends_with("; resetting\r\n")) << said.substr(said.size() - 200);
  EXPECT_THAT(said, testing::HasSubstr("\r\nkhop: payload digest does not match at 0x"));
  EXPECT_THAT(machine().console(), testing::Not(testing::HasSubstr("; resetting")));
}

}  // namespace
}  // namespace khop::lab
