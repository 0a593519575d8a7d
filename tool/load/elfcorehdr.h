// SPDX-License-Identifier: MIT
// What a capture kernel needs to know of the one that died: an ELF core header in the crash
// reservation (Linux, Documentation/admin-guide/kdump/kdump.rst). /proc/vmcore is made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/system/memory_map.h"
#include "tool/system/system.h"

namespace khop::load {

struct DumpSource {
  // A stretch of memory, and where the running kernel has it (0: not known).
  struct Mapped {
    PhysRange range;
    uint64_t virt = 0;
    friend bool operator==(const Mapped&, const Mapped&) = default;
  };
  std::vector<PhysRange> cpu_notes;  // of each CPU: its registers, written as it dies
  PhysRange vmcoreinfo;
  Mapped text;              // the kernel's image; empty if it is not known
  std::vector<Mapped> ram;  // all but the reservation
  std::vector<std::string> notes;
};

// Reads it from sysfs, /proc/iomem (`map`) and the program headers of /proc/kcore.
// Errors: kUnsupportedMachine (a kernel without CONFIG_CRASH_DUMP or CPU notes), kSystemCall.
Result<DumpSource> ReadDumpSource(system::System& system, const system::MemoryMap& map);

std::vector<std::byte> BuildElfCoreHeader(const DumpSource& source);

}  // namespace khop::load
