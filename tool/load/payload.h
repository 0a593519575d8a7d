// SPDX-License-Identifier: MIT
// The files of the payload: opened and looked at first, then read, or unpacked, straight into the
// arena.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "core/digest/features.h"
#include "core/handoff/handoff.h"
#include "tool/base/error.h"
#include "tool/image/unpack.h"
#include "tool/load/arena.h"
#include "tool/load/progress.h"
#include "tool/system/system.h"

namespace khop::load {

struct SourceFile {
  std::string path;
  system::File file;
  uint64_t size = 0;       // of the payload that comes out of it; never 0
  uint64_t file_size = 0;  // when it was opened
  image::Recipe recipe;    // how the payload comes out of it
  // Whether the file is the payload, byte by byte.
  bool is_whole() const { return recipe.IsWhole(file_size); }
};

// Opens a regular file that is not empty, to be taken as it is. `role` ("the kernel") is for
// messages. Errors: kFileMissing, kFileUnreadable, kFileEmpty.
Result<SourceFile> OpenSource(system::System& system, const std::string& path,
                              std::string_view role);
// A part of a file that is open. Errors: as above; kFileChanged.
Result<SourceFile> OpenPart(system::System& system, const SourceFile& whole, image::Slice part,
                            std::string_view role);

// For reading it: what image/unpack.h wants. `source` must outlive it.
image::Input InputOf(system::System& system, const SourceFile& source);
// The payload as a stream, from its beginning; as often as wanted.
Result<image::Unpacker> OpenStream(system::System& system, const SourceFile& source);

// Reads all of `source` to `destination` in the arena; `ready` gets the end of what is there, and
// the bytes that are new.
// Errors: kFileUnreadable; kFileChanged if it has not its size any more; Unpacker::Read()'s.
using Ready = std::function<void(PhysAddr end, std::span<const std::byte> bytes)>;
Result<void> Stream(system::System& system, const SourceFile& source, const Arena& arena,
                    PhysAddr destination, const Ready& ready, const Progress& progress = {});

// The same to a buffer of the file's size.
Result<void> Stream(system::System& system, const SourceFile& source, std::span<std::byte> to);

// Copies `bytes` to where they belong at `destination`; all of that is in the arena.
void WriteTo(const Arena& arena, PhysAddr destination, std::span<const std::byte> bytes);
void ReadFrom(const Arena& arena, PhysAddr destination, std::span<std::byte> bytes);

// The digests of the 2 MiB pieces of bytes that are at hand.
std::vector<std::byte> DigestPieces(std::span<const std::byte> contents, handoff::DigestKind kind,
                                    digest::DigestFeatures features);

}  // namespace khop::load
