// SPDX-License-Identifier: MIT
// The routes kernel and file: the running kernel holds the whole image, and khop holds no memory.
#pragma once

#include <functional>
#include <vector>

#include "tool/base/error.h"
#include "tool/load/load.h"
#include "tool/load/prepare.h"
#include "tool/load/session.h"

namespace khop::load {

// An image that is ready to be handed over.
struct Held {
  Loaded loaded;
  ControlArea control;  // of route file: empty
  std::function<Result<void>()> hand_over;
};

// No memory, but the slot that it stands for.
ArenaRecord HeldArena(const Session& session);

Result<Held> BuildForKernel(system::System& system, const Session& session,
                            const LoadOptions& options, const Prepared& prepared,
                            const Progress& progress);
Result<Held> BuildForFile(system::System& system, const Session& session,
                          const LoadOptions& options, const Prepared& prepared,
                          const Progress& progress);

// Hands it over and makes it the current one; returns its plan.
Result<report::Plan> Commit(Session& session, const Held& held, const Progress& progress);

// Loads what is loaded from its files once more, as another tool may have loaded something since.
// Errors: kFileChanged, kFileMissing, … On failure what was loaded still is.
Result<void> LoadHeldAgain(system::System& system, Session& session, const Progress& progress);

}  // namespace khop::load
