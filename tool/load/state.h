// SPDX-License-Identifier: MIT
// What khop remembers between its runs, under /run/khop: one JSON file with a checksum, replaced
// atomically, written before what it tells of is done. The directory is root's alone and a lock
// file keeps others out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "core/handoff/handoff.h"
#include "tool/base/error.h"
#include "tool/load/arena.h"
#include "tool/load/control.h"
#include "tool/report/plan.h"
#include "tool/system/system.h"

namespace khop::load {

// A range of the payload with a digest for each 2 MiB piece.
struct Verified {
  uint64_t start = 0;
  uint64_t size = 0;
  std::vector<std::string> digests;  // hexadecimal
};

// A kernel in the arena, ready to be started.
struct Loaded {
  report::Plan plan;
  std::string loaded_at;  // UTC, ISO 8601
  ArenaRecord arena;
  uint64_t stamp = 0;  // physical address of the stamp word
  handoff::DigestKind digest_kind = handoff::DigestKind::kSha256;
  std::vector<Verified> verified;
  MmuMode mmu = MmuMode::kAuto;  // as asked for
  // Pages of unowned destinations that the running kernel took between the plan and the end of the
  // load: its copy of the control area and its page tables, which are of no use to anybody once the
  // relocator runs, and what waits, free, on a list of a CPU's own. What of it has another flag by
  // now, a slab's say, is in use all the same.
  std::vector<PhysRange> taken;
  // --mem-min and --mem-max.
  PhysRange bounds;
  // khop's copy of the control area: which file, and its checksum.
  int control_file = 0;
  uint32_t control_crc32c = 0;
  uint32_t file_flags = 0;  // route file: of the kexec_file_load
};

// Whether no arena of khop's is behind it: the routes kernel and file.
bool HeldByKernel(const Loaded& loaded);

// A crash kernel that khop has loaded.
struct CrashLoaded {
  report::Plan plan;
  std::string loaded_at;
  // As it was asked for, so that it can be loaded again together with a payload.
  std::string kernel;
  std::string configuration;  // of a FIT
  std::vector<std::string> initrds;
  std::string command_line;
  std::string dtb;  // empty: the image's or the running kernel's
  std::vector<std::string> dtbos;
  handoff::DigestKind digest_kind = handoff::DigestKind::kSha256;
  bool with_payload = false;  // its image holds the payload of the reserved route too
};

enum class Phase : uint8_t {
  kBuilding,    // slot and pool are in use; the kernel knows nothing of it
  kCommitting,  // built; kexec_load may or may not have been done
  kUnloading,   // kexec_load(0) may or may not have been done; everything goes
};

// A change under way: if the next khop finds it, the one that wrote it died.
struct Pending {
  Phase phase = Phase::kBuilding;
  int slot = 0;
  PoolRecords pools;
  std::optional<Loaded> loaded;  // kCommitting
};

// What `khop exec` was asked to do at the end of the shutdown that it has begun.
struct Departure {
  bool park_cpus = false;
  uint32_t watchdog = 0;  // seconds
};

struct State {
  std::optional<Loaded> current;
  std::optional<Pending> pending;
  // What the pools have to become once every arena but the current one is gone.
  PoolRecords settle;
  // vm.compact_unevictable_allowed as it was before khop set it to 0 for locked base pages.
  std::optional<uint64_t> compaction;
  // Of the crash slot: what khop loaded; and whether one has died between saying that it would load
  // something and saying that it had.
  std::optional<CrashLoaded> crash;
  bool crash_unsure = false;
  std::optional<Departure> departure;

  // Nothing but what belongs to the crash slot.
  bool idle() const { return !current && !pending && settle.empty() && !compaction; }
  bool empty() const { return idle() && !crash && !crash_unsure; }
};

inline constexpr const char* kStateFile = "/run/khop/state.json";

uint32_t ControlCrc32c(std::string_view bytes);

// The state as it is now, for those that only look; others take the lock (StateStore). No state if
// there is none or it is of an earlier boot. Errors: kBadState, kSystemCall (only root may read
// it).
Result<State> LookAtState(system::System& system);

// The open, locked state. Only one exists on the machine at any time.
class StateStore {
 public:
  // Errors: kBusy (another khop holds the lock), kUnsafeSystem (the directory is not root's alone,
  // or this is not the machine's own IPC namespace), kSystemCall.
  static Result<StateStore> Open(system::System& system);

  Result<State> Read() { return LookAtState(*system_); }
  // An empty state removes the file.
  Result<void> Write(const State& state);

  // The bytes of a control area, so that a commit can be repeated. There are as many files as
  // slots, but a new plan for the arena that is loaded goes into the other file too.
  Result<void> WriteControl(int file, std::span<const std::byte> bytes);
  // Errors: kBadState (it is not there, or not with this checksum).
  Result<std::string> ReadControl(int file, uint32_t crc32c);
  void RemoveControl(int file);

 private:
  StateStore(system::System& system, system::File lock)
      : system_(&system), lock_(std::move(lock)) {}

  system::System* system_;
  system::File lock_;
};

// The text of the state file and back. Errors: kBadState.
std::string EncodeState(const State& state, const std::string& boot_id);
// `boot_id` gets the boot that the state is of.
Result<State> DecodeState(const std::string& text, std::string* boot_id);

}  // namespace khop::load
