// SPDX-License-Identifier: MIT
#include "tool/load/payload.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace khop::load {

using system::File;
using system::OpenMode;
using system::System;

Result<SourceFile> OpenSource(System& system, const std::string& path, std::string_view role) {
  const std::string what = std::string(role) + " " + path;
  auto file = File::Open(system, path, OpenMode::kRead);
  if (!file) {
    const int error = file.error().value;
    const bool missing = error == ENOENT || error == ENOTDIR;
    return FailErrno(missing ? ExitCode::kFileMissing : ExitCode::kFileUnreadable, what, error,
                     missing ? "give the path of a file" : "make it readable");
  }
  const auto info = system.Stat(file->fd());
  if (!info) return FailErrno(ExitCode::kFileUnreadable, what, info.error().value);
  if (!info->is_regular) {
    return Fail(ExitCode::kFileUnreadable, what, "it is not a regular file",
                "give the path of a file");
  }
  if (info->size == 0) return Fail(ExitCode::kFileEmpty, what, "it is empty", "give another one");
  return SourceFile{path, std::move(*file), info->size};
}

Result<void> Stream(System& system, const SourceFile& source, const Arena& arena,
                    PhysAddr destination, const std::function<void(PhysAddr)>& ready,
                    const Progress& progress) {
  uint64_t offset = 0;
  const auto read =
      arena.ForEach({destination, source.size}, [&](std::span<std::byte> bytes) -> Result<void> {
        const auto got = ReadFully(system, source.file.fd(), bytes, offset);
        if (!got) return FailErrno(ExitCode::kFileUnreadable, source.path, got.error().value);
        offset += *got;
        progress("reading " + source.path, offset, source.size);
        if (*got != bytes.size()) {
          return Fail(ExitCode::kFileChanged, source.path, "it became shorter while it was read",
                      "load again when nobody writes to it");
        }
        ready(destination + offset);
        return {};
      });
  if (!read) return read;
  std::byte beyond;
  const auto more = system.ReadAt(source.file.fd(), {&beyond, 1}, offset);
  if (!more) return FailErrno(ExitCode::kFileUnreadable, source.path, more.error().value);
  if (*more != 0) {
    return Fail(ExitCode::kFileChanged, source.path, "it became longer while it was read",
                "load again when nobody writes to it");
  }
  return {};
}

void WriteTo(const Arena& arena, PhysAddr destination, std::span<const std::byte> bytes) {
  (void)arena.ForEach({destination, bytes.size()}, [&](std::span<std::byte> to) -> Result<void> {
    memcpy(to.data(), bytes.data(), to.size());
    bytes = bytes.subspan(to.size());
    return {};
  });
}

void ReadFrom(const Arena& arena, PhysAddr destination, std::span<std::byte> bytes) {
  (void)arena.ForEach({destination, bytes.size()}, [&](std::span<std::byte> from) -> Result<void> {
    memcpy(bytes.data(), from.data(), from.size());
    bytes = bytes.subspan(from.size());
    return {};
  });
}

}  // namespace khop::load
