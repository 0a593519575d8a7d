// SPDX-License-Identifier: MIT
// Digests of what lies in the arena, taken by all CPUs: of a load while what follows is still being
// read, of what is loaded before it is started.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/base/addr.h"
#include "core/digest/features.h"
#include "core/handoff/handoff.h"
#include "tool/base/error.h"
#include "tool/load/arena.h"
#include "tool/load/progress.h"
#include "tool/system/system.h"

namespace khop::load {

class PieceDigester {
 public:
  // The digests of the 2 MiB pieces of `range`, one after the other.
  struct Ranged {
    PhysRange range;
    std::vector<std::byte> digests;
  };

  // With kNone nothing is done. `arena` outlives this; what is ready must not change any more.
  PieceDigester(system::System& system, const Arena& arena, handoff::DigestKind kind);
  // Stops; what was not taken yet is left.
  ~PieceDigester();
  PieceDigester(const PieceDigester&) = delete;
  PieceDigester& operator=(const PieceDigester&) = delete;

  // A range in the arena, of which nothing is there yet; all of the one before is there.
  void Begin(PhysRange range);
  // What belongs below `end` is there, of the range that was begun last.
  void Ready(PhysAddr end);
  // A range that is there.
  void Add(PhysRange range) {
    Begin(range);
    Ready(range.end());
  }
  // Waits for everything that was begun. This thread takes its share, and tells how far all are.
  std::vector<Ranged> Finish(const Progress& progress = {});

 private:
  struct Piece {
    PhysRange range;
    std::byte* digest = nullptr;  // goes there
  };

  void Work(bool until_stopped, const Progress& progress = {});
  size_t Waiting() const { return pieces_.size() - taken_; }  // pieces, until stop_
  std::optional<Piece> TakePiece();
  void PieceIsDone(const Progress& progress);
  void TakeSha256(const Progress& progress);
  void TakeCrc32c(const Progress& progress);

  const Arena& arena_;
  const handoff::DigestKind kind_;
  const digest::DigestFeatures features_;
  const unsigned helpers_;
  const size_t side_by_side_;  // pieces that a CPU goes through at once
  std::vector<Ranged> ranges_;
  PhysAddr ready_;  // of the last range

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Piece> pieces_;  // ready, in the order of their coming
  size_t taken_ = 0;           // of them
  size_t done_ = 0;            // of them
  bool finishing_ = false;     // no more pieces will come
  bool stop_ = false;          // nothing more is wanted of the helpers
  std::vector<std::jthread> threads_;
};

}  // namespace khop::load
