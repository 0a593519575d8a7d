// SPDX-License-Identifier: MIT
#include "tool/acpi/tables.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>

#include "tool/image/bytes.h"

namespace khop::acpi {
namespace {

using devicetree::Console;
using image::ReadLittle;
using relocator::PsciConduit;
using relocator::UartKind;

// ACPI 6.5, 5.2.6: the header that all tables have.
constexpr uint64_t kLength = 4;
constexpr uint64_t kHeaderSize = 36;
// 5.2.9: FADT.ARM_BOOT_ARCH, there since ACPI 5.1.
constexpr uint64_t kArmBootArch = 129;
constexpr uint16_t kPsciCompliant = 1U << 0;
constexpr uint16_t kPsciUseHvc = 1U << 1;
// Microsoft's "Serial Port Console Redirection Table", and 5.2.3.2 for the address within.
constexpr uint64_t kInterfaceType = 36;
constexpr uint64_t kAddressSpace = 40;
constexpr uint64_t kBitWidth = 41;
constexpr uint64_t kBitOffset = 42;
constexpr uint64_t kAccessSize = 43;
constexpr uint64_t kAddress = 44;
constexpr uint64_t kAddressEnd = 52;
// "Debug Port Table 2", the subtypes of serial ports.
enum InterfaceType : uint8_t {
  k16550 = 0x00,
  k16450 = 0x01,
  kPl011 = 0x03,
  kSbsa32 = 0x0d,  // a subset of the PL011's registers, as is the next
  kSbsa = 0x0e,
  k16550Gas = 0x12,
};

std::unexpected<Failure> Bad(std::string_view name, std::string_view why) {
  return Fail(ExitCode::kUnsupportedMachine, name, why, "update the machine's firmware");
}

// The table without what may follow it, checked; at least `size` bytes.
Result<std::span<const std::byte>> CheckTable(std::span<const std::byte> bytes,
                                              std::string_view signature, uint64_t size,
                                              std::string_view name) {
  if (!image::HasAt(bytes, 0, signature)) {
    return Bad(name, "it does not begin with \"" + std::string(signature) + "\"");
  }
  const auto length = ReadLittle<uint32_t>(bytes, kLength);
  if (!length || *length > bytes.size()) return Bad(name, "the ACPI table is cut short");
  if (*length < kHeaderSize) return Bad(name, "the ACPI table claims to be shorter than its head");
  const auto table = bytes.first(*length);
  uint8_t sum = 0;
  for (const std::byte byte : table) {
    sum = static_cast<uint8_t>(sum + std::to_integer<uint8_t>(byte));
  }
  if (sum != 0) return Bad(name, "the ACPI table's checksum is wrong");
  if (table.size() < size) return Bad(name, "the ACPI table is too old: it lacks what khop needs");
  return table;
}

// Whether one access moves a whole register and registers do not overlap.
bool ReadAccess(std::span<const std::byte> table, Console& console) {
  const auto bits = ReadLittle<uint8_t>(table, kBitWidth).value_or(0);
  const auto access = ReadLittle<uint8_t>(table, kAccessSize).value_or(0);
  if (bits != 8 && bits != 16 && bits != 32) return false;
  if (access > 3) return false;  // quad-words
  // 0 is "undefined", from before there was such a field: bytes, as the kernel does it.
  const int width_shift = access == 0 ? 0 : access - 1;
  // The width is the distance of registers; some firmware leaves it at 8 and sets the access only.
  console.reg_shift = static_cast<uint8_t>(std::max(std::countr_zero(bits) - 3, width_shift));
  console.io_width = static_cast<uint8_t>(1 << width_shift);
  return true;
}

}  // namespace

Result<PsciConduit> FindPsciConduit(std::span<const std::byte> fadt, std::string_view name) {
  const auto table = CheckTable(fadt, "FACP", kArmBootArch + sizeof(uint16_t), name);
  if (!table) return Forward(table);
  const auto flags = ReadLittle<uint16_t>(*table, kArmBootArch).value_or(0);
  if ((flags & kPsciCompliant) == 0) return PsciConduit::kNone;
  return (flags & kPsciUseHvc) != 0 ? PsciConduit::kHvc : PsciConduit::kSmc;
}

Result<std::optional<Console>> FindConsole(std::span<const std::byte> spcr, std::string_view name) {
  const auto table = CheckTable(spcr, "SPCR", kAddressEnd, name);
  if (!table) return Forward(table);
  Console console;
  switch (ReadLittle<uint8_t>(*table, kInterfaceType).value_or(0xff)) {
    case kPl011:
    case kSbsa32:
    case kSbsa:
      console.kind = UartKind::kPl011;
      console.io_width = 4;
      break;
    case k16550:
    case k16450:
    case k16550Gas:
      console.kind = UartKind::k8250;
      if (!ReadAccess(*table, console)) return std::nullopt;
      break;
    default:
      return std::nullopt;
  }
  console.base = ReadLittle<uint64_t>(*table, kAddress).value_or(0);
  // Address space 0 is memory. An address of 0: redirection is off.
  if (ReadLittle<uint8_t>(*table, kAddressSpace) != 0 ||
      ReadLittle<uint8_t>(*table, kBitOffset) != 0 || console.base == 0 ||
      console.base % console.io_width != 0) {
    return std::nullopt;
  }
  console.source = name;
  return console;
}

}  // namespace khop::acpi
