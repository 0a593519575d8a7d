// SPDX-License-Identifier: MIT
// What differs between two trees, as device tree source (Devicetree Specification 0.4, 6).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tool/devicetree/tree.h"

namespace khop::devicetree {

// A property as it stands in a .dts: `reg = <0x0 0x9000000>;`, `name = "a", "b";`, `name = [00
// ff];`, `name;`. What is secret is not shown.
std::string ToDts(const Property& property);

// The nodes in which something differs, with all above them: a line each, with ' ', '-' or '+' in
// the first column. Nothing if nothing differs.
std::vector<std::string> DiffDts(const Tree& before, const Tree& after);

}  // namespace khop::devicetree
