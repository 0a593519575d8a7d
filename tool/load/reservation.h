// SPDX-License-Identifier: MIT
// The memory that crashkernel= reserved, and what has a place in it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/load/placement.h"
#include "tool/load/ranges.h"
#include "tool/load/state.h"
#include "tool/system/memory_map.h"
#include "tool/system/system.h"

namespace khop::load {

struct Reservation {
  PhysRange images;            // the range that takes images
  std::vector<PhysRange> all;  // that first, then a low one for DMA, if there is one
};

// Errors: kNoReservation.
Result<Reservation> FindReservation(const system::MemoryMap& map);

// Whether khop may load a crash image: the slot is empty or has one of khop's.
// Errors: kCrashSlotTaken, kSystemCall.
Result<void> CheckCrashSlot(system::System& system, const State& state);

// Free memory of the reservation that is given out part by part, the lowest first.
class Room {
 public:
  // All of `range` but its first pages: the kernel takes the lowest that no segment covers for its
  // control page and for its copy of vmcoreinfo, and they must not be what somebody relies on.
  Room(PhysRange range, uint64_t granule);

  // From now on nothing comes from `ranges`.
  void Withhold(const Ranges& ranges);

  struct Wish {
    uint64_t size = 0;
    uint64_t alignment = 0;  // at least the granule
    uint64_t offset = 0;     // from a multiple of the alignment
    uint64_t boundary = 0;   // not to be crossed; 0: none
  };
  // A place in whole granules, within `bounds`; nothing if there is none.
  std::optional<PhysAddr> Take(const Wish& wish, PhysRange bounds);

  uint64_t left() const { return TotalSize(free_); }

 private:
  uint64_t granule_;
  Ranges free_;
};

// Where kernel, initrd and device tree go; the kernel's first byte, for example.
struct PayloadPlaces {
  PhysAddr image;
  PhysAddr initrd;
  PhysAddr dtb;
};
std::optional<PayloadPlaces> TakePayload(Room& room, const PayloadSizes& sizes,
                                         uint64_t kernel_bytes, PhysRange bounds);

// Whole granules around each part of a payload.
Ranges PayloadRanges(const PayloadPlaces& places, const PayloadSizes& sizes, uint64_t kernel_bytes,
                     uint64_t granule);

}  // namespace khop::load
