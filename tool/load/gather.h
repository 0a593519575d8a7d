// SPDX-License-Identifier: MIT
// What the gather route does at a load and again when pages have moved since.
#pragma once

#include "tool/base/error.h"
#include "tool/load/arena.h"
#include "tool/load/gather_plan.h"
#include "tool/load/load.h"
#include "tool/load/ranges.h"
#include "tool/load/session.h"
#include "tool/load/unowned.h"

namespace khop::load {

// Finds input.allowed in `plain` memory (ascending), and plans with it. To say what it uses a page
// for takes the kernel hundreds of instructions: so little memory is looked at first, around what
// is owned, and more as long as the payload has no place there, or the page tables have none; of a
// machine with much of it 32 GiB at most. `restless`: where places are sought last.
// Errors: as PlanGather and system::FindOverwritable.
Result<GatherPlan> PlanAround(system::System& system, const Ranges& plain, GatherInput& input,
                              const Ranges& restless = {});

// What a plan tells of it.
void AddGathered(const GatherPlan& plan, report::Plan& report);

// Makes `loaded` with `control`, and with the MMU off instead if the kernel has no memory for the
// one with tables and may have for that.
Result<void> CommitGathered(Session& session, const GatherInput& input, GatherPlan& plan,
                            Loaded loaded, const plan::Hop& hop,
                            Session::Old old = Session::Old::kStays);

// When what is loaded was planned: just now it was on pages that were free or a process's.
enum class Planned : uint8_t { kBefore, kJustNow };

struct Sound {
  Arena arena;
  bool planned_anew = false;  // and the new plan handed to the kernel
};

// Of what is loaded: maps the arena and looks where its pages are, what has become of destinations
// that are not khop's, and whether the contents are those of the load. Where the gather route can
// do with pages that have moved, it plans anew, loads that, and looks again.
// Errors: kArenaGone, kForeignImage, …
Result<Sound> MakeSound(system::System& system, Session& session, Planned planned,
                        const Progress& progress);

// Takes `most` bytes of base pages until khop ends, or a third of what is available. Returns
// whether it could.
bool TakeSome(system::System& system, uint64_t most);

// Whether a gathered payload's device tree names the initrd's place. A khop that died while it
// planned anew may have told it another one, which without digests nobody else would notice.
// Errors: kArenaGone.
Result<void> CheckTree(const Loaded& loaded, const Arena& arena);

// That, and whether the payload still has the digests of the load. Errors: kArenaGone.
Result<void> CheckContents(system::System& system, const Loaded& loaded, const Arena& arena);

// Whether the kernel still has an image. Errors: kForeignImage.
Result<void> CheckStillLoaded(system::System& system);

// The same, and the arena as it is now.
Result<Arena> AdoptLoaded(system::System& system, const Loaded& loaded, uint64_t* moved);

// Unowned destinations that are in use by somebody else than kexec_load, of Loaded::taken those
// that are seen to be. Those that were all free a moment ago can do with Unflagged::kFree.
Result<Ranges> FindTrouble(system::System& system, const Loaded& loaded, const Arena& arena,
                           system::Unflagged unflagged = system::Unflagged::kBusy);

}  // namespace khop::load
