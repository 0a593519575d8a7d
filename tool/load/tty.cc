// SPDX-License-Identifier: MIT
#include "tool/load/tty.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace khop::load {

using devicetree::Console;
using relocator::UartKind;
using system::System;

namespace {

// From linux/serial_core.h: PORT_AMBA, and the ports that behave as an 8250.
constexpr uint64_t kPortAmba = 32;
constexpr std::array<uint64_t, 6> kPorts8250 = {1, 2, 3, 4, 8, 22};

// UPIO_MEM, UPIO_MEM16 and UPIO_MEM32: bytes of an access; 0 for others, such as ports.
uint8_t Width(uint64_t io_type) {
  switch (io_type) {
    case 2:
      return 1;
    case 7:
      return 2;
    case 3:
      return 4;
    default:
      return 0;
  }
}

}  // namespace

Result<Console> UartOfTty(System& system, const std::string& tty) {
  const std::string directory = "/sys/class/tty/" + tty + "/";
  const auto read = [&](const char* name) -> uint64_t {
    const auto text = system::ReadFile(system, directory + name);
    return text ? std::strtoull(text->c_str(), nullptr, 0) : 0;
  };
  if (tty.empty() || tty.contains('/') || !system.Lstat(directory + "type")) {
    return Fail(ExitCode::kUsage, "the console " + tty, "there is no such serial line",
                "name one of /sys/class/tty, such as ttyAMA0");
  }
  Console console{.base = read("iomem_base"), .source = "/sys/class/tty/" + Printable(tty)};
  const uint64_t type = read("type");
  if (type == kPortAmba) {
    console.kind = UartKind::kPl011;
    console.io_width = 4;
  } else if (std::ranges::find(kPorts8250, type) != kPorts8250.end()) {
    console.kind = UartKind::k8250;
    console.io_width = Width(read("io_type"));
    console.reg_shift = static_cast<uint8_t>(std::min<uint64_t>(read("iomem_reg_shift"), 255));
  }
  if (console.kind == UartKind::kNone || console.base == 0 || console.io_width == 0 ||
      console.base % console.io_width != 0 || console.reg_shift > 4) {
    return Fail(ExitCode::kUsage, "the console " + tty,
                "its UART is none that khop can write to (PL011, or 8250 in memory)",
                "leave it to khop, which takes that of earlycon= or stdout-path");
  }
  return console;
}

}  // namespace khop::load
