// SPDX-License-Identifier: MIT
// The gather route: any pages, and moves for those that are not in place.
#include "tool/load/gather.h"

#include <algorithm>
#include <functional>
#include <map>

#include "tool/load/fill.h"
#include "tool/load/routes.h"
#include "tool/system/page_flags.h"

namespace khop::load {

using plan::Piece;
using system::System;

namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kWindow = 32 * kGiB;

// What each page is for, ascending by where it is.
std::vector<Piece> UsesOf(const GatherInput& input, const GatherPlan& plan) {
  std::vector<Piece> uses = plan.pieces;
  Ranges sources;
  for (const Piece& piece : plan.pieces) sources.push_back({piece.source, piece.size});
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
    less.owned = less.loose = std::move(left);
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

void AddGathered(const GatherPlan& plan, report::Plan& report) {
  report.bytes_in_place = plan.bytes_in_place;
  report.bytes_to_move = plan.bytes_to_move;
  report.mmu_reason = plan.mmu_reason;
  const uint64_t all = plan.bytes_in_place + plan.bytes_to_move;
  report.route_reason = plan.bytes_to_move == 0
                            ? "every page could be had where it is needed"
                            : HumanBytes(plan.bytes_in_place) + " of " + HumanBytes(all) +
                                  " could be had where they are needed";
}

// How much may be taken beyond the need, for a moment and to choose from: as much again, within
// half of what is available, and never the last of it.
uint64_t MostExtra(uint64_t needed, uint64_t available) {
  const uint64_t margin = std::max<uint64_t>(available / 8, uint64_t{16} << 20);
  if (available < needed + margin) return 0;
  const uint64_t extra = std::min({needed, available / 2, available - needed - margin});
  return AlignDown(extra, uint64_t{1} << 20);
}

}  // namespace

Result<Ranges> FindAllowed(System& system, const Ranges& plain, const Ranges& owned,
                           uint64_t smallest) {
  Ranges near = plain;
  if (TotalSize(plain) > 2 * kWindow && !owned.empty()) {
    // The window with the most owned bytes.
    std::map<uint64_t, uint64_t> by_gib;
    for (const PhysRange& range : owned) by_gib[range.start.value / kGiB] += range.size;
    uint64_t best = 0;
    PhysRange window;
    for (const auto& [gib, unused] : by_gib) {
      uint64_t bytes = 0;
      for (auto it = by_gib.lower_bound(gib); it != by_gib.end() && it->first < gib + 32; ++it) {
        bytes += it->second;
      }
      if (bytes > best) window = {PhysAddr{gib * kGiB}, kWindow};
      best = std::max(best, bytes);
    }
    near = InBoth(plain, {&window, 1});
    // What is owned is allowed wherever it is.
    auto allowed = system::FindOverwritable(system, near, owned, smallest);
    if (!allowed) return allowed;
    const Ranges far = Without(owned, *allowed);
    allowed->insert(allowed->end(), far.begin(), far.end());
    return Joined(*std::move(allowed));
  }
  return system::FindOverwritable(system, near, owned, smallest);
}

Result<void> CommitGathered(Session& session, const GatherInput& input, GatherPlan& plan,
                            Loaded loaded, const plan::Hop& hop) {
  const auto commit = [&] {
    const auto control = BuildControl(hop, input.blob, plan.placed);
    if (!control) return Result<void>(Forward(control));
    AddControl(plan.placed, control->layout, loaded.plan);
    loaded.plan.mmu_reason = plan.mmu_reason;
    return session.Commit(loaded, *control);
  };
  auto committed = commit();
  if (committed || session.committed() || committed.error().code != ExitCode::kNoMemory ||
      input.mmu != MmuMode::kAuto || !plan.placed.mmu) {
    return committed;
  }
  auto smaller = WithoutMmu(input, plan);
  if (!smaller) return committed;
  plan.placed = *std::move(smaller);
  plan.mmu_reason = "the kernel has no memory for the page tables";
  return commit();
}

namespace {

struct Taken {
  Arena arena;
  GatherInput input;
  GatherPlan plan;
};

// Takes `needed` bytes of pages, and `extra` to choose from, and plans with them. `input`: all that
// does not depend on which pages they are.
Result<Taken> TakeAndPlan(System& system, Session& session, const Prepared& prepared,
                          GatherInput input, uint64_t needed, uint64_t extra, uint64_t available,
                          const Progress& progress) {
  const int slot = session.FreeSlot();
  if (const auto begun = session.BeginBuild(slot, {}); !begun) return Forward(begun);
  progress("taking " + HumanBytes(needed + extra) + " of pages of any size");
  auto arena =
      Arena::Gather(system, prepared.map,
                    {.slot = slot,
                     .bytes = needed,
                     .extra = extra,
                     .forbidden = prepared.forbidden,
                     .transient_limit = (available - needed) / 2,
                     .before_base_pages = [&] { return session.HoldCompaction(); }},
                    [&](const PoolRecords& pools) { return session.BeginBuild(slot, pools); });
  if (!arena) return Forward(arena);
  progress("looking for destinations");
  input.owned = input.loose = Addresses(arena->extents());
  const Ranges plain = system::Subtract(prepared.map.plain, prepared.forbidden);
  auto allowed =
      FindAllowed(system, plain, input.owned,
                  std::min<uint64_t>(AlignUp(prepared.sizes.dtb_size, input.granule), 32768));
  if (!allowed) return Forward(allowed);
  input.allowed = *std::move(allowed);
  auto plan = PlanGather(input);
  if (!plan) return Forward(plan);
  return Taken{*std::move(arena), std::move(input), *std::move(plan)};
}

}  // namespace

Result<report::Plan> LoadByGather(System& system, Session& session, const LoadOptions& options,
                                  const Prepared& prepared, const Progress& progress) {
  const uint64_t granule = system.PageSize();
  const uint64_t needed = GatherNeed(prepared.sizes, prepared.kernel.size, granule);
  const auto available = CheckBeforeTaking(system, session, needed);
  if (!available) return Forward(available);
  GatherInput bare_input;
  bare_input.sizes = prepared.sizes;
  bare_input.kernel_bytes = prepared.kernel.size;
  bare_input.granule = granule;
  bare_input.ram_end = prepared.map.RamEnd();
  // The lists of the final size; what is in them comes later.
  const std::vector<handoff::VerifyRange> verify(options.digest == handoff::DigestKind::kNone ? 0
                                                                                              : 3);
  const std::vector<std::byte> digests(DigestCount(prepared, options) *
                                       handoff::DigestSize(options.digest));
  const plan::Hop bare = MakeHop(system, prepared, options);
  bare_input.hop = bare;
  bare_input.hop.verify = verify;
  bare_input.hop.digests = digests;
  bare_input.blob = options.blob;
  bare_input.mmu = options.mmu;
  // With little extra first, so that the peak is the payload; with more if that gives no place.
  const uint64_t most = MostExtra(needed, *available);
  const uint64_t little = std::min(most, needed / 128 + (uint64_t{2} << 20));
  const auto take = [&](uint64_t extra) {
    return TakeAndPlan(system, session, prepared, bare_input, needed,
                       AlignDown(extra, uint64_t{1} << 20), *available, progress);
  };
  auto taken = [&] {
    auto first = take(little);
    const bool more =
        !first && first.error().code == ExitCode::kNoContiguousMemory && most > little;
    return more ? take(most) : std::move(first);
  }();
  if (!taken) return Forward(taken);
  auto& [arena, input, plan] = *taken;
  const std::vector<Piece> uses = GiveUpHugePages(arena, needed, input, plan);
  if (const auto trimmed = arena.Trim(Wanted(arena, uses)); !trimmed) {
    return Forward(trimmed);
  }
  // What is not kept may be somebody else's from now on, and these lists are long.
  input.owned = input.loose = input.allowed = {};

  auto filled = Fill(system, options, prepared, arena, plan.placed, progress);
  if (!filled) return Forward(filled);
  plan::Hop hop = filled->Complete(bare);
  // These outlive `filled`, which goes into what is loaded.
  const auto final_digests = std::move(filled->digests.bytes);
  const auto final_verify = std::move(filled->digests.verify);
  hop.digests = final_digests;
  hop.verify = final_verify;
  Loaded loaded = Describe(prepared, options, arena, plan.placed, {}, *std::move(filled));
  AddGathered(plan, loaded.plan);
  progress("handing the control area to the kernel");
  const auto committed = CommitGathered(session, input, plan, std::move(loaded), hop);
  if (session.committed()) arena.Keep();
  if (!committed && !session.committed()) return Forward(committed);
  report::Plan done = session.state().current ? session.state().current->plan
                                              : session.state().pending->loaded->plan;
  if (!committed) {
    done.notes.push_back("loaded, but: " + committed.error().message);
    return done;
  }
  {
    const Arena unmapped(std::move(arena));
  }
  // Somebody may have taken a destination while the files were read. Exec looks again.
  if (const auto sound = MakeSound(system, session, progress); !sound) {
    done.notes.push_back("not ready: " + sound.error().message);
    return done;
  }
  return session.state().current->plan;
}

}  // namespace khop::load
