// SPDX-License-Identifier: MIT
#include "tool/load/gather_keep.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace khop::load {

using plan::Piece;

namespace {

// What each page is for, ascending by where it is: the plan's own pieces, of which there may be
// hundreds of thousands, and more.
std::vector<Piece> UsesOf(const GatherInput& input, GatherPlan& plan) {
  std::vector<Piece> uses = std::exchange(plan.pieces, {});
  Ranges sources;
  sources.reserve(uses.size());
  for (const Piece& piece : uses) sources.push_back({piece.source, piece.size});
  sources = Joined(std::move(sources));
  const PhysAddr bss = plan.placed.image + AlignUp(input.kernel_bytes, input.granule);
  const PhysAddr end = plan.placed.image + AlignUp(input.sizes.image_size, input.granule);
  // Owned pages under the BSS stay, as nobody else can leave anything in the caches there.
  Ranges loose = {plan.placed.control,
                  {plan.placed.stamp, input.granule},
                  {plan.zero, input.granule},
                  {plan.spare, input.granule}};
  if (end > bss) loose.push_back({bss, end - bss});
  loose = Without(InBoth(Joined(std::move(loose)), input.owned), sources);
  uses.reserve(uses.size() + loose.size());
  for (const PhysRange& range : loose) uses.push_back({range.start, range.start, range.size});
  std::ranges::sort(uses, {}, &Piece::source);
  return uses;
}

// Huge pages of which only a part is used and all would be held: the worst of them, so many that
// what the others waste is within `limit` bytes.
Ranges FindWaste(const Arena& arena, std::span<const Piece> uses, uint64_t granule,
                 uint64_t limit) {
  struct Waste {
    PhysRange page;
    uint64_t bytes;
  };
  std::vector<Waste> wasteful;
  uint64_t total = 0;
  auto use = uses.begin();
  for (const Extent& extent : arena.extents()) {
    const uint64_t size = arena.record().segments[extent.segment].page_size;
    if (size <= granule) continue;
    for (uint64_t offset = 0; offset < extent.size; offset += size) {
      const PhysRange page{extent.address + offset, size};
      while (use != uses.end() && use->source + use->size <= page.start) ++use;
      uint64_t used = 0;
      for (auto it = use; it != uses.end() && it->source < page.end(); ++it) {
        used += std::min(it->source + it->size, page.end()) - std::max(it->source, page.start);
      }
      if (used == 0 || used == size) continue;
      wasteful.push_back({page, size - used});
      total += size - used;
    }
  }
  const auto share = [](const Waste& waste) {
    return static_cast<double>(waste.bytes) / static_cast<double>(waste.page.size);
  };
  std::ranges::sort(wasteful, std::greater(), share);
  Ranges worst;
  for (const Waste& waste : wasteful) {
    if (total <= limit) break;
    worst.push_back(waste.page);
    total -= waste.bytes;
  }
  return Joined(std::move(worst));
}

// Gives up huge pages at the edges, for as long as base pages of what was taken beyond the need can
// serve instead: takes them out of `input` and makes `plan` anew. Returns its uses.
std::vector<Piece> GiveUpHugePages(const Arena& arena, uint64_t needed, GatherInput& input,
                                   GatherPlan& plan) {
  std::vector<Piece> uses = UsesOf(input, plan);
  for (int round = 0; round < 3; ++round) {
    const Ranges waste = FindWaste(arena, uses, input.granule, needed / 50 + (uint64_t{3} << 20));
    Ranges left = Without(input.owned, waste);
    if (waste.empty() || TotalSize(left) < needed) break;
    GatherInput less = input;
    less.owned = std::move(left);
    auto better = PlanGather(less);
    if (!better) break;
    input = std::move(less);
    plan = *std::move(better);
    uses = UsesOf(input, plan);
  }
  return uses;
}

// The parts of `extents` that are used, with their destinations. Of huge pages all is kept if
// anything is.
std::vector<Extent> Wanted(const Arena& arena, std::span<const Piece> uses) {
  std::vector<Extent> wanted;
  // Hardly ever more; to grow would take as much again, and what stays unwritten costs no memory.
  wanted.reserve(arena.extents().size() + 2 * uses.size());
  const auto add = [&](const Extent& extent, PhysAddr from, PhysAddr to, PhysAddr destination) {
    if (to <= from) return;
    Append(wanted,
           {extent.offset + (from - extent.address), to - from, from, destination, extent.segment});
  };
  auto use = uses.begin();
  for (const Extent& extent : arena.extents()) {  // ascending by address: nothing is filled yet
    const uint64_t page = arena.record().segments[extent.segment].page_size;
    const PhysAddr extent_end = extent.address + extent.size;
    PhysAddr at = extent.address;
    const auto skip = [&](PhysAddr until) {
      // The rest of the pages on both sides that are kept for their other parts.
      const PhysAddr head{std::min(AlignUp(at.value, page), until.value)};
      const PhysAddr tail{std::max(AlignDown(until.value, page), head.value)};
      add(extent, at, head, at);
      add(extent, tail, until, tail);
    };
    while (use != uses.end() && use->source + use->size <= at) ++use;
    for (; use != uses.end() && use->source < extent_end; ++use) {
      const PhysAddr from = std::max(use->source, extent.address);
      const PhysAddr to = std::min(use->source + use->size, extent_end);
      skip(from);
      add(extent, from, to, use->destination + (from - use->source));
      at = to;
      if (use->source + use->size > extent_end) break;  // goes on in the next extent
    }
    skip(extent_end);
  }
  return wanted;
}

}  // namespace

std::vector<Extent> PagesToKeep(const Arena& arena, uint64_t needed, GatherInput& input,
                                GatherPlan& plan) {
  return Wanted(arena, GiveUpHugePages(arena, needed, input, plan));
}

}  // namespace khop::load
