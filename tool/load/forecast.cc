// SPDX-License-Identifier: MIT
// The routes' plans without taking memory: by the same arithmetic as a load's, with the pages that
// the kernel has free now. Which of them it would give is its own affair.
#include "tool/load/forecast.h"

#include <algorithm>

#include "tool/load/fill.h"
#include "tool/load/gather.h"
#include "tool/load/gather_plan.h"
#include "tool/load/routes.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::kHugePageSize;
using system::PageUse;
using system::System;

namespace {

Ranges Usable(const Prepared& prepared) {
  return system::Subtract(system::Intersect(prepared.map.plain, {prepared.bounds}),
                          prepared.forbidden);
}

// The pages of one use, or of two.
Ranges Of(const std::vector<system::PageRun>& pages, PageUse use, PageUse other) {
  Ranges ranges;
  for (const system::PageRun& run : pages) {
    if (run.use == use || run.use == other) ranges.push_back(run.range);
  }
  return Joined(std::move(ranges));
}

// Whole pages of 2 MiB.
std::vector<PhysAddr> HugePages(std::span<const PhysRange> ranges) {
  std::vector<PhysAddr> pages;
  for (const PhysRange& range : ranges) {
    uint64_t at = AlignUp(range.start.value, kHugePageSize);
    for (; at + kHugePageSize <= range.end().value; at += kHugePageSize) pages.push_back({at});
  }
  return pages;
}

// What the kernel would give of free memory: whole pages of 2 MiB first, from below, then the
// shortest runs, which it breaks up first.
Ranges Take(const Ranges& free, uint64_t bytes, uint64_t granule) {
  Ranges taken;
  for (const PhysAddr page : HugePages(free)) {
    if (bytes < kHugePageSize) break;
    taken.push_back({page, kHugePageSize});
    bytes -= kHugePageSize;
  }
  taken = Joined(std::move(taken));
  Ranges rest = Without(free, taken);
  std::ranges::sort(rest, [](const PhysRange& a, const PhysRange& b) {
    return a.size != b.size ? a.size < b.size : a.start < b.start;
  });
  for (const PhysRange& run : rest) {
    if (bytes == 0) break;
    const uint64_t size = std::min(AlignUp(bytes, granule), run.size);
    taken.push_back({run.start, size});
    bytes -= std::min(bytes, size);
  }
  return Joined(std::move(taken));
}

struct Lists {
  std::vector<handoff::VerifyRange> verify;
  std::vector<std::byte> digests;
};

// A hop with lists of the final size; what is in them is known when the files are read.
plan::Hop BareHop(System& system, const LoadOptions& options, const Prepared& prepared,
                  Lists& lists) {
  plan::Hop hop = MakeHop(system, prepared, options);
  if (options.digest != handoff::DigestKind::kNone) {
    lists.verify.resize(prepared.initrd_size == 0 ? 2 : 3);
  }
  lists.digests.resize(DigestCount(prepared, options) * handoff::DigestSize(options.digest));
  hop.verify = lists.verify;
  hop.digests = lists.digests;
  hop.dtb_size = static_cast<uint32_t>(prepared.sizes.dtb_size);
  return hop;
}

}  // namespace

std::vector<system::PageRun> LookAtPages(System& system, const Prepared& prepared,
                                         report::Plan& plan) {
  if (prepared.map.plain.empty()) return {};  // there is a note already
  auto runs =
      system::ReadPageUse(system, system::FirstOf(Usable(prepared), system::kMostPagesSeen));
  if (runs) return *std::move(runs);
  plan.notes.push_back("which memory is free cannot be seen: " + runs.error().message);
  return {};
}

std::optional<PhysAddr> ForecastHugePages(System& system, const Prepared& prepared, uint64_t count,
                                          report::Plan& plan) {
  const auto pages = LookAtPages(system, prepared, plan);
  const std::vector<uint64_t> wanted = {count};
  for (const PageUse other : {PageUse::kFree, PageUse::kMovable}) {
    const auto runs = FindRuns(HugePages(Of(pages, PageUse::kFree, other)), wanted);
    if (runs) return runs->front();
  }
  return std::nullopt;
}

Result<void> CheckAvailable(System& system, uint64_t needed) {
  if (const auto shm = system::CheckSharedMemory(system, needed); !shm) return Forward(shm);
  const auto available = system::MemAvailable(system);
  if (!available) return Forward(available);
  if (needed <= *available) return {};
  return Fail(ExitCode::kNoMemory, "memory for the next kernel",
              HumanBytes(needed) + " are needed and " + HumanBytes(*available) + " are available",
              "free memory");
}

Result<void> AddForecast(System& system, const LoadOptions& options, const Prepared& prepared,
                         const Placed& placed, report::Plan& plan) {
  Lists lists;
  const plan::Hop hop = BareHop(system, options, prepared, lists);
  const auto layout = plan::LayOutControlArea(At(hop, placed), options.blob);
  if (!layout) return PlannerFailure(layout.error());
  plan.addresses = "forecast";
  AddSegments(prepared, placed, prepared.sizes.dtb_size, plan);
  AddControl(placed, *layout, plan);
  return {};
}

Result<void> PlanInPlace(System& system, const LoadOptions& options, const Prepared& prepared,
                         report::Plan& plan) {
  const uint64_t needed = prepared.shape.pages() * kHugePageSize;
  if (const auto checked = CheckAvailable(system, needed); !checked) return checked;
  plan.arena = {{kHugePageSize, prepared.shape.pages()}};
  plan.bytes_in_place = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  const auto pages = LookAtPages(system, prepared, plan);
  if (pages.empty()) {
    plan.route_reason = "2 MiB pages of " + HumanBytes(needed) + " would be asked for";
    if (options.route == Route::kAuto) {
      plan.notes.emplace_back("without runs that are long enough, the next route is tried");
    }
    return {};
  }
  auto whole = HugePages(Of(pages, PageUse::kFree, PageUse::kFree));
  auto runs = FindRuns(whole, prepared.shape.run_pages);
  plan.route_reason = "free memory has the runs that are needed, in pages of 2 MiB: ";
  if (!runs) {
    // The kernel puts free memory together by moving what processes have.
    whole = HugePages(Of(pages, PageUse::kFree, PageUse::kMovable));
    runs = FindRuns(whole, prepared.shape.run_pages);
    plan.route_reason =
        "the runs that are needed are free, or could be made so, in pages of 2 MiB: ";
  }
  if (!runs) {
    return Fail(ExitCode::kNoContiguousMemory, "memory for the next kernel",
                std::to_string(whole.size()) + " pages of 2 MiB hold no run of " +
                    std::to_string(*std::ranges::max_element(prepared.shape.run_pages)) +
                    " in a row",
                "free memory, load soon after boot, or take --route gather");
  }
  plan.route_reason += RunsText(prepared.shape.run_pages);
  return AddForecast(system, options, prepared,
                     PlaceInRuns(prepared.shape, prepared.sizes, system.PageSize(),
                                 options.mmu != MmuMode::kOff, *runs),
                     plan);
}

Result<void> PlanByGather(System& system, const LoadOptions& options, const Prepared& prepared,
                          report::Plan& plan) {
  const uint64_t granule = system.PageSize();
  const uint64_t needed = GatherNeed(prepared.sizes, prepared.kernel.size, granule);
  if (const auto checked = CheckAvailable(system, needed); !checked) return checked;
  const auto pages = LookAtPages(system, prepared, plan);
  if (pages.empty()) {
    plan.route_reason = "pages of any size, " + HumanBytes(needed) + ", would be asked for";
    plan.notes.emplace_back("how much is in place is known when the pages are there");
    return {};
  }
  Lists lists;
  GatherInput input;
  input.sizes = prepared.sizes;
  input.kernel_bytes = prepared.kernel.size;
  input.granule = granule;
  input.ram_end = prepared.map.RamEnd();
  input.hop = BareHop(system, options, prepared, lists);
  input.blob = options.blob;
  input.mmu = options.mmu;
  input.owned = Take(Of(pages, PageUse::kFree, PageUse::kFree), needed, granule);
  if (TotalSize(input.owned) < needed) {
    // Cache that the kernel would give up.
    input.owned = Take(Of(pages, PageUse::kFree, PageUse::kMovable), needed, granule);
  }
  const auto gathered = PlanAround(system, Usable(prepared), input);
  if (!gathered) return Forward(gathered);
  AddGathered(*gathered, plan);
  return AddForecast(system, options, prepared, gathered->placed, plan);
}

}  // namespace khop::load
