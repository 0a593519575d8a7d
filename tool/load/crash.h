// SPDX-License-Identifier: MIT
// The capture kernel of a kdump: an image in the crash reservation that a panic starts, with the
// relocator before it as a purgatory that has its caches on.
#pragma once

#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/load/fill.h"
#include "tool/load/prepare.h"
#include "tool/load/reservation.h"
#include "tool/load/state.h"
#include "tool/system/system.h"

namespace khop::load {

class Capture {
 public:
  // Looks at everything. `options`: kernel, initrds, command line, device tree, digest and blob.
  static Result<Capture> Prepare(system::System& system, const Reservation& reservation,
                                 const LoadOptions& options);

  // Takes its places. Errors: kReservationTooSmall, kCrashNoRoom.
  Result<void> Place(Room& room, const Reservation& reservation);

  // Reads the files and builds the control area, all in memory of this process.
  Result<void> Fill(system::System& system, const Progress& progress);

  PhysAddr entry() const { return placed_.control.start; }
  // Of what Fill() built: spans into this object.
  void AddSegments(std::vector<system::KexecSegment>& segments) const;
  const CrashLoaded& loaded() const { return loaded_; }
  uint64_t needed() const;

 private:
  LoadOptions options_;
  Prepared prepared_;
  std::vector<std::byte> core_header_;
  uint64_t granule_ = 4096;
  Placed placed_;
  PhysRange header_place_;
  std::optional<Arena> staged_;
  ControlArea control_;
  CrashLoaded loaded_;
};

// The files of a payload that is filled into `staged` as segments; whole granules.
void AddPayloadSegments(const Prepared& prepared, const Placed& placed, const Arena& staged,
                        uint64_t granule, std::vector<system::KexecSegment>& segments);

// Where the bytes of a payload go, without BSS: what Arena::Stage() wants.
std::vector<PhysRange> FileRanges(const Prepared& prepared, const Placed& placed);

// How a crash kernel that khop has loaded was asked for.
LoadOptions CaptureOptions(const CrashLoaded& loaded, std::span<const std::byte> blob);

}  // namespace khop::load
