// SPDX-License-Identifier: MIT
// Memory that khop holds, as runs: what lies where now, and where its bytes belong.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"

namespace khop::load {

// Bytes that follow each other in their segment, in physical memory and at their destination.
struct Extent {
  uint64_t offset = 0;  // from the start of the segment
  uint64_t size = 0;
  PhysAddr address;
  PhysAddr destination;  // `address`: in place, or no part of the payload
  uint32_t segment = 0;  // index into the arena's segments

  constexpr bool in_place() const { return address == destination; }
  friend constexpr bool operator==(const Extent&, const Extent&) = default;
};

// Destinations from here on are none: of pages that hold nothing and lie (since they moved there)
// where a part of the payload goes. No memory is so high.
inline constexpr uint64_t kNowhere = uint64_t{1} << 51;

// Shared, as there may be hundreds of thousands and nobody changes them any more.
using Extents = std::shared_ptr<const std::vector<Extent>>;

// Adds `extent` to the last one of `extents` if it continues it.
void Append(std::vector<Extent>& extents, const Extent& extent);

// Sorts by destination and joins what continues each other.
void SortByDestination(std::vector<Extent>& extents);

// The physical memory of `extents`, ascending, joined.
std::vector<PhysRange> Addresses(std::span<const Extent> extents);

// One line for the state file: a run takes ten or so characters, since all numbers are relative to
// the run before. All numbers of the extents are multiples of 4 KiB.
std::string EncodeExtents(std::span<const Extent> extents);
// Errors: kBadState (not such a line, or ranges that wrap around).
Result<std::vector<Extent>> DecodeExtents(std::string_view text);

}  // namespace khop::load
