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

// Where a hop may write, of `plain` memory (ascending): what is owned, and what is free or a
// process's. Of a machine with much memory only the 32 GiB around what is owned are looked at.
Result<Ranges> FindAllowed(system::System& system, const Ranges& plain, const Ranges& owned,
                           uint64_t smallest);

// What a plan tells of it.
void AddGathered(const GatherPlan& plan, report::Plan& report);

// Makes `loaded` with `control`, and with the MMU off instead if the kernel has no memory for the
// one with tables and may have for that.
Result<void> CommitGathered(Session& session, const GatherInput& input, GatherPlan& plan,
                            Loaded loaded, const plan::Hop& hop);

// Of what is loaded: maps the arena and looks where its pages are, what has become of destinations
// that are not khop's, and whether the contents are those of the load. Where the gather route can
// do with pages that have moved, it plans anew, loads that, and looks again.
// Errors: kArenaGone, kForeignImage, …
Result<Arena> MakeSound(system::System& system, Session& session, const Progress& progress);

// Whether the payload still has the digests of the load. Errors: kArenaGone.
Result<void> CheckContents(system::System& system, const Loaded& loaded, const Arena& arena);

// Whether the kernel still has an image. Errors: kForeignImage.
Result<void> CheckStillLoaded(system::System& system);

// The same, and the arena as it is now.
Result<Arena> AdoptLoaded(system::System& system, const Loaded& loaded, uint64_t* moved);

// Unowned destinations that are in use by somebody else than the control area's copy. Those that
// were all free a moment ago can do with Unflagged::kFree.
Result<Ranges> FindTrouble(system::System& system, const Loaded& loaded, const Arena& arena,
                           system::Unflagged unflagged = system::Unflagged::kBusy);

}  // namespace khop::load
