// SPDX-License-Identifier: MIT
// Writes a device tree blob from its parts (Devicetree Specification 0.4, 5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"

namespace khop::devicetree {

// The caller opens and closes nodes in order, properties of a node before its children.
class Writer {
 public:
  void BeginNode(std::string_view name);
  void EndNode();
  void AddProperty(std::string_view name, std::span<const std::byte> value);
  // Where the value of the property added last starts within the structure block.
  size_t last_value() const { return last_value_; }

  // The whole blob. `aligned_value` is an offset within the structure block, which will be at a
  // multiple of 8 in the blob: a value is only sure to be at a multiple of 4, so the whole block
  // moves. The size of the blob does not depend on it. `structure_offset` gets where the block
  // starts.
  std::vector<std::byte> Finish(std::span<const PhysRange> reservations, uint32_t boot_cpu,
                                size_t aligned_value, size_t& structure_offset) const;

 private:
  void PutCell(uint32_t value);
  void PutBytes(std::span<const std::byte> bytes);

  std::vector<std::byte> structure_;
  std::string strings_;
  std::map<std::string, uint32_t, std::less<>> string_offsets_;
  size_t last_value_ = 0;
};

// Big-endian, as all numbers in a device tree are.
std::vector<std::byte> Cell64(uint64_t value);
// With the NUL.
std::vector<std::byte> StringValue(std::string_view text);

}  // namespace khop::devicetree
