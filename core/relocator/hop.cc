// SPDX-License-Identifier: MIT
#include "core/relocator/hop.h"

#include <cstddef>
#include <cstring>

#include "core/arm64/instructions.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/handoff/handoff.h"
#include "core/relocator/cache.h"
#include "core/relocator/mmu.h"
#include "core/relocator/timeline.h"

namespace khop::relocator {
namespace {

using digest::DigestFeatures;
using handoff::DigestKind;
using handoff::TimelineSlot;

std::span<const std::byte> BytesAt(uint64_t address, uint64_t size) {
  return {reinterpret_cast<const std::byte*>(address), size};
}

// The smallest line of any CPU, as the loader saw it, or of this one: firmware may show EL0 a
// larger one than is there.
uint64_t CacheLine(const handoff::Header& header) {
  const uint64_t own = arm64::CtrEl0::FromRaw(arm64::ReadCtrEl0()).dcache_line_size();
  return own < header.cache_line_size ? own : header.cache_line_size;
}

// 64 bytes an iteration through registers: on every core pairs of loads and stores of a whole line
// without a call. Source and destination are aligned to kMoveAlignment.
void Copy(uint64_t destination, uint64_t source, uint64_t size) {
  auto* to = reinterpret_cast<uint64_t*>(destination);
  const auto* from = reinterpret_cast<const uint64_t*>(source);
  for (const uint64_t* const end = from + size / 8; from != end; from += 8, to += 8) {
    const uint64_t a = from[0], b = from[1], c = from[2], d = from[3];
    const uint64_t e = from[4], f = from[5], g = from[6], h = from[7];
    to[0] = a, to[1] = b, to[2] = c, to[3] = d;
    to[4] = e, to[5] = f, to[6] = g, to[7] = h;
  }
}

// MMU off: stores go past the caches, so that a line of the destination still in them would, when
// it is written back, overwrite what was moved. Invalidate first, never clean afterwards.
// MMU on: the moved bytes are in the caches; one pass takes them to the point of coherency, and out
// of the caches, which the next kernel will fill again anyway.
uint64_t RunMoves(const handoff::View& view, uint64_t line) {
  uint64_t bytes = 0;
  if (!view.mmu()) {
    for (const handoff::Move& move : view.moves()) {
      ForEachLine(move.destination, move.size, line, arm64::DcIvac);
    }
    if (!view.moves().empty()) arm64::DsbSy();
  }
  for (const handoff::Move& move : view.moves()) {
    Copy(move.destination, move.source, move.size);
    bytes += move.size;
  }
  if (view.mmu()) {
    for (const handoff::Move& move : view.moves()) {
      ForEachLine(move.destination, move.size, line, arm64::DcCivac);
    }
  }
  return bytes;
}

bool PieceMatches(DigestKind kind, DigestFeatures features, std::span<const std::byte> piece,
                  const std::byte* expected) {
  if (kind == DigestKind::kSha256) {
    const digest::Sha256Digest digest = digest::Sha256Of(piece, features);
    return memcmp(digest.data(), expected, digest.size()) == 0;
  }
  const uint32_t sum = digest::Crc32c(piece, features);
  return memcmp(&sum, expected, sizeof(sum)) == 0;
}

HopFailure Verify(const handoff::View& view, DigestFeatures features, uint64_t* bytes) {
  for (const handoff::VerifyRange& range : view.verify()) {
    uint64_t index = range.first_digest;
    for (uint64_t offset = 0; offset < range.size; offset += handoff::kPieceSize, ++index) {
      const uint64_t left = range.size - offset;
      const uint64_t size = left < handoff::kPieceSize ? left : handoff::kPieceSize;
      const uint64_t address = range.start + offset;
      if (!PieceMatches(view.digest_kind(), features, BytesAt(address, size), view.digest(index))) {
        return {FailureCode::kDigest, address};
      }
      *bytes += size;
    }
  }
  return {};
}

// The last defence when nothing was verified: an arena that was lost holds neither magic.
HopFailure CheckMagics(const handoff::Header& header) {
  constexpr uint32_t kImageMagic = 0x644d5241;  // "ARM\x64" at byte 56, booting.rst
  constexpr uint32_t kDtbMagic = 0xedfe0dd0;    // 0xd00dfeed, big-endian
  uint32_t word = 0;
  if ((header.flags & handoff::kLinuxImage) != 0) {
    memcpy(&word, BytesAt(header.entry + 56, 4).data(), 4);
    if (word != kImageMagic) return {FailureCode::kNotAKernel, header.entry};
  }
  memcpy(&word, BytesAt(header.dtb, 4).data(), 4);
  if (word != kDtbMagic) return {FailureCode::kNotADeviceTree, header.dtb};
  return {};
}

// The timeline's last act: from here on nothing of the hop is recorded.
void WriteTimeline(const handoff::View& view, uint64_t line, Timeline& timeline) {
  const handoff::Header& header = view.header();
  if (header.timeline_offset == 0) return;
  const uint64_t property = header.dtb + header.timeline_offset;
  // As for the moves; but these lines hold other bytes of the tree too, so clean and invalidate.
  if (!view.mmu()) {
    ForEachLine(property, handoff::kTimelineSize, line, arm64::DcCivac);
    arm64::DsbSy();
  }
  timeline.Set(TimelineSlot::kJump, arm64::ReadCntvct());
  timeline.Write(property);
  if (view.mmu()) ForEachLine(property, handoff::kTimelineSize, line, arm64::DcCivac);
}

uint64_t LevelWord(arm64::Regime regime) {
  switch (regime) {
    case arm64::Regime::kEl1:
      return 1;
    case arm64::Regime::kEl2Host:
      return 2 | 1U << 8;
    case arm64::Regime::kEl2:
      break;
  }
  return 2;
}

}  // namespace

template <arm64::Regime kRegime>
HopFailure RunHop(const Placement& placement, uint64_t entry_ticks, Jump* jump) {
  const auto isar0 = arm64::IdAa64Isar0El1::FromRaw(arm64::ReadIdAa64isar0El1());
  // The hand-off itself is always checked the fastest way; its flag is about the payload.
  const DigestFeatures cpu = DigestFeatures::FromIsar0(isar0);

  // A header is aligned to 8 bytes: with the MMU off an unaligned access would fault.
  if (!IsAligned(placement.handoff.value, 8)) {
    return {FailureCode::kSelfAddress, placement.handoff.value};
  }
  const handoff::View view(reinterpret_cast<const std::byte*>(placement.handoff.value));
  const handoff::Header& header = view.header();
  HopFailure failure =
      handoff::CheckHeader(view, placement.handoff, placement.blob, placement.stack, cpu);
  if (!failure.ok()) return failure;

  const bool scalar = (header.flags & handoff::kForceScalarDigest) != 0;
  const DigestFeatures features = scalar ? DigestFeatures::Scalar() : cpu;
  const bool sha = view.digest_kind() == DigestKind::kSha256;
  if (sha && features.sha2) AllowFp<kRegime>();

  const handoff::Translation& translation = header.translation;
  if (view.mmu()) {
    failure = CheckCpu(translation);
    if (!failure.ok()) return failure;
    const uint32_t sum =
        digest::Crc32c(BytesAt(translation.tables.start, translation.tables.size), cpu);
    if (sum != translation.tables_crc32c) return {FailureCode::kTablesChecksum, sum};
    TurnMmuOn<kRegime>(translation);
  }
  Timeline timeline;
  timeline.Set(TimelineSlot::kSctlr, arm64::ReadSctlr<kRegime>());
  timeline.Set(TimelineSlot::kMmuOn, arm64::ReadCntvct());

  // The rest of the hand-off may be large; it is read with the caches on, before the first store.
  failure = handoff::CheckBody(view, cpu);
  if (!failure.ok()) return failure;

  timeline.Set(TimelineSlot::kVersion, handoff::kTimelineVersion);
  timeline.Set(TimelineSlot::kFrequency, arm64::ReadCntfrqEl0());
  timeline.Set(TimelineSlot::kEntry, entry_ticks);
  timeline.Set(TimelineSlot::kExceptionLevel, LevelWord(kRegime));
  // Before the moves, which may overwrite it.
  if (header.stamp != 0) {
    timeline.Set(TimelineSlot::kReboot, *reinterpret_cast<const uint64_t*>(header.stamp));
  }

  const uint64_t line = CacheLine(header);
  timeline.Set(TimelineSlot::kBytesMoved, RunMoves(view, line));
  timeline.Set(TimelineSlot::kMoved, arm64::ReadCntvct());

  uint64_t verified = 0;
  failure = Verify(view, features, &verified);
  if (!failure.ok()) return failure;
  failure = CheckMagics(header);
  if (!failure.ok()) return failure;
  const bool by_cpu = sha ? features.sha2 : features.crc32;
  timeline.Set(TimelineSlot::kBytesVerified, verified);
  timeline.Set(TimelineSlot::kDigest,
               header.digest_kind | (by_cpu && verified != 0 ? uint64_t{1} << 8 : 0));
  timeline.Set(TimelineSlot::kVerified, arm64::ReadCntvct());

  WriteTimeline(view, line, timeline);
  arm64::DsbSy();  // all of the above is at the point of coherency before instructions are fetched
  arm64::IcIallu();  // KhopJump has the barriers that complete it
  *jump = {.entry = header.entry,
           .dtb = header.dtb,
           .sctlr = arm64::SctlrMmuOff(kRegime, HostOfGuests<kRegime>())};
  return {};
}

template HopFailure RunHop<arm64::Regime::kEl1>(const Placement&, uint64_t, Jump*);
template HopFailure RunHop<arm64::Regime::kEl2>(const Placement&, uint64_t, Jump*);
template HopFailure RunHop<arm64::Regime::kEl2Host>(const Placement&, uint64_t, Jump*);

}  // namespace khop::relocator
