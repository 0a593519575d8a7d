// SPDX-License-Identifier: MIT
#include "tool/load/control.h"

#include <algorithm>
#include <array>

#include "tool/load/prepare.h"
#include "tool/system/huge_pages.h"
#include "tool/system/memory_map.h"

namespace khop::load {
namespace {

std::unexpected<Failure> Internal(const Error& error) {
  return Fail(
      ExitCode::kInternal, "the hand-off to the relocator",
      "code " + std::to_string(static_cast<int>(error.code)) + ", value " + Hex(error.value),
      "please report this");
}

plan::Hop CommonHop(const Prepared& prepared, handoff::DigestKind digest) {
  plan::Hop hop;
  hop.digest_kind = digest;
  hop.flags = handoff::kLinuxImage;
  hop.granule_shift = prepared.granule_shift;
  hop.pa_bits = prepared.pa_bits;
  hop.last_words = prepared.last_words;
  return hop;
}

uint64_t Pieces(uint64_t size) { return (size + handoff::kPieceSize - 1) / handoff::kPieceSize; }

}  // namespace

Result<uint64_t> EstimateControlSize(const Prepared& prepared, const LoadOptions& options) {
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
  const uint64_t pieces =
      Pieces(prepared.kernel.size) + Pieces(prepared.initrd_size) + Pieces(sizes.dtb_size);
  const std::vector<std::byte> digests(pieces * handoff::DigestSize(options.digest));
  plan::Hop hop = CommonHop(prepared, options.digest);
  hop.arena = arena;
  hop.verify = verify;
  hop.digests = digests;
  const auto layout = plan::LayOutControlArea(hop, options.blob);
  if (!layout) return Internal(layout.error());
  return layout->size;
}

std::vector<handoff::Range> ArenaRanges(const Placed& placed) {
  std::vector<PhysRange> held = placed.held;
  std::ranges::sort(held, {}, &PhysRange::start);
  std::vector<handoff::Range> ranges;
  for (const PhysRange& range : system::Subtract(held, {placed.control})) {
    if (!ranges.empty() && ranges.back().start + ranges.back().size == range.start.value) {
      ranges.back().size += range.size;
    } else {
      ranges.push_back({range.start.value, range.size});
    }
  }
  return ranges;
}

Result<ControlArea> BuildControl(system::System& system, const Prepared& prepared,
                                 const LoadOptions& options, const Placed& placed,
                                 uint32_t dtb_size, uint32_t timeline_offset,
                                 std::span<const handoff::VerifyRange> verify,
                                 std::span<const std::byte> digests) {
  const std::vector<handoff::Range> arena = ArenaRanges(placed);
  plan::Hop hop = CommonHop(prepared, options.digest);
  hop.entry = placed.image;
  hop.dtb = placed.dtb;
  hop.dtb_size = dtb_size;
  hop.timeline_offset = timeline_offset;
  hop.stamp = placed.stamp;
  hop.arena = arena;
  hop.verify = verify;
  hop.digests = digests;
  hop.cache_line_size = system.DataCacheLine();
  const auto layout = plan::LayOutControlArea(hop, options.blob);
  if (!layout) return Internal(layout.error());
  if (layout->size > placed.control.size) {
    return Internal({ErrorCode::kOutOfMemory, layout->size});
  }
  ControlArea area;
  area.bytes.resize(layout->size);
  const auto built = plan::BuildControlArea(hop, options.blob, placed.control.start, area.bytes);
  if (!built) return Internal(built.error());
  area.layout = *built;
  area.bytes.resize(built->size);
  return area;
}

}  // namespace khop::load
