// SPDX-License-Identifier: MIT
#include "tool/load/control.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/handoff/check.h"
#include "tool/load/prepare.h"
#include "tool/system/huge_pages.h"
#include "tool/system/memory_map.h"

namespace khop::load {
namespace {

uint64_t Pieces(uint64_t size) { return (size + handoff::kPieceSize - 1) / handoff::kPieceSize; }

}  // namespace

std::unexpected<Failure> PlannerFailure(const Error& error) {
  return Fail(
      ExitCode::kInternal, "the hand-off to the relocator",
      "code " + std::to_string(static_cast<int>(error.code)) + ", value " + Hex(error.value),
      "please report this");
}

plan::Hop MakeHop(system::System& system, const Prepared& prepared, const LoadOptions& options) {
  plan::Hop hop;
  hop.digest_kind = options.digest;
  hop.flags = handoff::kLinuxImage;
  if (options.early) hop.flags |= handoff::kVerifyEarly;
  hop.granule_shift = prepared.granule_shift;
  hop.pa_bits = prepared.pa_bits;
  hop.last_words = prepared.last_words;
  hop.cache_line_size = system.DataCacheLine();
  return hop;
}

uint64_t DigestCount(const Prepared& prepared, const LoadOptions& options) {
  if (options.digest == handoff::DigestKind::kNone) return 0;
  return Pieces(prepared.kernel.size) + Pieces(prepared.initrd_size) +
         Pieces(prepared.sizes.dtb_size);
}

Result<uint64_t> EstimateControlSize(system::System& system, const Prepared& prepared,
                                     const LoadOptions& options) {
  // The worst placement: no two runs share a page table, each crosses the boundary of one, and the
  // control area cuts one of them in two. At most: kernel, initrd and two runs of one page.
  constexpr uint64_t kApart = uint64_t{1} << 39;
  constexpr uint64_t kPage = system::kHugePageSize;
  const auto& sizes = prepared.sizes;
  const uint64_t image = sizes.text_offset + prepared.header.image_size;
  const std::array<uint64_t, 4> runs = {image, prepared.initrd_size, kPage, kPage};
  std::vector<handoff::Range> arena;
  for (size_t i = 0; i < runs.size(); ++i) {
    const uint64_t size = AlignUp(runs[i], kPage) + kPage;
    arena.push_back({(i + 1) * kApart - kPage, size});
  }
  arena.push_back({(runs.size() + 1) * kApart + (uint64_t{1} << prepared.granule_shift),
                   kPage - (uint64_t{1} << prepared.granule_shift)});
  const std::array<handoff::VerifyRange, 3> verify = {};
  const std::vector<std::byte> digests(DigestCount(prepared, options) *
                                       handoff::DigestSize(options.digest));
  plan::Hop hop = MakeHop(system, prepared, options);
  hop.arena = arena;
  hop.verify = verify;
  hop.digests = digests;
  hop.mmu = options.mmu != MmuMode::kOff;
  const auto layout = plan::LayOutControlArea(hop, options.blob);
  if (!layout) return PlannerFailure(layout.error());
  return layout->size;
}

Result<ParsedControl> ParseControl(std::span<const std::byte> bytes, PhysAddr base) {
  const auto bad = [] {
    return Fail(ExitCode::kBadState, "khop's copy of the control area", "it is damaged",
                "run khop unload, and load again");
  };
  const auto features = digest::DigestFeatures::Scalar();
  relocator::BlobHeader blob;
  if (bytes.size() < sizeof(blob)) return bad();
  memcpy(&blob, bytes.data(), sizeof(blob));
  const relocator::BlobParameters& at = blob.parameters;
  if (blob.magic != relocator::kBlobMagic || blob.size > bytes.size() ||
      at.handoff_offset > bytes.size() - sizeof(handoff::Header) ||
      !IsAligned(at.handoff_offset, 8) || at.stack_offset > at.handoff_offset) {
    return bad();
  }
  const handoff::View view(bytes.data() + at.handoff_offset);
  const handoff::Header& header = view.header();
  if (header.header_size > bytes.size() - at.handoff_offset ||
      header.total_size > bytes.size() - at.handoff_offset ||
      !handoff::CheckHeader(view, base + at.handoff_offset, {base, blob.size},
                            {base + at.stack_offset, at.stack_size}, features)
           .ok() ||
      !handoff::CheckBody(view, features).ok()) {
    return bad();
  }
  ParsedControl parsed;
  parsed.blob = bytes.first(blob.size);
  plan::Hop& hop = parsed.hop;
  hop.dtb_size = header.dtb_size;
  hop.timeline_offset = header.timeline_offset;
  hop.verify = view.verify();
  const size_t digest_size = handoff::DigestSize(view.digest_kind());
  if (digest_size != 0) hop.digests = {view.digest(0), header.digests.count * digest_size};
  hop.digest_kind = view.digest_kind();
  hop.flags = header.flags;
  hop.mmu = view.mmu();
  if (hop.mmu) {
    hop.va_bits = header.translation.va_bits;
    hop.pa_bits = header.translation.pa_bits;
    hop.granule_shift = header.translation.granule_shift;
  }
  hop.cache_line_size = header.cache_line_size;
  hop.last_words = at.last_words;
  return parsed;
}

std::vector<handoff::Range> ArenaRanges(std::vector<PhysRange> held, PhysRange control) {
  std::ranges::sort(held, {}, &PhysRange::start);
  std::vector<handoff::Range> ranges;
  for (const PhysRange& range : system::Subtract(held, {control})) {
    if (!ranges.empty() && ranges.back().start + ranges.back().size == range.start.value) {
      ranges.back().size += range.size;
    } else {
      ranges.push_back({range.start.value, range.size});
    }
  }
  return ranges;
}

plan::Hop At(plan::Hop hop, const Placed& placed) {
  hop.entry = placed.image;
  hop.dtb = placed.dtb;
  hop.stamp = placed.stamp;
  hop.arena = placed.arena;
  hop.moves = placed.moves;
  hop.window = placed.window;
  hop.mmu = placed.mmu;
  return hop;
}

Result<ControlArea> BuildControl(const plan::Hop& hop, std::span<const std::byte> blob,
                                 const Placed& placed) {
  const plan::Hop whole = At(hop, placed);
  const auto layout = plan::LayOutControlArea(whole, blob);
  if (!layout) return PlannerFailure(layout.error());
  if (layout->size > placed.control.size) {
    return PlannerFailure({ErrorCode::kOutOfMemory, layout->size});
  }
  ControlArea area;
  area.bytes.resize(layout->size);
  const auto built = plan::BuildControlArea(whole, blob, placed.control.start, area.bytes);
  if (!built) return PlannerFailure(built.error());
  area.layout = *built;
  area.bytes.resize(built->size);
  return area;
}

}  // namespace khop::load
