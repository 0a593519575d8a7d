// SPDX-License-Identifier: MIT
// Numbers and ranges in properties (Devicetree Specification 0.4, 2.3.5 to 2.3.8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/addr.h"
#include "tool/devicetree/tree.h"

namespace khop::devicetree {

// The big-endian number that all of `bytes` are; 0 for none. At most 8 bytes.
uint64_t ReadNumber(std::span<const std::byte> bytes);

// Cells of an address or a size in the children of `bus`, with the specification's defaults.
uint32_t AddressCells(const Tree& tree, size_t bus);
uint32_t SizeCells(const Tree& tree, size_t bus);

// (address, size) pairs. Nothing if there are more cells than fit 64 bits, part of a pair at the
// end, or a range that wraps around. Empty ranges are left out.
std::optional<std::vector<PhysRange>> ReadRanges(std::span<const std::byte> value,
                                                 uint32_t address_cells, uint32_t size_cells);

}  // namespace khop::devicetree
