// SPDX-License-Identifier: MIT
// The files of the payload: opened and looked at first, then read straight into the arena.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/load/arena.h"
#include "tool/load/progress.h"
#include "tool/system/system.h"

namespace khop::load {

struct SourceFile {
  std::string path;
  system::File file;
  uint64_t size = 0;  // when it was opened; never 0
};

// Opens a regular file that is not empty. `role` ("the kernel") is for messages.
// Errors: kFileMissing, kFileUnreadable, kFileEmpty.
Result<SourceFile> OpenSource(system::System& system, const std::string& path,
                              std::string_view role);

// Reads all of `source` to `destination` in the arena; `ready` gets the end of what is there.
// Errors: kFileUnreadable; kFileChanged if it has not its size any more.
Result<void> Stream(system::System& system, const SourceFile& source, const Arena& arena,
                    PhysAddr destination, const std::function<void(PhysAddr)>& ready,
                    const Progress& progress = {});

// Copies `bytes` to where they belong at `destination`; all of that is in the arena.
void WriteTo(const Arena& arena, PhysAddr destination, std::span<const std::byte> bytes);
void ReadFrom(const Arena& arena, PhysAddr destination, std::span<std::byte> bytes);

}  // namespace khop::load
