// SPDX-License-Identifier: MIT
#include "tool/load/piece_digester.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>

#include "core/digest/crc32c.h"
#include "core/digest/sha256_pieces.h"

namespace khop::load {
namespace {

constexpr unsigned kMaxHelpers = 63;

std::vector<std::span<const std::byte>> ChunksOf(const Arena& arena, PhysRange range) {
  std::vector<std::span<const std::byte>> chunks;
  (void)arena.ForEach(range, [&](std::span<std::byte> bytes) -> Result<void> {
    chunks.emplace_back(bytes);
    return {};
  });
  return chunks;
}

}  // namespace

PieceDigester::PieceDigester(system::System& system, const Arena& arena, handoff::DigestKind kind)
    : arena_(arena),
      kind_(kind),
      features_(digest::DigestFeatures::FromHwcap(system.Hwcap())),
      helpers_(std::min(system.CpuCount() - 1, kMaxHelpers)),
      side_by_side_(kind == handoff::DigestKind::kSha256 ? digest::Sha256Lanes(features_) : 1) {}

PieceDigester::~PieceDigester() {
  if (threads_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    taken_ = pieces_.size();
  }
  changed_.notify_all();
}

void PieceDigester::Begin(PhysRange range) {
  if (kind_ == handoff::DigestKind::kNone || range.empty()) return;
  const uint64_t pieces = (range.size + handoff::kPieceSize - 1) / handoff::kPieceSize;
  ranges_.push_back({range, std::vector<std::byte>(pieces * handoff::DigestSize(kind_))});
  ready_ = range.start;
}

void PieceDigester::Ready(PhysAddr end) {
  if (ranges_.empty()) return;
  Ranged& last = ranges_.back();
  std::vector<Piece> fresh;
  while (ready_ < last.range.end()) {
    const uint64_t size = std::min(last.range.end() - ready_, handoff::kPieceSize);
    if (end < ready_ + size) break;
    const uint64_t index = (ready_ - last.range.start) / handoff::kPieceSize;
    fresh.push_back({{ready_, size}, last.digests.data() + index * handoff::DigestSize(kind_)});
    ready_ = ready_ + size;
  }
  if (fresh.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    pieces_.insert(pieces_.end(), fresh.begin(), fresh.end());
  }
  // One more helper for all that one goes through at once, until there are enough. Without any (no
  // memory for its stack) the rest is done by those that there are, and by Finish().
  while (threads_.size() < helpers_ && (threads_.size() + 1) * side_by_side_ <= pieces_.size()) {
    try {
      threads_.emplace_back([this] { Work(/*until_stopped=*/true); });
    } catch (const std::system_error&) {
      break;
    }
  }
  changed_.notify_all();
}

std::optional<PieceDigester::Piece> PieceDigester::TakePiece() {
  const std::lock_guard lock(mutex_);
  if (Waiting() == 0) return std::nullopt;
  return pieces_[taken_++];
}

void PieceDigester::PieceIsDone(const Progress& progress) {
  const std::lock_guard lock(mutex_);
  ++done_;
  progress("digesting", done_ * handoff::kPieceSize, pieces_.size() * handoff::kPieceSize);
  if (done_ == pieces_.size()) changed_.notify_all();
}

// All that waits, as many side by side as the CPU likes.
void PieceDigester::TakeSha256(const Progress& progress) {
  struct UnderWay {
    std::byte* digest = nullptr;
    std::vector<std::span<const std::byte>> chunks;  // where the arena has them
    size_t next = 0;
  };
  std::array<UnderWay, digest::kMaxSha256Lanes> under_way;
  digest::Sha256OfEach(
      features_,
      [&]() -> digest::Sha256Message {
        const std::optional<Piece> piece = TakePiece();
        if (!piece) return {};
        const auto free = std::ranges::find(under_way, nullptr, &UnderWay::digest);
        *free = {.digest = piece->digest, .chunks = ChunksOf(arena_, piece->range), .next = 1};
        return {free->chunks[0], static_cast<uint64_t>(free - under_way.begin()), true};
      },
      [&](uint64_t tag, const digest::Sha256Digest& digest) {
        memcpy(under_way[tag].digest, digest.data(), digest.size());
        under_way[tag].digest = nullptr;
        PieceIsDone(progress);
        return true;
      },
      [&](uint64_t tag) -> std::span<const std::byte> {
        UnderWay& piece = under_way[tag];
        if (piece.next == piece.chunks.size()) return {};
        return piece.chunks[piece.next++];
      });
}

void PieceDigester::TakeCrc32c(const Progress& progress) {
  while (const std::optional<Piece> piece = TakePiece()) {
    uint32_t crc32c = 0;
    for (const auto chunk : ChunksOf(arena_, piece->range)) {
      crc32c = digest::Crc32c(chunk, features_, crc32c);
    }
    memcpy(piece->digest, &crc32c, sizeof(crc32c));
    PieceIsDone(progress);
  }
}

void PieceDigester::Work(bool until_stopped, const Progress& progress) {
  for (;;) {
    if (kind_ == handoff::DigestKind::kSha256) {
      TakeSha256(progress);
    } else {
      TakeCrc32c(progress);
    }
    if (!until_stopped) return;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_ || Waiting() >= (finishing_ ? 1 : side_by_side_); });
    if (stop_) return;
  }
}

std::vector<PieceDigester::Ranged> PieceDigester::Finish(const Progress& progress) {
  if (!ranges_.empty()) Ready(ranges_.back().range.end());
  {
    const std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  changed_.notify_all();
  Work(/*until_stopped=*/false, progress);
  if (!threads_.empty()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ == pieces_.size(); });
  }
  progress("digesting", 1, 1);
  return std::move(ranges_);
}

}  // namespace khop::load
