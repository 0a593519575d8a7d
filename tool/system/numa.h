// SPDX-License-Identifier: MIT
// Which of a machine's NUMA nodes a hop's memory is to come from: that of the CPU which jumps. It
// moves and digests the payload all alone, and memory of another node is slower for it.
#pragma once

#include <optional>

#include "tool/system/system.h"

namespace khop::system {

// The node of the CPU that the kernel reboots on: /sys/kernel/reboot/cpu, before 5.11 always CPU 0.
// Nothing where only one node has memory, or where that cannot be read.
std::optional<int> BootNode(System& system);

// Memory that this process takes comes from the boot node as long as that has some. A preference:
// where it cannot be set, memory is taken from anywhere.
void PreferBootNode(System& system);

}  // namespace khop::system
