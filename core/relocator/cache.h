// SPDX-License-Identifier: MIT
// Cache maintenance over ranges, by whole lines. No barrier: the caller issues one for all.
#pragma once

#include <cstdint>

#include "core/arm64/instructions.h"
#include "core/base/addr.h"

namespace khop::relocator {

// Executes `kOperation` for every line of [start, start + size). `line` is the smallest line size
// of any CPU: a larger line is then met more than once, never missed.
//
// Eight lines an iteration: an operation and an addition each (DC takes no offset), and the loop's
// own compare and branch, which by single lines would be half of all, only for every eighth. The
// operation is named when compiled: it would be called through a pointer otherwise.
template <void (*kOperation)(uint64_t), typename Line>
void ForEachLine(uint64_t start, uint64_t size, Line line) {
  const uint64_t end = start + size;
  uint64_t address = AlignDown(start, line);
  const uint64_t unrolled_end = address + AlignDown(end - address, 8 * line);
  const auto next = [&] {
    kOperation(address);
    address += line;
  };
  // NOLINTNEXTLINE(bugprone-infinite-loop): next() changes `address`
  while (address != unrolled_end) {
    next(), next(), next(), next();
    next(), next(), next(), next();
  }
  // NOLINTNEXTLINE(bugprone-infinite-loop)
  while (address < end) next();
}

}  // namespace khop::relocator
