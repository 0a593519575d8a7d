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

// A page of the model: where it is, and the destination of what it holds (kNothing: none of the
// payload).
struct ModelPage {
  static constexpr uint64_t kNothing = UINT64_MAX;
  uint64_t address;
  uint64_t holds;
};

// `before` says which pages hold which bytes, and so what has to be at every destination in the
// end; `moves` are physical and done in order, each from its first page to its last. `writable`
// (ascending, disjoint) is all that a move may write to.
// `model` is scratch: an entry for each page that is a source or a destination of either list.
// O(n log n) in pages.
// Errors: kNotAligned (address or size); kInvalidArgument (a destination named twice in `before`);
// kOverlap (a source that holds two things); kOutOfRange (a move writes outside of `writable`:
// where); kWrongContent (a destination that in the end holds something else); kOutOfMemory.
std::expected<void, Error> ReplayMoves(std::span<const Piece> before, std::span<const Piece> moves,
                                       std::span<const PhysRange> writable, uint64_t page_size,
                                       std::span<ModelPage> model);

}  // namespace khop::plan
