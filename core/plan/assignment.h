// SPDX-License-Identifier: MIT
// Which page holds which byte of the payload until the hop: for a loader that fills its pages after
// it knows their addresses. Owned pages inside a destination hold their own bytes; the other bytes
// wait in spare pages. So no move's source is ever another one's destination.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "core/base/addr.h"
#include "core/base/error.h"

namespace khop::plan {

// `size` bytes of the payload that belong at `destination` and are held at `source`; in place if
// the two are equal.
struct Piece {
  PhysAddr source;
  PhysAddr destination;
  uint64_t size = 0;

  constexpr bool in_place() const { return source == destination; }
  friend constexpr bool operator==(const Piece&, const Piece&) = default;
};

// Covers `destinations` with pieces, ascending by destination, adjacent ones joined where source
// and destination both continue. `spare`: owned memory outside of all destinations, and of all that
// is written before the moves. Both lists are ascending, disjoint, of whole pages.
// Spare blocks of 2 MiB and of 64 KiB go to like blocks of a destination, so that page tables can
// map them as blocks; each is used from the lowest address on.
// Returns how many entries of `pieces` are used. `scratch` is for gaps and spare memory that are
// still to be paired: kScratchPerRange entries for every range of the three lists are always
// enough (each of two passes leaves at most two stretches of one), a quarter of them where blocks
// are rare. O(n log n). Errors: kOutOfMemory (`scratch` or `pieces` is too small: the entries there
// are), kOutOfRange (bytes for which there is no spare memory).
inline constexpr size_t kScratchPerRange = 8;
std::expected<size_t, Error> AssignPages(std::span<const PhysRange> destinations,
                                         std::span<const PhysRange> owned,
                                         std::span<const PhysRange> spare, uint64_t page_size,
                                         std::span<PhysRange> scratch, std::span<Piece> pieces);

}  // namespace khop::plan
