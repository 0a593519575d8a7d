// SPDX-License-Identifier: MIT
#include "tool/load/reservation.h"

#include <algorithm>

#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

namespace {

constexpr uint64_t kOwnPages = 4;  // twice what the kernel takes

uint64_t InMemory(const PayloadSizes& sizes, uint64_t kernel_bytes) {
  return std::max(sizes.image_size, kernel_bytes);
}

}  // namespace

Result<Reservation> FindReservation(const system::MemoryMap& map) {
  if (map.crash.empty()) {
    return Fail(ExitCode::kNoReservation, "the crash reservation", "there is none",
                "boot with crashkernel=SIZE");
  }
  Reservation reservation{.images = map.crash.back(), .all = {}};
  reservation.all.assign(map.crash.rbegin(), map.crash.rend());
  return reservation;
}

Result<void> CheckCrashSlot(System& system, const State& state) {
  const auto loaded = system::CrashLoaded(system);
  if (!loaded) return Forward(loaded);
  if (!*loaded || (state.crash && !state.crash_unsure)) return {};
  if (state.crash_unsure) {
    return Fail(ExitCode::kCrashSlotTaken, "the crash kernel",
                "one is loaded, by a khop that died at it or by another tool",
                "run khop unload --crash");
  }
  return Fail(ExitCode::kCrashSlotTaken, "the crash kernel",
              "another tool has loaded one, and khop does not displace it",
              "unload it with that tool, and give it to khop (--crash-kernel)");
}

Room::Room(PhysRange range, uint64_t granule) : granule_(granule) {
  const uint64_t own = kOwnPages * granule;
  const uint64_t start = AlignUp(range.start.value, granule) + own;
  const uint64_t end = AlignDown(range.end().value, granule);
  if (start < end) free_ = {{PhysAddr{start}, end - start}};
}

void Room::Withhold(const Ranges& ranges) { free_ = system::Subtract(free_, ranges); }

std::optional<PhysAddr> Room::Take(const Wish& wish, PhysRange bounds) {
  for (const PhysRange& range : InBoth(free_, {&bounds, 1})) {
    uint64_t at = AlignDown(range.start.value, wish.alignment) + wish.offset;
    while (at < range.start.value) at += wish.alignment;
    if (wish.boundary != 0 &&
        AlignDown(at, wish.boundary) != AlignDown(at + wish.size - 1, wish.boundary)) {
      at = AlignUp(at, wish.boundary);
    }
    const PhysRange taken{PhysAddr{at}, AlignUp(wish.size, granule_)};
    if (!range.Contains(taken)) continue;
    Withhold({taken});
    return taken.start;
  }
  return std::nullopt;
}

std::optional<PayloadPlaces> TakePayload(Room& room, const PayloadSizes& sizes,
                                         uint64_t kernel_bytes, PhysRange bounds) {
  // The kernel first: it has the narrowest choice.
  const auto image = room.Take({.size = InMemory(sizes, kernel_bytes),
                                .alignment = kHugePageSize,
                                .offset = sizes.text_offset},
                               bounds);
  constexpr uint64_t kAnyGranule = 65536;
  std::optional<PhysAddr> initrd = PhysAddr{0};
  if (sizes.initrd_size != 0) {
    initrd = room.Take({.size = sizes.initrd_size, .alignment = kAnyGranule}, bounds);
  }
  const auto dtb = room.Take(
      {.size = sizes.dtb_size, .alignment = kAnyGranule, .boundary = kHugePageSize}, bounds);
  if (!image || !initrd || !dtb) return std::nullopt;
  return PayloadPlaces{*image, *initrd, *dtb};
}

Ranges PayloadRanges(const PayloadPlaces& places, const PayloadSizes& sizes, uint64_t kernel_bytes,
                     uint64_t granule) {
  return Joined({{places.image, AlignUp(InMemory(sizes, kernel_bytes), granule)},
                 {places.initrd, AlignUp(sizes.initrd_size, granule)},
                 {places.dtb, AlignUp(sizes.dtb_size, granule)}});
}

}  // namespace khop::load
