// SPDX-License-Identifier: MIT
// The record of a failed hop that outlives the reset (core/handoff/failure_record.h): where this
// machine can keep one, and what the next boot finds there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/devicetree/tree.h"
#include "tool/report/failed_hop.h"
#include "tool/system/memory_map.h"
#include "tool/system/system.h"

namespace khop::load {

// A child of /reserved-memory with this `compatible`, a `reg` of at least
// handoff::kMinFailureRecord bytes and `no-map` is memory for khop's record.
inline constexpr const char* kRecordCompatible = "khop,failure-record";

struct RecordPlace {
  PhysRange range;
  std::string source;  // "ramoops", or the node's path
};

// Where a failed hop can leave its record: the first record of the ramoops region, else a region of
// khop's own in `tree`. Nothing if there is none, it keeps ECC data, which the relocator cannot
// compute, or `map` has it as plain memory, so that it is nobody's. Why not goes to `notes`.
std::optional<RecordPlace> FindRecordPlace(system::System& system, const devicetree::Tree& tree,
                                           const system::MemoryMap& map,
                                           std::vector<std::string>& notes);

// The records of failed hops that this boot has found: in pstore, where systemd-pstore puts them,
// and in khop's own region of the running `tree` (null: none). What cannot be read goes to `notes`.
std::vector<report::FailedHop> ReadFailedHops(system::System& system, const devicetree::Tree* tree,
                                              std::vector<std::string>& notes);

}  // namespace khop::load
