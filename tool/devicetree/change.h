// SPDX-License-Identifier: MIT
// What khop changes in a device tree, for the plan.
#pragma once

#include <cstdint>
#include <string>

namespace khop::devicetree {

enum class ChangeKind : uint8_t { kAdded, kRemoved, kChanged };

struct Change {
  ChangeKind kind = ChangeKind::kChanged;
  std::string path;    // "/chosen/bootargs", "/memreserve/ 0x48000000"
  std::string detail;  // "64 bytes", "fresh", "of an earlier kernel"; may be empty

  friend bool operator==(const Change&, const Change&) = default;
};

}  // namespace khop::devicetree
