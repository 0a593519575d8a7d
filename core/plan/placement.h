// SPDX-License-Identifier: MIT
// Where the payload goes: a destination for each of its parts, such that as many bytes as possible
// lie in memory that is owned already. What is not owned at its destination has to be moved there.
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "core/base/addr.h"
#include "core/base/error.h"

namespace khop::plan {

// One part of the payload, contiguous at its destination. Sizes and alignments are multiples of the
// page size that the whole plan is made for.
struct Item {
  uint64_t size = 0;        // bytes at the destination, the kernel's BSS included; not 0
  uint64_t alignment = 0;   // a power of two
  uint64_t offset = 0;      // the destination is a multiple of `alignment` plus this (booting.rst:
                            // text_offset); less than `alignment`
  uint64_t boundary = 0;    // 0, or a power of two, at least `size`, whose multiples the item must
                            // not cross (booting.rst: 2 MiB for the device tree)
  uint64_t negligible = 0;  // fewer owned bytes than these are as good as none
  bool owned_only = false;  // every byte of the destination has to be owned
  bool windowed = false;    // has to lie in one window with all others that say so
};

struct Memory {
  std::span<const PhysRange> owned;    // what can be held; ascending, disjoint, not empty
  std::span<const PhysRange> allowed;  // what may be a destination, owned or not: likewise
};

// The window of booting.rst for Image and initrd: 32 GiB from a multiple of 1 GiB.
struct PlacementWindow {
  uint64_t size = uint64_t{32} << 30;
  uint64_t alignment = uint64_t{1} << 30;
};

// Chooses `destinations[i]` for each of `items` in the order given (name the largest first): none
// overlaps another, each lies in one range of `memory.allowed` (of `memory.owned` if owned_only),
// and each takes the most owned bytes that are left to it; of equals the lowest address. If that
// leaves one without a place, all are packed instead, each at the start of the smallest stretch
// that has room: an item that has to be moved is better than none. Returns the number of owned
// bytes at all destinations together. `owned_before` is scratch: memory.owned.size() + 1 entries.
// O((owned + allowed) * log(owned)) for each item.
// Errors: kInvalidArgument (number of the item), kOutOfMemory (`owned_before`), kOutOfRange (number
// of the item for which there is no place, packed).
std::expected<uint64_t, Error> PlaceItems(std::span<const Item> items, const Memory& memory,
                                          PlacementWindow window, std::span<uint64_t> owned_before,
                                          std::span<PhysAddr> destinations);

}  // namespace khop::plan
