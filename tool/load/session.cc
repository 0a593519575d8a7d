// SPDX-License-Identifier: MIT
#include "tool/load/session.h"

#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

Result<Session> Session::Open(System& system) {
  auto store = StateStore::Open(system);
  if (!store) return Forward(store);
  auto state = store->Read();
  if (!state) return Forward(state);
  return Session(system, std::move(*store), std::move(*state));
}

Result<bool> Session::ClearAll(System& system) {
  auto store = StateStore::Open(system);
  if (!store) return Forward(store);
  auto state = store->Read();
  const bool damaged = !state && state.error().code == ExitCode::kBadState;
  if (!state && !damaged) return Forward(state);
  Session session(system, std::move(*store), damaged ? State{} : std::move(*state));
  return session.Clear(damaged);
}

// Memory follows the file: what it says is what is true from here on.
Result<void> Session::Set(State next) {
  const auto written = store_.Write(next);
  if (written) state_ = std::move(next);
  return written;
}

Result<void> Session::LoadControl(const Loaded& loaded, std::span<const std::byte> bytes) {
  const auto& control = loaded.plan.control;
  const system::KexecSegment segment{
      .buffer = bytes, .destination = {control.start}, .size = control.size};
  const auto done = system_->KexecLoad({control.start}, {&segment, 1});
  if (!done) return std::unexpected(system::ExplainKexecLoad(*system_, done.error()));
  return {};
}

Result<void> Session::RemoveOthers() {
  for (int slot = 0; slot < kSlots; ++slot) {
    if (state_.current && state_.current->arena.slot == slot) continue;
    if (state_.pending && state_.pending->slot == slot) continue;
    if (const auto removed = RemoveSlot(*system_, slot); !removed) return Forward(removed);
    store_.RemoveControl(slot);
  }
  if (!state_.settle) return {};
  if (const auto restored = RestorePool(*system_, *state_.settle); !restored) return restored;
  State next = state_;
  next.settle.reset();
  return Set(std::move(next));
}

// The new image is in the kernel: say so, then give the old arena back.
Result<void> Session::FinishCommit() {
  State next;
  next.current = state_.pending->loaded;
  if (state_.current && state_.current->arena.pool_pages != 0) {
    const auto pool = PoolWithout(*system_, state_.current->arena.pool_pages);
    if (!pool) return Forward(pool);
    next.settle = *pool;
  }
  if (const auto set = Set(std::move(next)); !set) return set;
  return RemoveOthers();
}

Result<void> Session::Recover() {
  if (state_.pending) {
    const Pending pending = *state_.pending;
    switch (pending.phase) {
      case Phase::kUnloading: {
        const auto cleared = Clear(false);
        return cleared ? Result<void>() : Forward(cleared);
      }
      case Phase::kCommitting: {
        const auto loaded = system::KexecLoaded(*system_);
        if (!loaded) return Forward(loaded);
        // Whether the old or the new image is loaded cannot be seen: load the new one once more.
        if (*loaded) {
          const auto control = store_.ReadControl(pending.slot);
          const auto arena = Arena::Open(*system_, pending.loaded->arena);
          if (!control || !arena) {
            const auto cleared = Clear(false);
            return cleared ? Result<void>() : Forward(cleared);
          }
          const auto redone = LoadControl(*pending.loaded, std::as_bytes(std::span(*control)));
          if (!redone) return redone;
          return FinishCommit();
        }
        break;
      }
      case Phase::kBuilding:
        break;
    }
    PoolRecord pool = pending.pool;
    if (pending.loaded) {
      const auto without = PoolWithout(*system_, pending.loaded->arena.pool_pages);
      if (!without) return Forward(without);
      pool = *without;
      // Told first: after the pages are gone nobody could see what is left to do.
      if (const auto told = BeginBuild(pending.slot, pool); !told) return told;
    }
    if (const auto removed = RemoveSlot(*system_, pending.slot); !removed) return Forward(removed);
    if (const auto restored = RestorePool(*system_, pool); !restored) return restored;
    State next;
    next.current = state_.current;
    if (const auto set = Set(std::move(next)); !set) return set;
  }
  const auto loaded = system::KexecLoaded(*system_);
  if (!loaded) return Forward(loaded);
  // Without a state nobody knows whether an orphaned arena belongs to the image that is loaded.
  if (!state_.current && !state_.settle && *loaded) return {};
  return RemoveOthers();
}

Result<void> Session::BeginBuild(int slot, const PoolRecord& pool) {
  State next;
  next.current = state_.current;
  next.pending = Pending{.phase = Phase::kBuilding, .slot = slot, .pool = pool, .loaded = {}};
  return Set(std::move(next));
}

Result<void> Session::CancelBuild() {
  State next;
  next.current = state_.current;
  return Set(std::move(next));
}

Result<void> Session::Commit(Loaded loaded, const ControlArea& control) {
  const int slot = loaded.arena.slot;
  if (const auto kept = store_.WriteControl(slot, control.bytes); !kept) return kept;
  State next;
  next.current = state_.current;
  next.pending = Pending{.phase = Phase::kCommitting,
                         .slot = slot,
                         .pool = {},  // put back already
                         .loaded = std::move(loaded)};
  if (const auto set = Set(std::move(next)); !set) return set;
  if (const auto done = LoadControl(*state_.pending->loaded, control.bytes); !done) {
    store_.RemoveControl(slot);
    return done;
  }
  // The new image is loaded, whatever comes; what cannot be finished the next khop will.
  committed_ = true;
  return FinishCommit();
}

Result<bool> Session::Clear(bool forced) {
  if (state_.settle) {
    if (const auto settled = RemoveOthers(); !settled) return Forward(settled);
  }
  int segments = 0;
  for (int slot = 0; slot < kSlots; ++slot) segments += CountSegments(*system_, slot);
  if (!state_.current && !state_.pending && segments == 0 && !forced) return false;
  const auto loaded = system::KexecLoaded(*system_);
  if (!loaded) return Forward(loaded);
  State next = state_;
  if (!next.pending) next.pending = Pending{};
  if (next.pending->phase != Phase::kUnloading) {
    // By how much the pool is larger for the arenas that go.
    uint64_t lent = next.current ? next.current->arena.pool_pages : 0;
    PoolRecord& pool = next.pending->pool;
    if (next.pending->phase == Phase::kBuilding && pool.target != 0) {
      pool.persistent = pool.persistent > lent ? pool.persistent - lent : 0;
    } else {
      if (next.pending->loaded) lent += next.pending->loaded->arena.pool_pages;
      const auto without = PoolWithout(*system_, lent);
      if (!without) return Forward(without);
      pool = *without;
    }
  }
  next.pending->phase = Phase::kUnloading;
  next.pending->loaded.reset();
  const PoolRecord pool = next.pending->pool;
  if (const auto set = Set(std::move(next)); !set) return Forward(set);
  if (*loaded) {
    // An image whose memory is about to go must not stay loaded.
    if (const auto done = system_->KexecLoad({0}, {}); !done) {
      return std::unexpected(system::ExplainKexecLoad(*system_, done.error()));
    }
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    if (const auto removed = RemoveSlot(*system_, slot); !removed) return Forward(removed);
    store_.RemoveControl(slot);
  }
  if (const auto restored = RestorePool(*system_, pool); !restored) return Forward(restored);
  if (const auto set = Set(State{}); !set) return Forward(set);
  return true;
}

}  // namespace khop::load
