// SPDX-License-Identifier: MIT
#include "tool/devicetree/cells.h"

namespace khop::devicetree {

uint64_t ReadNumber(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (const std::byte b : bytes) value = value << 8 | std::to_integer<uint64_t>(b);
  return value;
}

uint32_t AddressCells(const Tree& tree, size_t bus) {
  return tree.FindCell(bus, "#address-cells").value_or(2);
}

uint32_t SizeCells(const Tree& tree, size_t bus) {
  return tree.FindCell(bus, "#size-cells").value_or(1);
}

std::optional<std::vector<PhysRange>> ReadRanges(std::span<const std::byte> value,
                                                 uint32_t address_cells, uint32_t size_cells) {
  if (address_cells > 2 || size_cells > 2 || size_cells == 0) return std::nullopt;
  const size_t address_bytes = size_t{4} * address_cells;
  const size_t entry_bytes = address_bytes + size_t{4} * size_cells;
  if (value.size() % entry_bytes != 0) return std::nullopt;
  std::vector<PhysRange> ranges;
  for (size_t at = 0; at < value.size(); at += entry_bytes) {
    const std::span<const std::byte> entry = value.subspan(at, entry_bytes);
    const PhysRange range = {{ReadNumber(entry.first(address_bytes))},
                             ReadNumber(entry.subspan(address_bytes))};
    if (!range.valid()) return std::nullopt;
    if (!range.empty()) ranges.push_back(range);
  }
  return ranges;
}

}  // namespace khop::devicetree
