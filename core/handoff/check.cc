// SPDX-License-Identifier: MIT
#include "core/handoff/check.h"

#include "core/digest/crc32c.h"

namespace khop::handoff {
namespace {

constexpr PhysRange ToRange(Range r) { return {PhysAddr{r.start}, r.size}; }

// Whether `array`, of elements of `element_size` bytes at least 4-byte aligned, lies in the body.
bool InBody(const Header& header, Array array, uint64_t element_size, uint64_t alignment) {
  if (array.count == 0) return true;
  const uint64_t end = array.offset + array.count * element_size;  // no overflow: 32-bit factors
  return array.offset >= header.header_size && IsAligned(array.offset, alignment) &&
         end <= header.total_size;
}

// Whether [start, start + size) lies within one range of the sorted, disjoint `arena`.
bool InArena(std::span<const Range> arena, uint64_t start, uint64_t size) {
  size_t low = 0;
  size_t high = arena.size();
  while (low < high) {  // the last range that starts at or below `start`
    const size_t middle = low + (high - low) / 2;
    if (arena[middle].start <= start) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const PhysRange wanted = {PhysAddr{start}, size};
  return low > 0 && wanted.valid() && ToRange(arena[low - 1]).Contains(wanted);
}

HopFailure CheckArena(const View& view) {
  uint64_t previous_end = 0;
  for (const Range& range : view.arena()) {
    if (range.size == 0 || range.start < previous_end || !ToRange(range).valid()) {
      return {FailureCode::kArena, range.start};
    }
    previous_end = range.start + range.size;
  }
  return {};
}

HopFailure CheckMoves(const View& view) {
  const PhysRange control = ToRange(view.header().control);
  for (const Move& move : view.moves()) {
    if (move.size == 0 || !IsAligned(move.source | move.destination | move.size, kMoveAlignment) ||
        move.source + move.size < move.source) {
      return {FailureCode::kMove, move.destination};
    }
    if (!InArena(view.arena(), move.destination, move.size)) {
      return {FailureCode::kMoveOutside, move.destination};
    }
    if (control.Overlaps({PhysAddr{move.destination}, move.size})) {
      return {FailureCode::kMoveOntoControl, move.destination};
    }
  }
  return {};
}

HopFailure CheckVerify(const View& view) {
  if (view.digest_kind() == DigestKind::kNone && !view.verify().empty()) {
    return {FailureCode::kVerifyRange, view.verify()[0].start};
  }
  for (const VerifyRange& range : view.verify()) {
    const uint64_t pieces = range.size / kPieceSize + (range.size % kPieceSize != 0 ? 1 : 0);
    if (range.size == 0 || !InArena(view.arena(), range.start, range.size) ||
        range.first_digest > view.header().digests.count ||
        pieces > view.header().digests.count - range.first_digest) {
      return {FailureCode::kVerifyRange, range.start};
    }
  }
  return {};
}

// What booting.rst and this contract ask of the places that are entered or written.
HopFailure CheckTargets(const View& view) {
  const Header& header = view.header();
  if (!IsAligned(header.entry, 4) || !InArena(view.arena(), header.entry, 64)) {
    return {FailureCode::kEntry, header.entry};
  }
  const bool none = (header.flags & kPlainEntry) != 0 && header.dtb == 0 && header.dtb_size == 0 &&
                    header.timeline_offset == 0;
  if (none) {
    // Nothing is read or written there.
  } else if (header.dtb == 0 || !IsAligned(header.dtb, 8) ||
             !InArena(view.arena(), header.dtb, header.dtb_size) || header.dtb_size < 40) {
    return {FailureCode::kDeviceTree, header.dtb};
  }
  const bool early = (header.flags & kVerifyEarly) != 0;
  if (early && (header.stamp == 0 || view.digest_kind() != DigestKind::kSha256)) {
    return {FailureCode::kFlags, header.flags};
  }
  if (header.stamp != 0 &&
      (!IsAligned(header.stamp, 8) || !InArena(view.arena(), header.stamp, early ? 16 : 8))) {
    return {FailureCode::kStamp, header.stamp};
  }
  if (header.timeline_offset != 0 &&
      (!IsAligned(header.timeline_offset, 4) || header.dtb_size < kTimelineSize ||
       header.timeline_offset > header.dtb_size - kTimelineSize)) {
    return {FailureCode::kTimeline, header.timeline_offset};
  }
  return {};
}

HopFailure CheckTranslation(const Header& header) {
  const Translation& t = header.translation;
  if (t.granule_shift == 0) {
    return t.root == 0 && t.tables.size == 0 ? HopFailure{}
                                             : HopFailure{FailureCode::kTables, t.root};
  }
  if (t.granule_shift != 12 && t.granule_shift != 14 && t.granule_shift != 16) {
    return {FailureCode::kGranule, t.granule_shift};
  }
  if (t.va_bits < 32 || t.va_bits > 48 || t.pa_bits < 32 || t.pa_bits > 48) {
    return {FailureCode::kAddressSize, t.va_bits};
  }
  const PhysRange tables = ToRange(t.tables);
  if (!tables.valid() || !ToRange(header.control).Contains(tables) ||
      !IsAligned(tables.start.value | tables.size | t.root, uint64_t{1} << t.granule_shift) ||
      !tables.Contains(PhysAddr{t.root})) {
    return {FailureCode::kTables, t.root};
  }
  return {};
}

}  // namespace

uint32_t HeaderChecksum(const Header& header, digest::DigestFeatures features) {
  // Field by field around header_crc32c: no copy of the header, whose size is the writer's.
  const auto* bytes = reinterpret_cast<const std::byte*>(&header);
  constexpr size_t kField = offsetof(Header, header_crc32c);
  constexpr std::byte kZero[sizeof(Header::header_crc32c)] = {};
  const uint32_t before = digest::Crc32c({bytes, kField}, features);
  const uint32_t with_field = digest::Crc32c(kZero, features, before);
  const size_t rest = kField + sizeof(kZero);
  return digest::Crc32c({bytes + rest, header.header_size - rest}, features, with_field);
}

uint32_t BodyChecksum(const View& view, digest::DigestFeatures features) {
  const Header& header = view.header();
  return digest::Crc32c({view.bytes() + header.header_size, header.total_size - header.header_size},
                        features);
}

HopFailure CheckHeader(const View& view, PhysAddr self, PhysRange blob, PhysRange stack,
                       digest::DigestFeatures features) {
  const Header& header = view.header();
  if (header.magic != kMagic) return {FailureCode::kMagic, header.magic};
  if (header.version_major != kVersionMajor) return {FailureCode::kVersion, header.version_major};
  if (header.header_size < sizeof(Header) || header.header_size > 4096 ||
      !IsAligned(header.header_size, 8)) {
    return {FailureCode::kHeaderSize, header.header_size};
  }
  if (const uint32_t sum = HeaderChecksum(header, features); sum != header.header_crc32c) {
    return {FailureCode::kHeaderChecksum, sum};
  }
  if (header.total_size < header.header_size) return {FailureCode::kTotalSize, header.total_size};
  if (header.self != self.value) return {FailureCode::kSelfAddress, header.self};
  const PhysRange control = ToRange(header.control);
  if (!control.valid() || !control.Contains(PhysRange{self, header.total_size}) ||
      !control.Contains(blob) || !control.Contains(stack)) {
    return {FailureCode::kControlRange, header.control.start};
  }
  if ((header.flags & ~kKnownFlags) != 0) return {FailureCode::kFlags, header.flags};
  if (view.digest_kind() != DigestKind::kNone && DigestSize(view.digest_kind()) == 0) {
    return {FailureCode::kDigestKind, header.digest_kind};
  }
  if (!IsPowerOfTwo(header.cache_line_size) || header.cache_line_size < 16 ||
      header.cache_line_size > 2048) {
    return {FailureCode::kCacheLine, header.cache_line_size};
  }
  return CheckTranslation(header);
}

HopFailure CheckBody(const View& view, digest::DigestFeatures features) {
  const Header& header = view.header();
  if (const uint32_t sum = BodyChecksum(view, features); sum != header.body_crc32c) {
    return {FailureCode::kBodyChecksum, sum};
  }
  if (!InBody(header, header.arena, sizeof(Range), 8)) {
    return {FailureCode::kArrays, header.arena.offset};
  }
  if (!InBody(header, header.moves, sizeof(Move), 8)) {
    return {FailureCode::kArrays, header.moves.offset};
  }
  if (!InBody(header, header.verify, sizeof(VerifyRange), 8)) {
    return {FailureCode::kArrays, header.verify.offset};
  }
  if (!InBody(header, header.digests, DigestSize(view.digest_kind()), 4)) {
    return {FailureCode::kArrays, header.digests.offset};
  }
  // Spelled out: a list of functions would be a table of pointers, which the blob cannot have.
  HopFailure failure = CheckArena(view);
  if (failure.ok()) failure = CheckMoves(view);
  if (failure.ok()) failure = CheckVerify(view);
  if (failure.ok()) failure = CheckTargets(view);
  return failure;
}

}  // namespace khop::handoff
