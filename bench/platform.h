// SPDX-License-Identifier: MIT
// The machine that the benchmark finds itself on: from its device tree, else from what it was built
// with. All of this runs with the MMU off.
#pragma once

#include <cstdint>

#include "core/base/addr.h"

namespace khop::bench {

// Reads the tree at `tree`, if there is one, and finds a way to print: the console that the tree
// names; without a tree the one that was built in; else semihosting, if it answers. `image` is this
// program.
void FindPlatform(uint64_t tree, PhysRange image);

// The largest run of RAM that nothing is known to lie in. Empty if no memory is known.
PhysRange FreeMemory();

void Print(const char* text);
void PrintNumber(uint64_t value);
// numerator / denominator with four decimals; "-" for a denominator of 0. Both below 2^50.
void PrintRatio(uint64_t numerator, uint64_t denominator);

// Powers off: by PSCI where the tree has it, by semihosting with this exit status, by PSCI tried
// blindly; a machine that has none of these stops here.
[[noreturn]] void PowerOff(uint64_t status);

}  // namespace khop::bench
