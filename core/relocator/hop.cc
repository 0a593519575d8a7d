// SPDX-License-Identifier: MIT
#include "core/relocator/hop.h"

#include <cstddef>
#include <cstring>

#include "core/arm64/instructions.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/digest/sha256_pieces.h"
#include "core/handoff/check.h"
#include "core/handoff/handoff.h"
#include "core/relocator/cache.h"
#include "core/relocator/copy.h"
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

// Whether the moves go through the V registers, for half of the loop's instructions: wherever there
// are any.
bool MovesUseVectors(const handoff::View& view) {
  const auto pfr0 = arm64::IdAa64Pfr0El1::FromRaw(arm64::ReadIdAa64pfr0El1());
  return !view.moves().empty() && pfr0.has_adv_simd();
}

uint64_t Move(const handoff::View& view, uint64_t line) {
  const auto dczid = arm64::DczidEl0::FromRaw(arm64::ReadDczidEl0());
  const CacheSizes sizes = {.line = line, .zero_block = dczid.zero_block_size()};
  if (MovesUseVectors(view)) return RunMoves<VectorRegisters>(view.moves(), view.mmu(), sizes);
  return RunMoves<GeneralRegisters>(view.moves(), view.mmu(), sizes);
}

// The pieces to verify, one after the other.
class Pieces {
 public:
  struct Piece {
    std::span<const std::byte> bytes;  // none: that was the last one
    uint64_t digest = 0;               // its index
  };

  explicit Pieces(const handoff::View& view) : ranges_(view.verify()) {}

  Piece Next() {
    while (!ranges_.empty()) {
      const handoff::VerifyRange& range = ranges_.front();
      const uint64_t left = range.size - offset_;
      if (left != 0) {
        const uint64_t size = left < handoff::kPieceSize ? left : handoff::kPieceSize;
        const uint64_t index = range.first_digest + offset_ / handoff::kPieceSize;
        const uint64_t address = range.start + offset_;
        offset_ += size;
        bytes_ += size;
        return {BytesAt(address, size), index};
      }
      ranges_ = ranges_.subspan(1);
      offset_ = 0;
    }
    return {};
  }
  uint64_t bytes() const { return bytes_; }  // of all that Next() has given

 private:
  std::span<const handoff::VerifyRange> ranges_;
  uint64_t offset_ = 0;
  uint64_t bytes_ = 0;
};

HopFailure VerifySha256(const handoff::View& view, DigestFeatures features, Pieces& pieces) {
  // What a digest is of: found again from its index only where it does not match.
  uint64_t wrong = 0;
  const bool right = digest::Sha256OfEach(
      features,
      [&]() -> digest::Sha256Message {
        const Pieces::Piece piece = pieces.Next();
        return {piece.bytes, piece.digest, !piece.bytes.empty()};
      },
      [&](uint64_t index, const digest::Sha256Digest& digest) {
        wrong = index;
        return memcmp(digest.data(), view.digest(index), digest.size()) == 0;
      });
  if (right) return {};
  Pieces again(view);
  for (;;) {
    const Pieces::Piece piece = again.Next();
    if (piece.digest != wrong && !piece.bytes.empty()) continue;
    return {FailureCode::kDigest, reinterpret_cast<uint64_t>(piece.bytes.data())};
  }
}

HopFailure VerifyCrc32c(const handoff::View& view, DigestFeatures features, Pieces& pieces) {
  for (;;) {
    const Pieces::Piece piece = pieces.Next();
    if (piece.bytes.empty()) return {};
    const uint32_t sum = digest::Crc32c(piece.bytes, features);
    if (memcmp(&sum, view.digest(piece.digest), sizeof(sum)) != 0) {
      return {FailureCode::kDigest, reinterpret_cast<uint64_t>(piece.bytes.data())};
    }
  }
}

HopFailure Verify(const handoff::View& view, DigestFeatures features, uint64_t* bytes) {
  Pieces pieces(view);
  const HopFailure failure = view.digest_kind() == DigestKind::kSha256
                                 ? VerifySha256(view, features, pieces)
                                 : VerifyCrc32c(view, features, pieces);
  *bytes = pieces.bytes();
  return failure;
}

// Whether khop has verified the payload just before it called reboot(2).
bool VerifiedEarly(const handoff::Header& header, uint64_t entry_ticks) {
  if ((header.flags & handoff::kVerifyEarly) == 0) return false;
  const auto* const words = reinterpret_cast<const uint64_t*>(header.stamp);
  const uint64_t stamp = words[0];
  return stamp != 0 && words[1] == handoff::EarlyWord(stamp) && entry_ticks >= stamp &&
         entry_ticks - stamp < handoff::kEarlySeconds * arm64::ReadCntfrqEl0();
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
  if (header.dtb == 0) return {};  // CheckTargets: a plain entry
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
    ForEachLine<arm64::DcCivac>(property, handoff::kTimelineSize, line);
    arm64::DsbSy();
  }
  timeline.Set(TimelineSlot::kJump, arm64::ReadCntvct());
  timeline.Write(property);
  if (view.mmu()) ForEachLine<arm64::DcCivac>(property, handoff::kTimelineSize, line);
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
  const auto pfr0 = arm64::IdAa64Pfr0El1::FromRaw(arm64::ReadIdAa64pfr0El1());
  const DigestFeatures cpu = DigestFeatures::FromRegisters(isar0, pfr0);

  // A header is aligned to 8 bytes: with the MMU off an unaligned access would fault.
  if (!IsAligned(placement.handoff.value, 8)) {
    return {FailureCode::kSelfAddress, placement.handoff.value};
  }
  const handoff::View view(reinterpret_cast<const std::byte*>(placement.handoff.value));
  const handoff::Header& header = view.header();
  HopFailure failure =
      handoff::CheckHeader(view, placement.handoff, placement.blob, placement.stack, cpu);
  if (!failure.ok()) return failure;

  DigestFeatures features = cpu;
  if ((header.flags & handoff::kNoDigestInstructions) != 0) {
    features = features.WithoutInstructions();
  }
  if ((header.flags & handoff::kForceScalarDigest) != 0) features = DigestFeatures::Scalar();
  const bool sha = view.digest_kind() == DigestKind::kSha256;

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

  const bool early = VerifiedEarly(header, entry_ticks);

  // For the moves, the digests, or both.
  if ((sha && (features.sha2 || features.simd)) || MovesUseVectors(view)) AllowFp<kRegime>();
  const uint64_t line = CacheLine(header);
  timeline.Set(TimelineSlot::kBytesMoved, Move(view, line));
  timeline.Set(TimelineSlot::kMoved, arm64::ReadCntvct());

  uint64_t verified = 0;
  if (!early) failure = Verify(view, features, &verified);
  if (!failure.ok()) return failure;
  failure = CheckMagics(header);
  if (!failure.ok()) return failure;
  const bool by_cpu = sha ? features.sha2 : features.crc32;
  timeline.Set(TimelineSlot::kBytesVerified, verified);
  timeline.Set(TimelineSlot::kDigest, header.digest_kind |
                                          (by_cpu && verified != 0 ? uint64_t{1} << 8 : 0) |
                                          (early ? uint64_t{1} << 9 : 0));
  timeline.Set(TimelineSlot::kVerified, arm64::ReadCntvct());

  WriteTimeline(view, line, timeline);
  arm64::DsbSy();  // all of the above is at the point of coherency before instructions are fetched
  arm64::IcIallu();  // KhopJump has the barriers that complete it
  *jump = {.entry = header.entry,
           .dtb = (header.flags & handoff::kPlainEntry) != 0 ? 0 : header.dtb,
           .sctlr = arm64::SctlrMmuOff(kRegime, HostOfGuests<kRegime>())};
  return {};
}

template HopFailure RunHop<arm64::Regime::kEl1>(const Placement&, uint64_t, Jump*);
template HopFailure RunHop<arm64::Regime::kEl2>(const Placement&, uint64_t, Jump*);
template HopFailure RunHop<arm64::Regime::kEl2Host>(const Placement&, uint64_t, Jump*);

}  // namespace khop::relocator
