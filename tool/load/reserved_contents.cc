// SPDX-License-Identifier: MIT
// Reads what lies in the crash reservation, to see whether it is still what was loaded.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/digest/features.h"
#include "tool/load/fill.h"
#include "tool/load/kcore.h"
#include "tool/load/reserved.h"

namespace khop::load {

using system::File;
using system::OpenMode;
using system::System;

namespace {

// Of an Image (Documentation/arm64/booting.rst). A kernel that does not map a page reads it as
// zeros, or not at all.
constexpr uint64_t kMagicOffset = 56;
constexpr std::string_view kMagic = "ARM\x64";

class Memory {
 public:
  static std::optional<Memory> Open(System& system) {
    auto file = File::Open(system, kKcore, OpenMode::kRead);
    if (!file) return std::nullopt;
    Memory memory(system, std::move(*file));
    memory.segments_ = ReadKcoreSegments(system, memory.file_.fd());
    return memory;
  }

  bool Read(PhysAddr at, std::span<std::byte> out) const {
    const PhysRange range{at, out.size()};
    const auto found = std::ranges::find_if(
        segments_, [&](const KcoreSegment& segment) { return segment.range.Contains(range); });
    if (found == segments_.end()) return false;
    const uint64_t offset = found->offset + (at.value - found->range.start.value);
    const auto got = ReadFully(system_, file_.fd(), out, offset);
    return got && *got == out.size();
  }

 private:
  Memory(System& system, File file) : system_(system), file_(std::move(file)) {}

  System& system_;
  File file_;
  std::vector<KcoreSegment> segments_;
};

}  // namespace

Result<bool> CheckReservedContents(System& system, const Loaded& loaded) {
  const auto memory = Memory::Open(system);
  const auto kernel =
      std::ranges::find(loaded.plan.segments, std::string_view("kernel"), &report::Segment::name);
  if (!memory || loaded.verified.empty() || kernel == loaded.plan.segments.end()) return false;
  std::array<std::byte, kMagic.size()> magic{};
  if (!memory->Read(PhysAddr{kernel->start} + kMagicOffset, magic) ||
      memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    return false;
  }
  const auto features = digest::DigestFeatures::FromHwcap(system.Hwcap());
  std::vector<std::byte> piece;
  for (const Verified& entry : loaded.verified) {
    for (uint64_t at = 0; at < entry.size; at += handoff::kPieceSize) {
      const PhysAddr start = PhysAddr{entry.start} + at;
      piece.resize(std::min<uint64_t>(handoff::kPieceSize, entry.size - at));
      if (!memory->Read(start, piece)) return false;
      Digests now;
      now.Add(start, piece, loaded.digest_kind, features);
      const size_t index = at / handoff::kPieceSize;
      if (index >= entry.digests.size() ||
          now.verified.front().digests.front() != entry.digests[index]) {
        return Fail(ExitCode::kArenaGone, "the loaded kernel",
                    "its memory has changed at or after " + Hex(start.value), "load it again");
      }
    }
  }
  return true;
}

}  // namespace khop::load
