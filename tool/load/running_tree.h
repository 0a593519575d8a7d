// SPDX-License-Identifier: MIT
// The running kernel's device tree, and one for those who may not read it.
#pragma once

#include <optional>
#include <string>

#include "tool/base/error.h"
#include "tool/devicetree/tree.h"
#include "tool/system/system.h"

namespace khop::load {

// The device tree of the running kernel, as it got it.
inline constexpr const char* kRunningTree = "/sys/firmware/fdt";
// Nothing where there is none, or it is not readable or damaged.
std::optional<devicetree::Tree> ReadRunningTree(system::System& system);

// Puts a blob together from /sys/firmware/devicetree/base, which everybody may read: all nodes and
// properties, but no memory reservations, of which it does not tell. Errors: kNotRoot.
Result<std::string> GatherRunningTree(system::System& system);

}  // namespace khop::load
