// SPDX-License-Identifier: MIT
// From what was placed to the control area that kexec_load gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "core/handoff/handoff.h"
#include "core/plan/control_area.h"
#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::load {

struct LoadOptions;
struct Prepared;

enum class MmuMode : uint8_t {
  kAuto,  // on, unless the page tables do not fit
  kOn,
  kOff,
};

// Where everything is, in physical memory.
struct Placed {
  PhysAddr image;   // the kernel's first byte, which is its entry too
  PhysAddr initrd;  // meaningless without one
  PhysAddr dtb;
  PhysAddr stamp;
  PhysRange control;
  // What the hop may write, verify and enter; ascending, adjacent ranges joined.
  std::vector<handoff::Range> arena;
  std::vector<handoff::Move> moves;
  std::vector<plan::WindowPiece> window;
  bool mmu = true;
};

struct ControlArea {
  std::vector<std::byte> bytes;
  plan::ControlAreaLayout layout;
};

// A hop without places: what is the same wherever the payload lies. Without the verify list and the
// digests, whose spans are the caller's.
plan::Hop MakeHop(system::System& system, const Prepared& prepared, const LoadOptions& options);

// How many digests the payload has.
uint64_t DigestCount(const Prepared& prepared, const LoadOptions& options);

// An upper bound of the in-place route's control area, for any placement; its shape is not needed,
// as that depends on this. Errors: kInternal.
Result<uint64_t> EstimateControlSize(system::System& system, const Prepared& prepared,
                                     const LoadOptions& options);

// `hop` with the places of `placed`, which has to outlive it.
plan::Hop At(plan::Hop hop, const Placed& placed);

// Builds it for `placed.control`. `hop` has its verify list, digests and the size of the dtb.
// Errors: kInternal (the relocator's own checks refuse it, or it became too large).
Result<ControlArea> BuildControl(const plan::Hop& hop, std::span<const std::byte> blob,
                                 const Placed& placed);

// A control area read back: the hop with its lists, which refer to `bytes` (8-byte aligned),
// without moves and window.
struct ParsedControl {
  plan::Hop hop;
  std::span<const std::byte> blob;
};
// Errors: kBadState (it is not what BuildControl() made for `base`).
Result<ParsedControl> ParseControl(std::span<const std::byte> bytes, PhysAddr base);

// The ranges of `held` without the control area, as the hand-off wants them.
std::vector<handoff::Range> ArenaRanges(std::vector<PhysRange> held, PhysRange control);

// The failure of core/plan, for a user.
std::unexpected<Failure> PlannerFailure(const Error& error);

}  // namespace khop::load
