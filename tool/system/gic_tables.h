// SPDX-License-Identifier: MIT
// Where a GICv3 keeps its LPIs: a property table for all CPUs and a pending table for each, in
// memory that the kernel gave it. LPIs cannot be turned off once they are on (Arm IHI 0069,
// GICR_CTLR.EnableLPIs), so the GIC goes on writing there under every later kernel. Only the kernel
// log names the addresses: the registers are out of user space's reach.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/system/system.h"

namespace khop::system {

// Of either kind of table: Linux takes 16 bits of interrupt ID at most, hence 64 KiB of properties
// (a byte for each) and 8 KiB of pending bits, which the architecture wants aligned to 64 KiB.
inline constexpr uint64_t kLpiTableSize = uint64_t{64} << 10;

// What a kernel log tells of them.
struct LoggedLpiTables {
  std::optional<PhysRange> property;
  std::map<uint32_t, PhysRange> pending;  // by CPU
  bool whole = false;  // the log begins with the boot's first message: nothing has dropped out
};
// `log`: the records of /dev/kmsg. What user space wrote to the log does not count.
LoggedLpiTables ParseLpiTables(std::string_view log);

struct LpiTables {
  std::vector<PhysRange> ranges;  // the property table first, if the log has it
  std::string missing;            // what could not be found: "the property table"; empty: nothing
};
// The tables of the running kernel, which found an ITS, and of those before it; empty if LPIs are
// off. `reserved`: the running tree's /memreserve/ entries if a hop made it, else none. Tables stay
// where the first kernel put them, so entries of their size are taken for tables: the log may have
// lost them, and does not tell of CPUs that only an earlier kernel had online.
LpiTables FindLpiTables(System& system, std::span<const PhysRange> reserved);

}  // namespace khop::system
