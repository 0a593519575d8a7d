// SPDX-License-Identifier: MIT
// The classic route: kernel, initrd, device tree and control area are segments of one kexec_load,
// which the running kernel moves to their places. The relocator then moves nothing: it verifies
// with the caches on, and starts the next kernel.
#include <array>
#include <cstring>
#include <memory>

#include "tool/load/fill.h"
#include "tool/load/forecast.h"
#include "tool/load/held.h"
#include "tool/load/routes.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

namespace {

// The rest of memory that a load leaves alone.
constexpr uint64_t kMargin = uint64_t{16} << 20;

uint64_t PayloadBytes(const Prepared& prepared) {
  return prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
}

// What the segments take, BSS excluded: the next kernel clears that itself.
uint64_t SegmentBytes(const Prepared& prepared, uint64_t granule) {
  return AlignUp(prepared.kernel.size, granule) + AlignUp(prepared.initrd_size, granule) +
         AlignUp(prepared.sizes.dtb_size, granule) + AlignUp(prepared.sizes.control_size, granule);
}

// exec could not tell the relocator that everything was verified early: see BuildForKernel().
Result<void> CheckOptions(const LoadOptions& options) {
  if (!options.early) return {};
  return Fail(ExitCode::kRouteOption, "--verify early",
              "with the route kernel nothing can be looked at after the load",
              "take --verify sha256");
}

Result<void> CheckMemory(System& system, const Prepared& prepared) {
  const uint64_t segments = SegmentBytes(prepared, system.PageSize());
  const auto total = system::MemTotal(system);
  if (!total) return Forward(total);
  if (segments > *total / 2) {
    return Fail(ExitCode::kHalfOfMemory, "kexec_load",
                HumanBytes(segments) + " are more than half of the memory, " + HumanBytes(*total) +
                    ", and the kernel takes no more",
                "take a smaller initrd, or another route");
  }
  const auto available = system::MemAvailable(system);
  if (!available) return Forward(available);
  const uint64_t needed = PayloadBytes(prepared) + segments + kMargin;
  if (needed > *available) {
    return Fail(ExitCode::kNoMemory, "memory for the next kernel",
                HumanBytes(needed) + " are needed, as khop and the kernel each hold the payload " +
                    "for a moment, and " + HumanBytes(*available) + " are available",
                "free memory");
  }
  return {};
}

void Describe(const Prepared& prepared, uint64_t granule, report::Plan& plan) {
  const uint64_t segments = SegmentBytes(prepared, granule);
  plan.route_reason = "the running kernel moves everything to its place";
  plan.bytes_to_move = PayloadBytes(prepared);
  plan.notes.push_back("memory at the peak: " + HumanBytes(PayloadBytes(prepared) + segments) +
                       ", khop's buffer of " + HumanBytes(PayloadBytes(prepared)) +
                       " and the running kernel's copy of " + HumanBytes(segments) +
                       "; the copy stays until the jump");
}

// Whole pages of 2 MiB that the next kernel may be put into; what is in them now does not matter.
std::vector<PhysAddr> Places(const Prepared& prepared) {
  std::vector<PhysAddr> pages;
  const auto plain = system::Intersect(prepared.map.plain, {prepared.bounds});
  for (const PhysRange& range : system::Subtract(plain, prepared.forbidden)) {
    for (uint64_t at = AlignUp(range.start.value, kHugePageSize);
         at + kHugePageSize <= range.end().value; at += kHugePageSize) {
      pages.push_back(PhysAddr{at});
    }
  }
  return pages;
}

Result<Placed> Place(const Prepared& prepared, const LoadOptions& options, uint64_t granule) {
  const auto runs = FindRuns(Places(prepared), prepared.shape.run_pages);
  if (!runs) {
    return Fail(ExitCode::kNoContiguousMemory, "places for the next kernel",
                "memory that is not reserved has no such long run within 32 GiB",
                "take a smaller initrd, or another route");
  }
  Placed placed =
      PlaceInRuns(prepared.shape, prepared.sizes, granule, options.mmu != MmuMode::kOff, *runs);
  // Nobody could write the time of the reboot into the kernel's copy.
  placed.stamp = PhysAddr{0};
  return placed;
}

// Memory that the files are read into; not cleared first.
struct Buffer {
  explicit Buffer(uint64_t size)
      : memory(std::make_unique_for_overwrite<std::byte[]>(size)), bytes(memory.get(), size) {}
  std::unique_ptr<std::byte[]> memory;
  std::span<std::byte> bytes;
};

Result<void> ReadInitrds(System& system, const Prepared& prepared, std::span<std::byte> to) {
  if (!prepared.made_initrd.empty()) {
    memcpy(to.data(), prepared.made_initrd.data(), to.size());
    return {};
  }
  uint64_t end = 0;
  for (const SourceFile& initrd : prepared.initrds) {
    const uint64_t start = AlignUp(end, kInitrdAlignment);
    memset(&to[end], 0, start - end);
    if (auto read = Stream(system, initrd, to.subspan(start, initrd.size)); !read) return read;
    end = start + initrd.size;
  }
  return {};
}

}  // namespace

Result<void> PlanByKernel(System& system, const LoadOptions& options, const Prepared& prepared,
                          report::Plan& plan) {
  if (auto can = CheckOptions(options); !can) return can;
  if (auto memory = CheckMemory(system, prepared); !memory) return memory;
  const uint64_t granule = system.PageSize();
  Describe(prepared, granule, plan);
  if (prepared.map.plain.empty()) return {};  // there is a note already
  const auto placed = Place(prepared, options, granule);
  if (!placed) return Forward(placed);
  return AddForecast(system, options, prepared, *placed, plan);
}

Result<Held> BuildForKernel(System& system, const Session& session, const LoadOptions& options,
                            const Prepared& prepared, const Progress& progress) {
  if (const auto can = CheckOptions(options); !can) return Forward(can);
  if (const auto memory = CheckMemory(system, prepared); !memory) return Forward(memory);
  const uint64_t granule = system.PageSize();
  const auto place = Place(prepared, options, granule);
  if (!place) return Forward(place);
  const Placed& placed = *place;

  progress("reading the kernel and the initrd");
  const auto kernel = std::make_shared<Buffer>(prepared.kernel.size);
  const auto initrd = std::make_shared<Buffer>(prepared.initrd_size);
  if (const auto read = Stream(system, prepared.kernel, kernel->bytes); !read) return Forward(read);
  if (prepared.initrd_size != 0) {
    if (const auto read = ReadInitrds(system, prepared, initrd->bytes); !read) return Forward(read);
  }
  devicetree::NextTreeOptions tree_options = prepared.tree_options;
  if (prepared.initrd_size != 0) {
    tree_options.initrd = PhysRange{placed.initrd, prepared.initrd_size};
  }
  auto tree = devicetree::BuildNextTree(*prepared.tree, tree_options);
  if (!tree) return Forward(tree);

  progress("digesting " + HumanBytes(PayloadBytes(prepared)));
  Digests digests;
  const auto features = digest::DigestFeatures::FromHwcap(system.Hwcap());
  digests.Add(placed.image, kernel->bytes, options.digest, features);
  digests.Add(placed.initrd, initrd->bytes, options.digest, features);
  digests.Add(placed.dtb, tree->bytes, options.digest, features);
  Filled filled{*std::move(tree), std::move(digests),
                prepared.kernel_version.empty() ? image::FindRelease(kernel->bytes) : ""};
  const plan::Hop hop = filled.Complete(MakeHop(system, prepared, options));
  auto control = BuildControl(hop, options.blob, placed);
  if (!control) return Forward(control);
  const auto dtb = std::make_shared<std::vector<std::byte>>(filled.tree.bytes);

  Held held{.loaded = Describe(prepared, options, HeldArena(session), placed, *control,
                               std::move(filled)),
            .control = *std::move(control),
            .hand_over = {}};
  Describe(prepared, granule, held.loaded.plan);
  held.hand_over = [&system, kernel, initrd, dtb, placed, granule,
                    bytes = held.control.bytes]() -> Result<void> {
    std::vector<system::KexecSegment> segments;
    const auto add = [&](PhysAddr destination, std::span<const std::byte> contents) {
      if (contents.empty()) return;
      // The text offset of an old kernel need not be whole pages.
      const uint64_t before = destination.value % granule;
      segments.push_back({.buffer = contents,
                          .destination = destination,
                          .size = AlignUp(contents.size() + before, granule)});
    };
    add(placed.control.start, bytes);
    add(placed.image, kernel->bytes);
    add(placed.initrd, initrd->bytes);
    add(placed.dtb, *dtb);
    const auto done = system.KexecLoad(placed.control.start, segments);
    if (!done) return std::unexpected(system::ExplainKexecLoad(system, done.error()));
    return {};
  };
  return held;
}

Result<report::Plan> LoadByKernel(System& system, Session& session, const LoadOptions& options,
                                  const Prepared& prepared, const Progress& progress) {
  const auto held = BuildForKernel(system, session, options, prepared, progress);
  if (!held) return Forward(held);
  return Commit(session, *held, progress);
}

}  // namespace khop::load
