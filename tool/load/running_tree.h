// SPDX-License-Identifier: MIT
// The running kernel's device tree, for those who may not read the one that it got.
#pragma once

#include <string>

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::load {

// Puts a blob together from /sys/firmware/devicetree/base, which everybody may read: all nodes and
// properties, but no memory reservations, of which it does not tell. Errors: kNotRoot.
Result<std::string> GatherRunningTree(system::System& system);

}  // namespace khop::load
