// SPDX-License-Identifier: MIT
#include "tool/load/gather_proof.h"

#include <algorithm>

#include "core/plan/checker.h"

namespace khop::load {

using plan::Piece;

namespace {

// The moves of a hand-off as physical ones, through the window if there is one: not by the list
// that they were made from, so that the proof covers the window.
Result<std::vector<Piece>> PhysicalMoves(const Placed& placed) {
  std::vector<Piece> moves;
  moves.reserve(placed.moves.size() + placed.window.size());
  for (const handoff::Move& move : placed.moves) {
    if (!placed.mmu) {
      moves.push_back({PhysAddr{move.source}, PhysAddr{move.destination}, move.size});
      continue;
    }
    for (uint64_t done = 0; done < move.size;) {
      const VirtAddr at{move.source + done};
      auto piece = std::ranges::upper_bound(placed.window, at, {}, &plan::WindowPiece::virt);
      if (piece == placed.window.begin()) return PlannerFailure({ErrorCode::kOutOfRange, at.value});
      --piece;
      const uint64_t into = at - piece->virt;
      if (into >= piece->size) return PlannerFailure({ErrorCode::kOutOfRange, at.value});
      const uint64_t size = std::min(piece->size - into, move.size - done);
      moves.push_back({piece->phys + into, PhysAddr{move.destination + done}, size});
      done += size;
    }
  }
  return moves;
}

}  // namespace

Result<void> ProveGather(const GatherPlan& plan, uint64_t granule) {
  const auto moves = PhysicalMoves(plan.placed);
  if (!moves) return Forward(moves);
  Ranges writable;
  for (const handoff::Range& range : plan.placed.arena) {
    writable.push_back({PhysAddr{range.start}, range.size});
  }
  // Beside the pages of the pieces: zeros and where they go, and the spare page.
  uint64_t pages = 64;
  for (const Piece& piece : plan.pieces) {
    pages += (piece.in_place() ? 1 : 2) * piece.size / granule;
  }
  for (const Piece& piece : plan.order) {
    if (piece.source == plan.zero) pages += piece.size / granule;
  }
  std::vector<plan::ModelRun> runs(2 * (plan.pieces.size() + moves->size()));
  std::vector<uint32_t> numbers(pages);
  const auto proved = plan::ReplayMoves(plan.pieces, *moves, writable, granule, runs, numbers);
  if (!proved) return PlannerFailure(proved.error());
  return {};
}

}  // namespace khop::load
