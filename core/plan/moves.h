// SPDX-License-Identifier: MIT
// From pieces to the moves of a hand-off: in an order in which nothing is overwritten before it is
// read, and, with the MMU on, through a window in which scattered sources are contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "core/arm64/geometry.h"
#include "core/base/addr.h"
#include "core/base/error.h"
#include "core/handoff/handoff.h"
#include "core/plan/assignment.h"

namespace khop::plan {

// Orders moves for pages that are filled already (an embedder's, the kernel module's): writes to
// `ordered` pieces that, done one after the other from their first byte to their last, bring every
// byte of `pieces` to its destination. Each source is read before anything is written onto it; a
// cycle is broken through `spare`, a page of `page_size` bytes that is neither source nor
// destination of any piece (its size is 0: there is none). In-place pieces need no move but are
// protected. No two destinations overlap, no two sources do.
// `scratch` needs two entries for each page of the pieces, `ordered` one, and one more for each
// cycle: never more than half as many again. O(n log n).
// Returns how many entries of `ordered` are used.
// Errors: kNotAligned (address or size that is no multiple of `page_size`), kOverlap (of two
// destinations or two sources), kOutOfMemory (entries that there are; 0: a cycle and no spare).
std::expected<size_t, Error> OrderMoves(std::span<const Piece> pieces, uint64_t page_size,
                                        PhysRange spare, std::span<Piece> scratch,
                                        std::span<Piece> ordered);

// One stretch of the contiguous virtual window through which the moves read scattered pages.
struct WindowPiece {
  VirtAddr virt;
  PhysAddr phys;
  uint64_t size;
};

struct MoveList {
  size_t moves = 0;    // entries used
  size_t windows = 0;  // entries used
  uint64_t bytes = 0;  // moved by all of them
};

// The moves for `pieces`, in their order, without those in place. With the MMU on: sources become
// one contiguous virtual range from the first multiple of 1 GiB at or above `above`, which is
// beyond every address that the tables map to itself; where destinations jump, the range may skip
// some addresses, so that blocks of 2 MiB and 1 GiB stay blocks. Sources of one destination range
// are one move. With the MMU off (`geometry` is null): physical moves, and no window.
// `moves` and `window` need at most as many entries as there are pieces.
// Errors: kOutOfMemory (entries there are), kOutOfRange (the window does not fit the geometry).
std::expected<MoveList, Error> LayOutMoves(std::span<const Piece> pieces,
                                           const arm64::PageGeometry* geometry, uint64_t above,
                                           std::span<handoff::Move> moves,
                                           std::span<WindowPiece> window);

}  // namespace khop::plan
