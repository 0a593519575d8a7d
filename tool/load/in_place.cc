// SPDX-License-Identifier: MIT
// The in-place route: the payload is read to where it will run, so nothing of it is ever copied.
#include "tool/load/fill.h"
#include "tool/load/routes.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

Placed PlaceInRuns(const Shape& shape, const PayloadSizes& sizes, uint64_t granule, bool mmu,
                   const std::vector<PhysAddr>& runs) {
  const auto at = [&](const Spot& spot) { return runs[spot.run] + spot.offset; };
  Placed placed{.image = at(shape.image),
                .initrd = at(shape.initrd),
                .dtb = at(shape.dtb),
                .stamp = at(shape.stamp),
                .control = {at(shape.control), AlignUp(sizes.control_size, granule)},
                .arena = {},
                .moves = {},
                .window = {},
                .mmu = mmu};
  std::vector<PhysRange> held;
  held.reserve(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    held.push_back({runs[i], shape.run_pages[i] * kHugePageSize});
  }
  placed.arena = ArenaRanges(std::move(held), placed.control);
  return placed;
}

std::string RunsText(std::span<const uint64_t> run_pages) {
  std::string text;
  for (const uint64_t pages : run_pages) {
    text += (text.empty() ? "" : ", ") + std::to_string(pages);
  }
  return text;
}

Result<report::Plan> LoadInPlace(System& system, Session& session, const LoadOptions& options,
                                 const Prepared& prepared, const Progress& progress) {
  const uint64_t needed = prepared.shape.pages() * kHugePageSize;
  const auto available = CheckBeforeTaking(system, session, needed);
  if (!available) return Forward(available);
  const int slot = session.FreeSlot();
  progress("taking " + HumanBytes(needed) + " of 2 MiB pages");
  system::MemoryMap map = prepared.map;
  map.plain = system::Intersect(map.plain, {prepared.bounds});
  auto arena =
      Arena::Create(system, map,
                    {.slot = slot,
                     .run_pages = prepared.shape.run_pages,
                     .forbidden = prepared.forbidden,
                     .transient_limit = *available / 2},
                    [&](const PoolRecords& pools) { return session.BeginBuild(slot, pools); });
  if (!arena) return Forward(arena);
  Placed placed = PlaceInRuns(prepared.shape, prepared.sizes, system.PageSize(),
                              options.mmu != MmuMode::kOff, arena->runs());
  auto filled = Fill(system, options, prepared, *arena, placed, progress);
  if (!filled) return Forward(filled);
  plan::Hop hop = filled->Complete(MakeHop(system, prepared, options));
  // These outlive `filled`, which goes into what is loaded.
  const auto digests = std::move(filled->digests.bytes);
  const auto verify = std::move(filled->digests.verify);
  hop.digests = digests;
  hop.verify = verify;
  auto control = BuildControl(hop, options.blob, placed);
  if (!control) return Forward(control);
  Loaded loaded =
      Describe(prepared, options, arena->record(), placed, *control, *std::move(filled));
  report::Plan& plan = loaded.plan;
  plan.bytes_in_place = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  plan.route_reason = "the runs that are needed could be had, in pages of 2 MiB: " +
                      RunsText(prepared.shape.run_pages);
  progress("handing the control area to the kernel");
  auto committed = session.Commit(loaded, *control);
  if (!committed && !session.committed() && options.mmu == MmuMode::kAuto &&
      committed.error().code == ExitCode::kNoMemory) {
    // Without tables it is smaller.
    placed.mmu = false;
    placed.control.size = AlignUp(control->layout.tables, system.PageSize());
    control = BuildControl(hop, options.blob, placed);
    if (!control) return Forward(control);
    AddControl(placed, control->layout, plan);
    plan.mmu_reason = "the kernel has no memory for the page tables";
    committed = session.Commit(loaded, *control);
  }
  report::Plan done = plan;
  if (session.committed()) arena->Keep();
  if (!committed) {
    if (!session.committed()) return Forward(committed);
    done.notes.push_back("loaded, but: " + committed.error().message);
  }
  return done;
}

}  // namespace khop::load
