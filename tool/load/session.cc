// SPDX-License-Identifier: MIT
#include "tool/load/session.h"

#include <algorithm>
#include <cerrno>

#include "tool/load/unowned.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

constexpr const char* kCompaction = "/proc/sys/vm/compact_unevictable_allowed";

// Nothing on a kernel without compaction, which moves no pages.
Result<std::optional<uint64_t>> ReadCompaction(System& system) {
  const auto now = system::ReadNumber(system, kCompaction);
  if (now) return *now;
  if (now.error().value == ENOENT) return std::nullopt;
  return FailErrno(ExitCode::kSystemCall, kCompaction, now.error().value);
}

Result<void> RestoreCompaction(System& system, uint64_t before) {
  const auto now = ReadCompaction(system);
  if (!now) return Forward(now);
  // Somebody else may have set it since.
  if (*now != 0) return {};
  const auto written = system::WriteFile(system, kCompaction, std::to_string(before) + "\n");
  if (!written) return FailErrno(ExitCode::kSystemCall, kCompaction, written.error().value);
  return {};
}

// By kexec_file_load where the kernel has no kexec_load, or lockdown forbids it: what is loaded
// can only be of the other kind then.
Result<void> UnloadImage(System& system) {
  const auto done = system.KexecLoad({0}, {});
  if (done) return {};
  if ((done.error().value == ENOSYS || done.error().value == EPERM) &&
      system.KexecFileLoad(-1, -1, "", system::kKexecFileUnload)) {
    return {};
  }
  return std::unexpected(system::ExplainKexecLoad(system, done.error()));
}

void AddLent(std::vector<LentPages>& to, const std::vector<LentPages>& more) {
  for (const LentPages& pages : more) {
    const auto same = std::ranges::find(to, pages.page_size, &LentPages::page_size);
    if (same == to.end()) {
      to.push_back(pages);
    } else {
      same->count += pages.count;
    }
  }
}

}  // namespace

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

Result<void> Session::SetDeparture(std::optional<Departure> departure) {
  if (!departure && !state_.departure) return {};
  State next = state_;
  next.departure = departure;
  return Set(std::move(next));
}

Result<void> Session::LoadControl(const Loaded& loaded, std::span<const std::byte> bytes) {
  const auto& control = loaded.plan.control;
  const system::KexecSegment segment{
      .buffer = bytes, .destination = {control.start}, .size = control.size};
  const auto done = system_->KexecLoad({control.start}, {&segment, 1});
  if (!done) return std::unexpected(system::ExplainKexecLoad(*system_, done.error()));
  return {};
}

// Only a route that writes to memory which is not khop's has to look.
Ranges Session::FindBusy(const Loaded& loaded, system::Unflagged unflagged) const {
  if (loaded.plan.route != "gather") return {};
  // What cannot be seen now, exec will see.
  return FindBusyDestinations(*system_, loaded, Addresses(*loaded.arena.extents), unflagged)
      .value_or(Ranges{});
}

// Destinations that were free or a process's just before and are not now: see Loaded::taken. The
// pages of an earlier copy may be that of the new one, or be on their way back.
Ranges Session::FindTaken(const Loaded& loaded, const Ranges& before) const {
  return Without(FindBusy(loaded, system::Unflagged::kBusy), Without(before, loaded.taken));
}

Result<void> Session::RemoveOthers() {
  for (int slot = 0; slot < kSlots; ++slot) {
    if (state_.current && state_.current->arena.slot == slot) continue;
    if (state_.pending && state_.pending->slot == slot) continue;
    if (const auto removed = RemoveSlot(*system_, slot); !removed) return Forward(removed);
  }
  for (int file = 0; file < kSlots; ++file) {
    if (!state_.current || state_.current->control_file != file) store_.RemoveControl(file);
  }
  if (!state_.settle.empty()) {
    if (const auto restored = RestorePools(*system_, state_.settle); !restored) return restored;
    State next = state_;
    next.settle.clear();
    if (const auto set = Set(std::move(next)); !set) return set;
  }
  return ReleaseCompaction();
}

Result<void> Session::HoldCompaction() {
  const auto now = ReadCompaction(*system_);
  if (!now) return Forward(now);
  if (now->value_or(0) == 0) return {};
  if (!state_.compaction) {
    State next = state_;
    next.compaction = *now;
    if (const auto set = Set(std::move(next)); !set) return set;
  }
  const auto written = system::WriteFile(*system_, kCompaction, "0\n");
  if (!written) return FailErrno(ExitCode::kSystemCall, kCompaction, written.error().value);
  return {};
}

Result<void> Session::ReleaseCompaction() {
  if (!state_.compaction || (state_.current && state_.current->arena.has_base_pages())) return {};
  if (const auto restored = RestoreCompaction(*system_, *state_.compaction); !restored) {
    return restored;
  }
  State next = state_;
  next.compaction.reset();
  return Set(std::move(next));
}

// The new image is in the kernel: say so, then give the old arena back.
Result<void> Session::FinishCommit() {
  State next;
  next.current = state_.pending->loaded;
  next.compaction = state_.compaction;
  next.crash = state_.crash;
  next.crash_unsure = state_.crash_unsure;
  std::optional<ArenaRecord> old;
  if (state_.current && state_.current->arena.slot != next.current->arena.slot) {
    old = state_.current->arena;
    auto pools = PoolsWithout(*system_, state_.current->arena.lent);
    if (!pools) return Forward(pools);
    next.settle = *std::move(pools);
  }
  if (const auto set = Set(std::move(next)); !set) return set;
  if (old) WipeArena(*system_, *old);
  return RemoveOthers();
}

Result<void> Session::Recover() {
  if (state_.crash_unsure) {
    const auto loaded = system::CrashLoaded(*system_);
    if (!loaded) return Forward(loaded);
    if (!*loaded) {
      State next = state_;
      next.crash_unsure = false;
      if (const auto set = Set(std::move(next)); !set) return set;
    }
  }
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
        if (*loaded && HeldByKernel(*pending.loaded)) {
          // Its bytes are nowhere but in the kernel: neither can be told to be what is loaded.
          const auto cleared = Clear(false);
          return cleared ? Result<void>() : Forward(cleared);
        }
        if (*loaded) {
          const auto control =
              store_.ReadControl(pending.loaded->control_file, pending.loaded->control_crc32c);
          // Pages that have moved are for exec to deal with, where the route can.
          uint64_t moved = 0;
          const auto arena = pending.loaded->plan.route == "gather"
                                 ? Arena::Adopt(*system_, pending.loaded->arena, &moved)
                                 : Arena::Open(*system_, pending.loaded->arena);
          for (const Failure* why :
               {control ? nullptr : &control.error(), arena ? nullptr : &arena.error()}) {
            // Nothing is lost yet: the next khop may have more luck.
            if (why != nullptr && why->code != ExitCode::kBadState &&
                why->code != ExitCode::kArenaGone) {
              return std::unexpected(*why);
            }
          }
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
    // Only a new plan for the arena that is loaded is of the current one's slot: that one stays.
    if (!state_.current || state_.current->arena.slot != pending.slot) {
      PoolRecords pools = pending.pools;
      if (pending.loaded) {
        auto without = PoolsWithout(*system_, pending.loaded->arena.lent);
        if (!without) return Forward(without);
        pools = *std::move(without);
        // Told first: after the pages are gone nobody could see what is left to do.
        if (const auto told = BeginBuild(pending.slot, pools); !told) return told;
      }
      if (const auto gone = RemoveSlot(*system_, pending.slot); !gone) return Forward(gone);
      if (const auto restored = RestorePools(*system_, pools); !restored) return restored;
    }
    State next = state_;
    next.pending.reset();
    if (const auto set = Set(std::move(next)); !set) return set;
  }
  const auto loaded = system::KexecLoaded(*system_);
  if (!loaded) return Forward(loaded);
  // Without a state nobody knows whether an orphaned arena belongs to the image that is loaded.
  if (!state_.current && state_.settle.empty() && *loaded) return ReleaseCompaction();
  return RemoveOthers();
}

Result<void> Session::BeginBuild(int slot, const PoolRecords& pools) {
  State next = state_;
  next.pending = Pending{.phase = Phase::kBuilding, .slot = slot, .pools = pools, .loaded = {}};
  return Set(std::move(next));
}

Result<void> Session::CancelBuild() {
  State next = state_;
  next.pending.reset();
  if (const auto set = Set(std::move(next)); !set) return set;
  return ReleaseCompaction();
}

Result<void> Session::Commit(Loaded loaded, const ControlArea& control, Old old) {
  const int slot = loaded.arena.slot;
  loaded.control_crc32c =
      ControlCrc32c({reinterpret_cast<const char*>(control.bytes.data()), control.bytes.size()});
  const int file = state_.current ? 1 - state_.current->control_file : 0;
  loaded.control_file = file;
  if (const auto kept = store_.WriteControl(file, control.bytes); !kept) return kept;
  State next = state_;
  next.pending = Pending{.phase = Phase::kCommitting,
                         .slot = slot,
                         .pools = {},  // put back already
                         .loaded = std::move(loaded)};
  if (const auto set = Set(std::move(next)); !set) {
    store_.RemoveControl(file);
    return set;
  }
  Loaded& fresh = *state_.pending->loaded;
  // It was planned a moment ago, on free memory: where that has no flag any more the kernel has
  // taken it onto a CPU's list, or for this load.
  const auto before = FindBusy(fresh, system::Unflagged::kFree);
  // Where loads are counted an unload is one.
  const bool gone = old == Old::kGoesFirst && !system::HasLoadLimit(*system_) &&
                    UnloadImage(*system_).has_value();
  if (const auto done = LoadControl(fresh, control.bytes); !done) {
    // The image before is still loaded. Told so, the next khop does not take the new one for it.
    next = state_;
    next.pending->phase = Phase::kBuilding;
    if (Set(std::move(next))) store_.RemoveControl(file);
    if (gone) (void)LoadAgain();
    return done;
  }
  // The new image is loaded, whatever comes; what cannot be finished the next khop will.
  committed_ = true;
  fresh.taken = FindTaken(fresh, before);
  return FinishCommit();
}

Result<void> Session::CommitHeld(Loaded loaded, const ControlArea& control,
                                 const std::function<Result<void>()>& hand_over) {
  const int file = state_.current ? 1 - state_.current->control_file : 0;
  loaded.control_file = file;
  loaded.control_crc32c =
      ControlCrc32c({reinterpret_cast<const char*>(control.bytes.data()), control.bytes.size()});
  if (!control.bytes.empty()) {
    if (const auto kept = store_.WriteControl(file, control.bytes); !kept) return kept;
  }
  State next = state_;
  next.pending = Pending{.phase = Phase::kCommitting,
                         .slot = loaded.arena.slot,
                         .pools = {},
                         .loaded = std::move(loaded)};
  if (const auto set = Set(next); !set) {
    store_.RemoveControl(file);
    return set;
  }
  if (const auto done = hand_over(); !done) {
    // The image before is still loaded. Told so, the next khop does not take the new one for it.
    next.pending->phase = Phase::kBuilding;
    if (Set(std::move(next))) store_.RemoveControl(file);
    return done;
  }
  committed_ = true;
  return FinishCommit();
}

Result<void> Session::LoadAgain() {
  if (const auto allowed = system::CheckLoadAllowed(*system_); !allowed) return allowed;
  State next = state_;
  Loaded& current = *next.current;
  const auto control = store_.ReadControl(current.control_file, current.control_crc32c);
  if (!control) return Forward(control);
  const auto before = FindBusy(current, system::Unflagged::kBusy);
  const auto done = LoadControl(current, std::as_bytes(std::span(*control)));
  if (!done) return done;
  const Ranges taken = FindTaken(current, before);
  if (std::ranges::equal(taken, current.taken)) return {};
  current.taken = taken;
  // If it cannot be written, only this khop has to know: the next one will load again too.
  if (!Set(next)) state_ = std::move(next);
  return {};
}

Result<void> Session::LoadCrash(PhysAddr entry, std::span<const system::KexecSegment> segments,
                                std::optional<CrashLoaded> loaded) {
  const State before = state_;
  State next = state_;
  next.crash.reset();
  next.crash_unsure = true;
  if (const auto set = Set(next); !set) return set;
  next.crash_unsure = false;
  auto done = system_->KexecLoadCrash(entry, segments);
  const bool unload = done && !loaded;
  if (unload) done = system_->KexecLoadCrash({0}, {});
  if (done) {
    next.crash = std::move(loaded);
    return Set(std::move(next));
  }
  const auto explained = system::ExplainKexecLoad(*system_, done.error());
  // Refused before it began, or after the old one was lost.
  const auto still = system::CrashLoaded(*system_);
  if (!still || (*still && unload)) return std::unexpected(explained);
  (void)Set(*still ? before : next);
  return std::unexpected(explained);
}

Result<bool> Session::UnloadCrash() {
  const auto loaded = system::CrashLoaded(*system_);
  if (!loaded) return Forward(loaded);
  const bool had = state_.crash || state_.crash_unsure;
  if (*loaded && !had) {
    return Fail(ExitCode::kCrashSlotTaken, "the crash kernel", "another tool has loaded it",
                "unload it with that tool");
  }
  if (*loaded) {
    if (const auto done = system_->KexecLoadCrash({0}, {}); !done) {
      return std::unexpected(system::ExplainKexecLoad(*system_, done.error()));
    }
  }
  if (!had) return false;
  State next = state_;
  next.crash.reset();
  next.crash_unsure = false;
  if (const auto set = Set(std::move(next)); !set) return Forward(set);
  return true;
}

Result<bool> Session::Clear(bool forced) {
  if (!state_.settle.empty()) {
    if (const auto settled = RemoveOthers(); !settled) return Forward(settled);
  }
  int segments = 0;
  for (int slot = 0; slot < kSlots; ++slot) segments += CountSegments(*system_, slot);
  if (state_.idle() && segments == 0 && !forced) {
    for (int file = 0; file < kSlots; ++file) store_.RemoveControl(file);
    return false;
  }
  const auto loaded = system::KexecLoaded(*system_);
  if (!loaded) return Forward(loaded);
  State next = state_;
  if (!next.pending) next.pending = Pending{};
  if (next.pending->phase != Phase::kUnloading) {
    // By how much the pools are larger for the arenas that go.
    std::vector<LentPages> lent;
    if (next.current) AddLent(lent, next.current->arena.lent);
    PoolRecords& pools = next.pending->pools;
    // A new plan for the arena that is loaded is no arena of its own.
    if (next.pending->loaded && (!next.current || next.current->arena.slot != next.pending->slot)) {
      AddLent(lent, next.pending->loaded->arena.lent);
    }
    for (PoolRecord& pool : pools) {
      const auto mine = std::ranges::find(lent, pool.page_size, &LentPages::page_size);
      if (mine == lent.end()) continue;
      pool.persistent = pool.persistent > mine->count ? pool.persistent - mine->count : 0;
      lent.erase(mine);
    }
    const auto without = PoolsWithout(*system_, lent);
    if (!without) return Forward(without);
    pools.insert(pools.end(), without->begin(), without->end());
  }
  next.pending->phase = Phase::kUnloading;
  std::vector<ArenaRecord> old;
  for (const auto* const loaded_arena : {&next.current, &next.pending->loaded}) {
    if (*loaded_arena) old.push_back((*loaded_arena)->arena);
  }
  next.pending->loaded.reset();
  const PoolRecords pools = next.pending->pools;
  if (!Set(next)) {
    // A full /run must not keep memory from being given back: the copies of the control areas make
    // room.
    for (int file = 0; file < kSlots; ++file) store_.RemoveControl(file);
    if (const auto set = Set(std::move(next)); !set) return Forward(set);
  }
  if (*loaded) {
    // An image whose memory is about to go must not stay loaded.
    if (const auto done = UnloadImage(*system_); !done) return Forward(done);
  }
  for (const ArenaRecord& record : old) WipeArena(*system_, record);
  for (int slot = 0; slot < kSlots; ++slot) {
    if (const auto removed = RemoveSlot(*system_, slot); !removed) return Forward(removed);
    store_.RemoveControl(slot);  // as many files as slots
  }
  if (const auto restored = RestorePools(*system_, pools); !restored) return Forward(restored);
  if (state_.compaction) {
    const auto restored = RestoreCompaction(*system_, *state_.compaction);
    if (!restored) return Forward(restored);
  }
  // The crash kernel stays.
  State left;
  left.crash = state_.crash;
  left.crash_unsure = state_.crash_unsure;
  if (left.crash) left.crash->with_payload = false;
  if (const auto set = Set(std::move(left)); !set) return Forward(set);
  return true;
}

}  // namespace khop::load
