// SPDX-License-Identifier: MIT
// The routes, each from nothing to a kernel that is loaded. What they took is given back if they
// fail; the journal of the session is the caller's to cancel.
#pragma once

#include "tool/base/error.h"
#include "tool/load/load.h"
#include "tool/load/prepare.h"
#include "tool/load/session.h"

namespace khop::load {

Result<report::Plan> LoadInPlace(system::System& system, Session& session,
                                 const LoadOptions& options, const Prepared& prepared,
                                 const Progress& progress);

Result<report::Plan> LoadByGather(system::System& system, Session& session,
                                  const LoadOptions& options, const Prepared& prepared,
                                  const Progress& progress);

// The reason in a failure's message, without the thing that it is about.
std::string Reason(const Failure& failure);

}  // namespace khop::load
