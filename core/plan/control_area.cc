// SPDX-License-Identifier: MIT
#include "core/plan/control_area.h"

#include <array>
#include <cstring>

#include "core/arm64/page_table_builder.h"
#include "core/digest/crc32c.h"
#include "core/handoff/check.h"

namespace khop::plan {
namespace {

using arm64::Access;
using arm64::Mapping;
using arm64::PageGeometry;

Error InvalidArgument(uint64_t value) { return {ErrorCode::kInvalidArgument, value}; }

// Where things of the hand-off stand, from its start.
struct HandoffLayout {
  uint32_t arena, moves, verify, digests, size;
};

std::expected<HandoffLayout, Error> LayOutHandoff(const Hop& hop) {
  const uint64_t arena = sizeof(handoff::Header);
  const uint64_t moves = arena + hop.arena.size_bytes();
  const uint64_t verify = moves + hop.moves.size_bytes();
  const uint64_t digests = verify + hop.verify.size_bytes();
  const uint64_t size = AlignUp(digests + hop.digests.size(), 8);
  if (size > UINT32_MAX) return std::unexpected(InvalidArgument(size));
  return HandoffLayout{static_cast<uint32_t>(arena), static_cast<uint32_t>(moves),
                       static_cast<uint32_t>(verify), static_cast<uint32_t>(digests),
                       static_cast<uint32_t>(size)};
}

// Calls `add` for everything that the relocator may touch, and for nothing else.
template <typename Add>
std::expected<void, Error> ForEachMapping(const Hop& hop, const ControlAreaLayout& layout,
                                          PhysAddr base, Add add) {
  const auto identity = [&](uint64_t offset, uint64_t end, Access access) {
    const PhysAddr at = base + offset;
    return add(Mapping{.virt = {at.value}, .phys = at, .size = end - offset, .access = access});
  };
  std::expected<void, Error> result = identity(layout.blob, layout.stack, Access::kExecute);
  if (result) result = identity(layout.stack, layout.handoff, Access::kReadWrite);
  if (result) result = identity(layout.handoff, layout.tables, Access::kReadOnly);
  // The tables need no mapping: the walker reads physical memory.
  const PhysRange control = {base, layout.size};
  for (const handoff::Range& range : hop.arena) {
    if (!result) return result;
    if (control.Overlaps({PhysAddr{range.start}, range.size})) {
      return std::unexpected(Error{ErrorCode::kOverlap, range.start});
    }
    result = add(Mapping{.virt = {range.start},
                         .phys = {range.start},
                         .size = range.size,
                         .access = Access::kReadWrite});
  }
  for (const WindowPiece& piece : hop.window) {
    if (!result) return result;
    result = add(Mapping{
        .virt = piece.virt, .phys = piece.phys, .size = piece.size, .access = Access::kReadOnly});
  }
  return result;
}

handoff::Array ArrayAt(uint32_t offset, size_t count) {
  return {.offset = offset, .count = static_cast<uint32_t>(count)};
}

void CopyBytes(std::byte* to, const void* from, size_t size) {
  if (size != 0) memcpy(to, from, size);
}

}  // namespace

std::expected<ControlAreaLayout, Error> LayOutControlArea(const Hop& hop,
                                                          std::span<const std::byte> blob) {
  const auto geometry = PageGeometry::Make(hop.granule_shift, hop.va_bits);
  if (!geometry) return std::unexpected(geometry.error());
  relocator::BlobHeader header;
  if (blob.size() < sizeof(header)) return std::unexpected(InvalidArgument(blob.size()));
  memcpy(&header, blob.data(), sizeof(header));
  if (header.magic != relocator::kBlobMagic || header.version != relocator::kBlobVersion ||
      header.size != blob.size() || blob.size() >= relocator::kBlobLimit) {
    return std::unexpected(InvalidArgument(header.magic));
  }
  const auto handoff = LayOutHandoff(hop);
  if (!handoff) return std::unexpected(handoff.error());

  const uint64_t granule = geometry->granule_size();
  ControlAreaLayout layout;
  layout.stack = AlignUp(blob.size(), granule);
  layout.handoff = layout.stack + AlignUp(relocator::kMinStackSize, granule);
  layout.tables = layout.handoff + AlignUp(handoff->size, granule);
  layout.size = layout.tables;
  if (!hop.mmu) return layout;

  // The area's own address is not known yet. It lies in one run, whose three mappings take at most
  // one table per level each; everything else is counted as it is.
  arm64::PageTableSizer sizer(*geometry);
  for (const handoff::Range& range : hop.arena) {
    const auto added =
        sizer.Add({.virt = {range.start}, .phys = {range.start}, .size = range.size});
    if (!added) return std::unexpected(added.error());
  }
  for (const WindowPiece& piece : hop.window) {
    const auto added = sizer.Add({.virt = piece.virt, .phys = piece.phys, .size = piece.size});
    if (!added) return std::unexpected(added.error());
  }
  constexpr uint64_t kTablesOfArea =
      uint64_t{2} * PageGeometry::kLastLevel;  // a run can straddle two
  layout.table_bytes = (sizer.pages() + kTablesOfArea) * granule;
  layout.size = layout.tables + layout.table_bytes;
  return layout;
}

std::expected<ControlAreaLayout, Error> BuildControlArea(const Hop& hop,
                                                         std::span<const std::byte> blob,
                                                         PhysAddr base,
                                                         std::span<std::byte> memory) {
  auto layout = LayOutControlArea(hop, blob);
  if (!layout) return layout;
  const auto geometry = PageGeometry::Make(hop.granule_shift, hop.va_bits);
  if (memory.size() < layout->size) {
    return std::unexpected(Error{ErrorCode::kOutOfMemory, memory.size()});
  }
  if (!IsAligned(base.value, geometry->granule_size())) {
    return std::unexpected(Error{ErrorCode::kNotAligned, base.value});
  }
  memset(memory.data(), 0, layout->size);

  relocator::BlobHeader blob_header;
  memcpy(memory.data(), blob.data(), blob.size());
  memcpy(&blob_header, blob.data(), sizeof(blob_header));
  blob_header.parameters = {.last_words = hop.last_words,
                            .handoff_offset = layout->handoff,
                            .stack_offset = layout->stack,
                            // Of a larger granule no more: its lines are gone through twice.
                            .stack_size = relocator::kMinStackSize};
  blob_header.parameters.last_words.check = LastWordsCheck(hop.last_words);
  memcpy(memory.data(), &blob_header, sizeof(blob_header));

  handoff::Header header = {};
  if (hop.mmu) {
    const std::span<uint64_t> words(reinterpret_cast<uint64_t*>(memory.data() + layout->tables),
                                    layout->table_bytes / sizeof(uint64_t));
    auto builder = arm64::PageTableBuilder::Make(*geometry, words, base + layout->tables);
    if (!builder) return std::unexpected(builder.error());
    const auto mapped = ForEachMapping(
        hop, *layout, base, [&](const Mapping& mapping) { return builder->Map(mapping); });
    if (!mapped) return std::unexpected(mapped.error());
    layout->table_bytes = builder->pages_used() * geometry->granule_size();
    layout->size = layout->tables + layout->table_bytes;
    header.translation = {
        .tables = {(base + layout->tables).value, layout->table_bytes},
        .root = builder->root().value,
        .granule_shift = hop.granule_shift,
        .va_bits = hop.va_bits,
        .tables_crc32c = digest::Crc32c(memory.subspan(layout->tables, layout->table_bytes),
                                        digest::DigestFeatures::Scalar()),
        .pa_bits = hop.pa_bits};
  }

  const auto at = LayOutHandoff(hop);
  std::byte* const block = memory.data() + layout->handoff;
  header.magic = handoff::kMagic;
  header.version_major = handoff::kVersionMajor;
  header.version_minor = handoff::kVersionMinor;
  header.header_size = sizeof(header);
  header.total_size = at->size;
  header.flags = hop.flags;
  header.self = (base + layout->handoff).value;
  header.control = {base.value, layout->size};
  header.entry = hop.entry.value;
  header.dtb = hop.dtb.value;
  header.dtb_size = hop.dtb_size;
  header.digest_kind = static_cast<uint32_t>(hop.digest_kind);
  header.arena = ArrayAt(at->arena, hop.arena.size());
  header.moves = ArrayAt(at->moves, hop.moves.size());
  header.verify = ArrayAt(at->verify, hop.verify.size());
  const uint32_t digest_size = handoff::DigestSize(hop.digest_kind);
  header.digests = ArrayAt(at->digests, digest_size == 0 ? 0 : hop.digests.size() / digest_size);
  header.stamp = hop.stamp.value;
  header.timeline_offset = hop.timeline_offset;
  header.cache_line_size = hop.cache_line_size;
  CopyBytes(block + at->arena, hop.arena.data(), hop.arena.size_bytes());
  CopyBytes(block + at->moves, hop.moves.data(), hop.moves.size_bytes());
  CopyBytes(block + at->verify, hop.verify.data(), hop.verify.size_bytes());
  CopyBytes(block + at->digests, hop.digests.data(), hop.digests.size());
  memcpy(block, &header, sizeof(header));

  // Checksums over the block as the relocator will see it, then its own checks.
  const handoff::View view(block);
  header.body_crc32c = handoff::BodyChecksum(view, digest::DigestFeatures::Scalar());
  memcpy(block, &header, sizeof(header));
  header.header_crc32c = handoff::HeaderChecksum(view.header(), digest::DigestFeatures::Scalar());
  memcpy(block, &header, sizeof(header));
  HopFailure failure = handoff::CheckHeader(view, base + layout->handoff, {base, blob.size()},
                                            {base + layout->stack, relocator::kMinStackSize},
                                            digest::DigestFeatures::Scalar());
  if (failure.ok()) failure = handoff::CheckBody(view, digest::DigestFeatures::Scalar());
  if (!failure.ok()) {
    return std::unexpected(InvalidArgument(static_cast<uint64_t>(failure.code)));
  }
  return layout;
}

}  // namespace khop::plan
