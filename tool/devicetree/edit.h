// SPDX-License-Identifier: MIT
// Changes to a blob before it is taken apart, by libfdt: overlays, and what a tree of a board
// lacks.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/devicetree/tree.h"

namespace khop::devicetree {

// `base` with the overlays, one after the other; `names` are theirs, for messages.
// Errors: kBadDeviceTree.
Result<std::vector<std::byte>> ApplyOverlays(std::span<const std::byte> base,
                                             std::span<const std::vector<std::byte>> overlays,
                                             std::span<const std::string> names);

// `base` with a memory node for each range, in the place of those that it has. `name` is for
// messages. Errors: kBadDeviceTree.
Result<std::vector<std::byte>> WithMemory(std::span<const std::byte> base,
                                          std::span<const PhysRange> memory,
                                          const std::string& name);

// `base` with the properties of /chosen by which `running` found UEFI and its memory map.
// Errors: kBadDeviceTree.
Result<std::vector<std::byte>> WithUefi(std::span<const std::byte> base, const Tree& running,
                                        const std::string& name);

}  // namespace khop::devicetree
