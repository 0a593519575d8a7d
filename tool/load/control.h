// SPDX-License-Identifier: MIT
// From what was placed to the control area that kexec_load gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/addr.h"
#include "core/handoff/handoff.h"
#include "core/plan/control_area.h"
#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::load {

struct LoadOptions;
struct Prepared;

// Where everything is, in physical memory.
struct Placed {
  PhysAddr image;   // the kernel's first byte, which is its entry too
  PhysAddr initrd;  // meaningless without one
  PhysAddr dtb;
  PhysAddr stamp;
  PhysRange control;
  std::vector<PhysRange> held;  // the runs of the arena, control area included
};

struct ControlArea {
  std::vector<std::byte> bytes;
  plan::ControlAreaLayout layout;
};

// An upper bound of the control area's size for any placement of what is prepared; its shape is not
// needed, as that depends on this. Errors: kInternal.
Result<uint64_t> EstimateControlSize(const Prepared& prepared, const LoadOptions& options);

// Builds it for `placed.control`. `verify` and `digests` are as the hand-off wants them.
// Errors: kInternal (the relocator's own checks refuse it, or it became too large).
Result<ControlArea> BuildControl(system::System& system, const Prepared& prepared,
                                 const LoadOptions& options, const Placed& placed,
                                 uint32_t dtb_size, uint32_t timeline_offset,
                                 std::span<const handoff::VerifyRange> verify,
                                 std::span<const std::byte> digests);

// The ranges of `placed.held` without the control area, ascending, adjacent ones joined.
std::vector<handoff::Range> ArenaRanges(const Placed& placed);

}  // namespace khop::load
