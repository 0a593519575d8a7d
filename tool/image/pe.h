// SPDX-License-Identifier: MIT
// The headers of a PE file (Microsoft PE/COFF specification), read with every bound checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace khop::image {

inline constexpr uint16_t kPeMachineArm64 = 0xaa64;

struct PeSection {
  std::string name;           // at most 8 bytes, without trailing NULs
  uint32_t file_offset = 0;   // PointerToRawData
  uint32_t file_bytes = 0;    // SizeOfRawData
  uint32_t memory_bytes = 0;  // VirtualSize; of object files 0
};

struct PeHeaders {
  uint32_t offset = 0;  // of the "PE" signature
  uint16_t machine = 0;
  std::vector<PeSection> sections;
  uint64_t certificates_end = 0;  // where the signatures end in the file; 0: not signed

  // Bytes that the file must have for all sections and signatures to be there.
  uint64_t FileEnd() const;
  bool HasSection(std::string_view name) const;
};

// Nothing if it is not a PE file or its section table is not wholly within `head`.
std::optional<PeHeaders> ParsePe(std::span<const std::byte> head);

}  // namespace khop::image
