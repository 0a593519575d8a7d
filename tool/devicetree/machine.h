// SPDX-License-Identifier: MIT
// What the device tree says about the machine that matters to a hop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "core/relocator/blob.h"
#include "tool/base/error.h"
#include "tool/devicetree/tree.h"

namespace khop::devicetree {

struct Console {
  relocator::UartKind kind = relocator::UartKind::kNone;
  uint64_t base = 0;      // physical
  uint8_t reg_shift = 0;  // 8250 only
  uint8_t io_width = 1;   // bytes of one access: 1, 2 or 4
  std::string source;     // "earlycon=pl011,0x9000000" or the node's path

  // Fills in the UART fields of `words`; leaves the rest alone.
  void CopyTo(relocator::LastWords& words) const {
    words.uart_base = base;
    words.uart_kind = kind;
    words.uart_reg_shift = reg_shift;
    words.uart_io_width = io_width;
  }
};

// The UART for last words: the first usable earlycon= (or console=uart…) of `command_line`, else
// /chosen/stdout-path. Only kinds that the relocator can drive, and only enabled nodes whose
// address can be translated. The caller knows whether it is really in use (/proc/consoles).
std::optional<Console> FindConsole(const Tree& tree, std::string_view command_line);
// The part of it that needs no tree: ACPI machines have earlycon= too.
std::optional<Console> ConsoleFromCommandLine(std::string_view command_line);

// How to call PSCI SYSTEM_RESET: kNone if there is no PSCI 0.2 or later.
relocator::PsciConduit FindPsciConduit(const Tree& tree);

// Whether a CPU's enable-method is spin-table: such machines refuse kexec loads (EBUSY).
bool UsesSpinTable(const Tree& tree);

// Whether there is an enabled GICv3 ITS: with one, kernels turn LPIs on.
bool HasIts(const Tree& tree);
// Whether UEFI tells the next kernel about memory, LPI tables included, and not the tree alone.
bool BootedByUefi(const Tree& tree);

struct ReservedRange {
  PhysRange range;
  std::string name;     // node name, "/memreserve/"
  bool no_map = false;  // not mapped by the running kernel
};

// /memreserve/ and the enabled children of /reserved-memory that have an address. In no order, and
// they may overlap. Errors: kBadDeviceTree if one of them cannot be understood: none is left out
// silently.
Result<std::vector<ReservedRange>> ReservedRanges(const Tree& tree);

// The enabled memory nodes. Empty on EFI machines, where memory is described elsewhere.
// Errors: kBadDeviceTree.
Result<std::vector<PhysRange>> MemoryRanges(const Tree& tree);

// The physical ranges of `node`'s reg, translated through the `ranges` of all buses above. Nothing
// if there is no reg, it is malformed or a bus cannot be translated. Addresses of more than 64 bits
// (PCI) are not translated.
std::optional<std::vector<PhysRange>> TranslateReg(const Tree& tree, size_t node);

// The bytes of /chosen/khop,timeline, if there.
std::optional<std::vector<std::byte>> ReadTimeline(const Tree& tree);
// A string of /chosen ("khop,route", "bootargs"); empty if it is not there.
std::string ReadChosenString(const Tree& tree, std::string_view property);
// The initrd that the tree's kernel got (/chosen/linux,initrd-start and -end), if it got one.
std::optional<PhysRange> ReadInitrd(const Tree& tree);

}  // namespace khop::devicetree
