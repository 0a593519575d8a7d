// SPDX-License-Identifier: MIT
// A machine for tests that load hundreds of times: as small as it can be, for either route.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "tool/load/load.h"
#include "tool/load/test_machine.h"

namespace khop::load {

struct SmallMachine : TestMachine {
  // `own_pool`: free pages of 2 MiB that an administrator has for something else.
  explicit SmallMachine(Route wanted, uint64_t own_pool = 0);
  LoadOptions Options() const;

  // Each by a new process.
  Result<report::Plan> LoadAnew();
  Result<void> ExecAnew();
  Result<bool> UnloadAnew();

  // What lies in khop's directory, but for the lock.
  std::set<std::string> Files() const;
  // Of the gather route: pages that were held now are where free ones were.
  void MigrateSome();

  Route route;
};

// For messages: which route.
std::string Name(Route route);

// Fails the test unless what is loaded would start, whole: what the running kernel and the
// relocator would do, done on a copy of memory.
void ExpectSoundHop(SmallMachine& machine, const std::string& where);

}  // namespace khop::load
