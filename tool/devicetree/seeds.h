// SPDX-License-Identifier: MIT
// The secrets in a device tree: seeds for the kernel's random numbers and for where it lies.
#pragma once

#include <cstddef>
#include <span>

namespace khop::devicetree {

// Overwrites the value of each kaslr-seed and rng-seed of the blob with zeros. False: it is no
// device tree that can be read to its end, and may be half wiped.
bool WipeSeeds(std::span<std::byte> blob);

}  // namespace khop::devicetree
