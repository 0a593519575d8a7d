// SPDX-License-Identifier: MIT
#include "tool/load/piece_digester.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"

namespace khop::load {
namespace {

constexpr unsigned kMaxHelpers = 63;

}  // namespace

PieceDigester::PieceDigester(system::System& system, const Arena& arena, handoff::DigestKind kind)
    : arena_(arena),
      kind_(kind),
      features_(digest::DigestFeatures::FromHwcap(system.Hwcap())),
      helpers_(std::min(system.CpuCount() - 1, kMaxHelpers)) {}

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
  // One more helper for each piece that comes, until there are enough. Without any (no memory for
  // its stack) the rest is done by those that there are, and by Finish().
  while (threads_.size() < helpers_ && threads_.size() < pieces_.size()) {
    try {
      threads_.emplace_back([this] { Work(/*until_stopped=*/true); });
    } catch (const std::system_error&) {
      break;
    }
  }
  changed_.notify_all();
}

Result<void> PieceDigester::Digest(const Piece& piece) const {
  digest::Sha256 sha256(features_);
  uint32_t crc32c = 0;
  const auto used = arena_.ForEach(piece.range, [&](std::span<std::byte> bytes) -> Result<void> {
    if (kind_ == handoff::DigestKind::kSha256) {
      sha256.Update(bytes);
    } else {
      crc32c = digest::Crc32c(bytes, features_, crc32c);
    }
    return {};
  });
  if (!used) return used;
  if (kind_ == handoff::DigestKind::kSha256) {
    const digest::Sha256Digest value = sha256.Finish();
    memcpy(piece.digest, value.data(), value.size());
  } else {
    memcpy(piece.digest, &crc32c, sizeof(crc32c));
  }
  return {};
}

void PieceDigester::Work(bool until_stopped, const Progress& progress) {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (taken_ < pieces_.size()) {
      const Piece piece = pieces_[taken_++];
      lock.unlock();
      const auto digested = Digest(piece);
      lock.lock();
      if (!digested && !failure_) failure_ = digested.error();
      ++done_;
      progress("digesting", done_ * handoff::kPieceSize, pieces_.size() * handoff::kPieceSize);
      if (done_ == pieces_.size()) changed_.notify_all();
    }
    if (!until_stopped || stop_) return;
    changed_.wait(lock, [&] { return stop_ || taken_ < pieces_.size(); });
  }
}

Result<std::vector<PieceDigester::Ranged>> PieceDigester::Finish(const Progress& progress) {
  if (!ranges_.empty()) Ready(ranges_.back().range.end());
  Work(/*until_stopped=*/false, progress);
  if (!threads_.empty()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ == pieces_.size(); });
  }
  progress("digesting", 1, 1);
  if (failure_) return std::unexpected(*failure_);
  return std::move(ranges_);
}

}  // namespace khop::load
