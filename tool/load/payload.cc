// SPDX-License-Identifier: MIT
#include "tool/load/payload.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"

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
  return SourceFile{.path = path,
                    .file = std::move(*file),
                    .size = info->size,
                    .file_size = info->size,
                    .recipe = {.pieces = {{{0, info->size}, 0}},
                               .codec = image::Codec::kNone,
                               .tail = 0,
                               .size = info->size}};
}

Result<SourceFile> OpenPart(System& system, const SourceFile& whole, image::Slice part,
                            std::string_view role) {
  auto source = OpenSource(system, whole.path, role);
  if (!source) return source;
  const auto then = system.Stat(whole.file.fd());
  const auto now = system.Stat(source->file.fd());
  if (!then || !now || then->device != now->device || then->inode != now->inode ||
      part.end() > now->size) {
    return Fail(ExitCode::kFileChanged, whole.path, "it was replaced while it was read",
                "load again when nobody writes to it");
  }
  if (part.size == 0) {
    return Fail(ExitCode::kFileEmpty, std::string(role) + " in " + whole.path, "it is empty",
                "give another one");
  }
  source->size = source->recipe.size = part.size;
  source->recipe.pieces = {{part, 0}};
  return source;
}

image::Input InputOf(System& system, const SourceFile& source) {
  return [&system, fd = source.file.fd(), path = source.path](std::span<std::byte> out,
                                                              uint64_t offset) -> Result<size_t> {
    const auto got = ReadFully(system, fd, out, offset);
    if (!got) return FailErrno(ExitCode::kFileUnreadable, path, got.error().value);
    return *got;
  };
}

Result<image::Unpacker> OpenStream(System& system, const SourceFile& source) {
  return image::Unpacker::Start(InputOf(system, source), source.file_size, source.path,
                                source.recipe);
}

namespace {

// After the last byte.
Result<void> Finish(System& system, const SourceFile& source, image::Unpacker& stream) {
  if (const auto finished = stream.Finish(); !finished) return Forward(finished);
  // Where memory is short nobody needs the file in it beside its contents. Elsewhere the next load
  // is the quicker for it, and finds the free pages less torn.
  const auto available = system::MemAvailable(system);
  if (available && *available / 4 < source.file_size) system.DropFromCache(source.file.fd());
  std::byte beyond;
  const auto more = system.ReadAt(source.file.fd(), {&beyond, 1}, source.file_size);
  if (!more) return FailErrno(ExitCode::kFileUnreadable, source.path, more.error().value);
  if (*more != 0) {
    return Fail(ExitCode::kFileChanged, source.path, "it became longer while it was read",
                "load again when nobody writes to it");
  }
  return {};
}

}  // namespace

Result<void> Stream(System& system, const SourceFile& source, const Arena& arena,
                    PhysAddr destination, const Ready& ready, const Progress& progress) {
  auto stream = OpenStream(system, source);
  if (!stream) return Forward(stream);
  uint64_t offset = 0;
  const auto read =
      arena.ForEach({destination, source.size}, [&](std::span<std::byte> bytes) -> Result<void> {
        if (auto got = stream->Read(bytes); !got) return got;
        offset += bytes.size();
        progress("reading " + source.path, offset, source.size);
        ready(destination + offset, bytes);
        return {};
      });
  if (!read) return read;
  return Finish(system, source, *stream);
}

Result<void> Stream(System& system, const SourceFile& source, std::span<std::byte> to) {
  auto stream = OpenStream(system, source);
  if (!stream) return Forward(stream);
  if (const auto got = stream->Read(to); !got) return Forward(got);
  return Finish(system, source, *stream);
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

std::vector<std::byte> DigestPieces(std::span<const std::byte> contents, handoff::DigestKind kind,
                                    digest::DigestFeatures features) {
  std::vector<std::byte> digests;
  const auto append = [&](std::span<const std::byte> digest) {
    digests.insert(digests.end(), digest.begin(), digest.end());
  };
  while (kind != handoff::DigestKind::kNone && !contents.empty()) {
    const auto piece = contents.first(std::min<size_t>(contents.size(), handoff::kPieceSize));
    if (kind == handoff::DigestKind::kSha256) {
      digest::Sha256 sha256(features);
      sha256.Update(piece);
      append(sha256.Finish());
    } else {
      const uint32_t crc32c = digest::Crc32c(piece, features);
      append(std::as_bytes(std::span(&crc32c, 1)));
    }
    contents = contents.subspan(piece.size());
  }
  return digests;
}

}  // namespace khop::load
