// SPDX-License-Identifier: MIT
// Machines whose device tree is not just QEMU's own.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lab/vm/failure.h"

namespace khop::lab {

// Changes a tree by libfdt's functions, with room for 64 KiB more; 0 or libfdt's error.
using TreeEdit = std::function<int(void* tree)>;

// Writes the tree that QEMU makes when it is started with these arguments and stopped at once,
// changed, to `path` (for -dtb). QEMU still fills in /chosen and the memory nodes.
Result<void> WriteEditedTree(std::vector<std::string> qemu_arguments, const TreeEdit& edit,
                             const std::filesystem::path& path);

// Adds a node that reserves memory: `compatible` with a reg of [start, start + size), and no-map.
// 0, or libfdt's error; `node` becomes its offset.
int AddReservedMemory(void* tree, const char* compatible, uint64_t start, uint64_t size, int* node);

}  // namespace khop::lab
