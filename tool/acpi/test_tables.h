// SPDX-License-Identifier: MIT
// ACPI tables for tests, as QEMU's firmware and others have them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace khop::acpi {

// Makes the length and the checksum right.
inline void Seal(std::string& table) {
  const auto length = static_cast<uint32_t>(table.size());
  memcpy(&table[4], &length, sizeof(length));
  table[9] = 0;
  uint8_t sum = 0;
  for (const char c : table) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  table[9] = static_cast<char>(-sum);
}

inline std::string TestFadt(uint16_t arm_boot_arch) {
  std::string table(276, '\0');
  memcpy(table.data(), "FACP", 4);
  memcpy(&table[129], &arm_boot_arch, sizeof(arm_boot_arch));
  Seal(table);
  return table;
}

struct TestPort {
  uint8_t type = 3;
  uint8_t space = 0;
  uint8_t bit_width = 32;
  uint8_t bit_offset = 0;
  uint8_t access_size = 3;
  uint64_t address = 0x9000000;
};

inline std::string TestSpcr(const TestPort& port) {
  std::string table(80, '\0');
  memcpy(table.data(), "SPCR", 4);
  table[36] = static_cast<char>(port.type);
  table[40] = static_cast<char>(port.space);
  table[41] = static_cast<char>(port.bit_width);
  table[42] = static_cast<char>(port.bit_offset);
  table[43] = static_cast<char>(port.access_size);
  memcpy(&table[44], &port.address, sizeof(port.address));
  Seal(table);
  return table;
}

}  // namespace khop::acpi
