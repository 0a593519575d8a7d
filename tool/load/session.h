// SPDX-License-Identifier: MIT
// One khop at work: the lock, the state, and the repair of what a khop that died has left.
#pragma once

#include <functional>

#include "tool/base/error.h"
#include "tool/load/control.h"
#include "tool/load/state.h"
#include "tool/system/page_flags.h"
#include "tool/system/system.h"

namespace khop::load {

class Session {
 public:
  // Takes the lock and reads the state; repairs nothing. Errors: as StateStore's.
  static Result<Session> Open(system::System& system);

  // Undoes or finishes what a khop that died has begun, and removes arenas that nothing names.
  // Afterwards there is no pending change.
  Result<void> Recover();

  // The slot that is not in use. After Recover().
  int FreeSlot() const { return state_.current ? 1 - state_.current->arena.slot : 0; }

  const State& state() const { return state_; }
  StateStore& store() { return store_; }

  // Writes that a load into `slot` is under way.
  Result<void> BeginBuild(int slot, const PoolRecords& pools);
  // Makes compaction leave locked pages alone until no arena needs that any more. A load is under
  // way.
  Result<void> HoldCompaction();
  // Forgets it.
  Result<void> CancelBuild();
  // Loads `control` and makes `loaded` the current one; the arena before it is given back, unless
  // it is the same. `old`: whether what the kernel has stays until it has the new image.
  enum class Old : uint8_t { kStays, kGoesFirst };
  Result<void> Commit(Loaded loaded, const ControlArea& control, Old old = Old::kStays);
  // The same for an image that the kernel holds whole (HeldByKernel): `hand_over` loads it.
  Result<void> CommitHeld(Loaded loaded, const ControlArea& control,
                          const std::function<Result<void>()>& hand_over);
  // Hands the current image to the kernel once more: whose is loaded nobody can see, and another
  // tool may have loaded one since. On failure what was loaded still is.
  Result<void> LoadAgain();
  // Loads an image for a panic. The one before is lost first, whoever's it is: CheckCrashSlot() is
  // the caller's. Without `loaded` it is unloaded at once: what counts is what then lies in the
  // reservation.
  Result<void> LoadCrash(PhysAddr entry, std::span<const system::KexecSegment> segments,
                         std::optional<CrashLoaded> loaded);
  // Errors: kCrashSlotTaken (it is not khop's).
  Result<bool> UnloadCrash();
  // What a shutdown is to do at its end; nothing: as the configuration says.
  Result<void> SetDeparture(std::optional<Departure> departure);
  // Whether a Commit() got so far that the new image is loaded, even if it failed afterwards.
  bool committed() const { return committed_; }
  // A new attempt: committed() is of the next Commit().
  void ForgetCommitted() { committed_ = false; }

  // Unloads and gives everything back, with a damaged state too. Returns whether there was
  // anything.
  static Result<bool> ClearAll(system::System& system);

 private:
  Session(system::System& system, StateStore store, State state)
      : system_(&system), store_(std::move(store)), state_(std::move(state)) {}
  Result<bool> Clear(bool forced);
  Result<void> Set(State next);
  Result<void> LoadControl(const Loaded& loaded, std::span<const std::byte> bytes);
  Result<void> FinishCommit();
  Result<void> RemoveOthers();
  std::vector<PhysRange> FindBusy(const Loaded& loaded, system::Unflagged unflagged) const;
  std::vector<PhysRange> FindTaken(const Loaded& loaded,
                                   const std::vector<PhysRange>& before) const;
  Result<void> ReleaseCompaction();

  system::System* system_;
  StateStore store_;
  State state_;
  bool committed_ = false;
};

}  // namespace khop::load
