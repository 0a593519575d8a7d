// SPDX-License-Identifier: MIT
// The gather route: any pages, and moves for those that are not in place.
#include "tool/load/gather.h"

#include <algorithm>
#include <map>

#include "tool/load/fill.h"
#include "tool/load/gather_keep.h"
#include "tool/load/routes.h"
#include "tool/system/page_flags.h"

namespace khop::load {

using system::System;

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

namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kWindow = 32 * kGiB;
constexpr uint64_t kLittle = uint64_t{2} << 20;
constexpr uint64_t kTight = uint64_t{64} << 20;

// How much may be taken beyond the need, for a moment and to choose from: as much again, within
// half of what is available, and never the last of it.
uint64_t MostExtra(uint64_t needed, uint64_t available) {
  const uint64_t margin = std::max(available / 8, Arena::kKeptAvailable);
  if (available < needed + margin) return 0;
  const uint64_t extra = std::min({needed, available / 2, available - needed - margin});
  return AlignDown(extra, uint64_t{1} << 20);
}

// The `size` bytes with the most of what is owned.
PhysRange WindowAround(const Ranges& owned, uint64_t size) {
  std::map<uint64_t, uint64_t> by_gib;
  for (const PhysRange& range : owned) by_gib[range.start.value / kGiB] += range.size;
  uint64_t best = 0;
  PhysRange window;
  for (const auto& [gib, unused] : by_gib) {
    uint64_t bytes = 0;
    for (auto it = by_gib.lower_bound(gib); it != by_gib.end() && it->first < gib + size / kGiB;
         ++it) {
      bytes += it->second;
    }
    if (bytes > best) window = {PhysAddr{gib * kGiB}, size};
    best = std::max(best, bytes);
  }
  return window;
}

// The lowest memory: twice the payload, and room for what the running kernel was put there with. If
// pages are handed out from above 4 GiB it is quiet, for processes and the kernel take from it
// last; the next kernel pays least for what lies there, and boot loaders put a kernel there, too.
// Nothing otherwise, nor if the payload is more than a quarter of what is below: the next kernel
// has its crash reservation and memory for DMA there.
Ranges QuietLowMemory(const Ranges& plain, const GatherInput& input) {
  constexpr uint64_t kRunning = uint64_t{128} << 20;
  const PhysRange below{PhysAddr{0}, 4 * kGiB};
  const PayloadSizes& sizes = input.sizes;
  const uint64_t payload = sizes.image_size + sizes.initrd_size + sizes.dtb_size;
  const Ranges low = InBoth(plain, {&below, 1});
  if (payload > TotalSize(low) / 4 ||
      TotalSize(InBoth(input.owned, {&below, 1})) >= TotalSize(input.owned) / 8) {
    return {};
  }
  return system::FirstOf(low, 2 * payload + kRunning);
}

bool LiesIn(const Ranges& ranges, PhysRange range) { return Without({&range, 1}, ranges).empty(); }

// Where a hop may write: what is owned, wherever it is, and of `near` what is free or a process's.
Result<Ranges> FindAllowed(System& system, const Ranges& plain, const Ranges& near,
                           const Ranges& owned, uint64_t smallest) {
  auto allowed = system::FindOverwritable(system, near, owned, smallest);
  if (!allowed) return allowed;
  const Ranges far = Without(InBoth(owned, plain), *allowed);
  allowed->insert(allowed->end(), far.begin(), far.end());
  return InBoth(Joined(*std::move(allowed)), plain);
}

}  // namespace

Result<GatherPlan> PlanAround(System& system, const Ranges& plain, GatherInput& input,
                              const Ranges& restless) {
  const uint64_t smallest = std::min<uint64_t>(AlignUp(input.sizes.dtb_size, input.granule), 32768);
  const bool large = TotalSize(plain) > 2 * kWindow;
  const uint64_t span = plain.empty() ? 0 : plain.back().end() - plain.front().start;
  const uint64_t most = large ? kWindow : span;
  Ranges low = QuietLowMemory(plain, input);
  const auto keep = input.keep;
  // What an initrd that has to move gains there pays for moving a kernel, too, if that is small.
  if (!low.empty() && !keep[kInitrdPart] && input.sizes.image_size < input.sizes.initrd_size / 4) {
    input.keep[kKernelPart] = false;
  }
  for (uint64_t size = AlignUp(4 * TotalSize(input.owned) + 1, kGiB);;) {
    const bool last = size >= most;
    const PhysRange window = WindowAround(input.owned, std::min(size, most));
    Ranges near = plain;
    if (!last || large) {
      near = InBoth(plain, {&window, 1});
      const Ranges more = Without(low, near);
      near.insert(near.end(), more.begin(), more.end());
      near = Joined(std::move(near));
    }
    input.prefer_low = !low.empty();
    auto found = FindAllowed(system, plain, near, input.owned, smallest);
    if (!found) return Forward(found);
    input.allowed = restless.empty() ? *found : Without(*found, Without(restless, input.owned));
    auto plan = PlanGather(input);
    const bool fits = plan && (plan->placed.mmu || input.mmu == MmuMode::kOff);
    if (input.prefer_low) {
      if (fits && LiesIn(low, {plan->placed.image, input.sizes.image_size}) &&
          LiesIn(low, {plan->placed.initrd, input.sizes.initrd_size})) {
        return plan;
      }
      // One part alone gains nothing there, and all other memory may be too far away from it.
      low.clear();
      input.keep = keep;
      continue;
    }
    if (fits) return plan;
    if (!last) {
      size *= 8;
      continue;
    }
    if (plan || restless.empty()) return plan;
    input.allowed = *std::move(found);
    return PlanGather(input);
  }
}

Result<void> CommitGathered(Session& session, const GatherInput& input, GatherPlan& plan,
                            Loaded loaded, const plan::Hop& hop, Session::Old old) {
  session.ForgetCommitted();
  const auto commit = [&] {
    const auto control = BuildControl(hop, input.blob, plan.placed);
    if (!control) return Result<void>(Forward(control));
    AddControl(plan.placed, control->layout, loaded.plan);
    loaded.plan.mmu_reason = plan.mmu_reason;
    return session.Commit(loaded, *control, old);
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

// Bytes beyond the need, to choose from: as Arena::GatherRequest has them.
struct Extra {
  uint64_t base = 0;
  uint64_t for_huge = 0;
  uint64_t huge = 0;
  bool insist = false;
};

// Takes `needed` bytes of pages, and `extra`, and plans with them. `input`: all that does not
// depend on which pages they are.
Result<Taken> TakeAndPlan(System& system, Session& session, const Prepared& prepared,
                          GatherInput input, uint64_t needed, Extra extra, uint64_t available,
                          const Progress& progress) {
  const int slot = session.FreeSlot();
  if (const auto begun = session.BeginBuild(slot, {}); !begun) return Forward(begun);
  progress("taking " + HumanBytes(needed) + " of pages of any size, and up to " +
           HumanBytes(extra.base + extra.for_huge + extra.huge) + " to choose from");
  auto arena =
      Arena::Gather(system, prepared.map,
                    {.slot = slot,
                     .bytes = needed,
                     .extra = AlignDown(extra.base, uint64_t{1} << 20),
                     .extra_for_huge = AlignDown(extra.for_huge, system.PageSize()),
                     .extra_huge = AlignDown(extra.huge, system::kHugePageSize),
                     .insist = extra.insist,
                     .forbidden = prepared.forbidden,
                     .transient_limit = (available - needed) / 2,
                     .before_base_pages = [&] { return session.HoldCompaction(); }},
                    [&](const PoolRecords& pools) { return session.BeginBuild(slot, pools); });
  if (!arena) return Forward(arena);
  progress("looking for destinations");
  input.owned = Addresses(arena->extents());
  const Ranges plain =
      InBoth(system::Subtract(prepared.map.plain, prepared.forbidden), {&prepared.bounds, 1});
  auto plan = PlanAround(system, plain, input);
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
  // Where both kinds are `most`, taking ends where Arena::kKeptAvailable is left.
  const uint64_t most = MostExtra(needed, *available);
  const uint64_t little = std::min(most, kLittle);
  Extra extra{.base = little, .for_huge = std::min(most - little, needed / 128), .huge = little};
  // Where the payload is most of the memory, its destinations are what the kernel breaks up next
  // for pages of its own, unless khop has them: free blocks, taken for a moment.
  if (*available < 2 * needed + kTight) extra.huge = most;
  const auto take = [&] {
    return TakeAndPlan(system, session, prepared, bare_input, needed, extra, *available, progress);
  };
  auto taken = [&] {
    auto first = take();
    if (first || first.error().code != ExitCode::kNoContiguousMemory || most <= extra.base) {
      return first;
    }
    extra = {.base = most, .huge = extra.huge, .insist = true};
    return take();
  }();
  if (!taken) return Forward(taken);
  auto& [arena, input, plan] = *taken;
  if (const auto trimmed = arena.Trim(PagesToKeep(arena, needed, input, plan)); !trimmed) {
    return Forward(trimmed);
  }
  // What is not kept may be somebody else's from now on, and these lists are long.
  input.owned = input.allowed = Ranges();

  auto filled = Fill(system, options, prepared, arena, plan.placed, progress);
  if (!filled) return Forward(filled);
  plan::Hop hop = filled->Complete(bare);
  // These outlive `filled`, which goes into what is loaded.
  const auto final_digests = std::move(filled->digests.bytes);
  const auto final_verify = std::move(filled->digests.verify);
  hop.digests = final_digests;
  hop.verify = final_verify;
  Loaded loaded = Describe(prepared, options, arena.record(), plan.placed, {}, *std::move(filled));
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
  if (const auto sound = MakeSound(system, session, Planned::kJustNow, progress); !sound) {
    done.notes.push_back("not ready: " + sound.error().message);
    return done;
  }
  return session.state().current->plan;
}

}  // namespace khop::load
