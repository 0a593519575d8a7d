// SPDX-License-Identifier: MIT
// Proof of a plan by doing it: replays moves on a model of memory, page by page. Knows nothing of
// how plans are made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "core/base/addr.h"
#include "core/base/error.h"
#include "core/plan/assignment.h"

namespace khop::plan {

// Pages of the model that follow each other. `pages`: how many, and once all are known, how many
// with those of all runs before.
struct ModelRun {
  uint64_t start;
  uint64_t pages;
};

// `before` says which pages hold which bytes, and so what has to be at every destination in the
// end; `moves` are physical and done in order, each from its first page to its last. `writable`
// (ascending, disjoint) is all that a move may write to.
// `runs` and `pages` are scratch: two entries for each piece of both lists are always enough of the
// one, an entry for each page that is a source or a destination of the other. O(n log n) in pieces,
// O(n) in pages.
// Errors: kNotAligned (address or size); kInvalidArgument (a destination named twice in `before`);
// kOverlap (a source that holds two things); kOutOfRange (a move writes outside of `writable`:
// where; or a piece goes beyond the last address); kWrongContent (a destination that in the end
// holds something else); kOutOfMemory (the entries that there are).
std::expected<void, Error> ReplayMoves(std::span<const Piece> before, std::span<const Piece> moves,
                                       std::span<const PhysRange> writable, uint64_t page_size,
                                       std::span<ModelRun> runs, std::span<uint32_t> pages);

}  // namespace khop::plan
