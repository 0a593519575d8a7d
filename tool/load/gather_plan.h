// SPDX-License-Identifier: MIT
// The gather route's arithmetic: from pages that are held, wherever they lie, to destinations,
// moves and a control area. No memory is touched.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "core/plan/assignment.h"
#include "core/plan/control_area.h"
#include "tool/base/error.h"
#include "tool/load/control.h"
#include "tool/load/placement.h"
#include "tool/load/ranges.h"

namespace khop::load {

// Pages that serve the hop and are no part of the payload: the time of the reboot, zeros for the
// kernel's BSS, and one through which moves can go round in circles.
inline constexpr uint64_t kServicePages = 3;

// The payload's parts, by number.
inline constexpr size_t kKernelPart = 0;
inline constexpr size_t kInitrdPart = 1;
inline constexpr size_t kDtbPart = 2;
inline constexpr size_t kParts = 3;

struct GatherInput {
  PayloadSizes sizes;         // control_size is not used
  uint64_t kernel_bytes = 0;  // of the file
  uint64_t granule = 4096;
  uint64_t ram_end = 0;
  Ranges owned;  // all that is held
  Ranges loose;  // of this, what holds none of the payload; not used at a load, where nothing does
  Ranges allowed;  // possible destinations: all that is owned, and what may be overwritten
  // The lowest place rather than one with less than an eighth owned, or, once pages are filled,
  // any.
  bool prefer_low = false;
  // Pages that are filled already, with the destinations that they were meant for; and where the
  // parts were to go. Nothing at a load.
  std::vector<plan::Piece> filled;
  std::array<std::optional<PhysAddr>, kParts> before;
  // Parts that stay where they were to go.
  std::array<bool, kParts> keep = {};
  plan::Hop hop;  // without places; with lists of the final size
  std::span<const std::byte> blob;
  MmuMode mmu = MmuMode::kAuto;
};

struct GatherPlan {
  Placed placed;
  PhysAddr zero;   // has to be zero
  PhysAddr spare;  // may be anything
  // Which page holds what, by destination; of pages that are filled already their old list with the
  // new destinations.
  std::vector<plan::Piece> pieces;
  std::vector<plan::Piece> order;  // as they are moved, BSS included
  uint64_t bytes_in_place = 0;     // pages of the payload
  uint64_t bytes_to_move = 0;      // of the payload and of BSS
  std::string mmu_reason;
};

// Bytes to take for a payload: with a control area as large as it may become, and service pages.
uint64_t GatherNeed(const PayloadSizes& sizes, uint64_t kernel_bytes, uint64_t granule);

// Errors: kNoContiguousMemory (no place for a part), kNoMemory (more pages are needed, or with
// MmuMode::kOn the page tables do not fit), kNoRoute (a text_offset between pages), kInternal (the
// plan is wrong: it was replayed).
Result<GatherPlan> PlanGather(const GatherInput& input);

// The same plan with the MMU off, for the same control area. Errors: kNoMemory (that would be
// larger), kInternal.
Result<Placed> WithoutMmu(const GatherInput& input, const GatherPlan& plan);

}  // namespace khop::load
