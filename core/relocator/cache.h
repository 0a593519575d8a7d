// SPDX-License-Identifier: MIT
// Cache maintenance over ranges, by whole lines. No barrier: the caller issues one for all.
#pragma once

#include <cstdint>

#include "core/arm64/instructions.h"
#include "core/base/addr.h"

namespace khop::relocator {

// Calls `operation` for every line of [start, start + size). `line` is the smallest line size of
// any CPU: a larger line is then met more than once, never missed.
template <typename Operation>
void ForEachLine(uint64_t start, uint64_t size, uint64_t line, Operation operation) {
  const uint64_t end = start + size;
  for (uint64_t address = AlignDown(start, line); address < end; address += line) {
    operation(address);
  }
}

}  // namespace khop::relocator
