// SPDX-License-Identifier: MIT
#include "tool/load/fill.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tool/load/ranges.h"
#include "tool/load/session.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

std::string DigestName(handoff::DigestKind kind) {
  switch (kind) {
    case handoff::DigestKind::kSha256:
      return "sha256";
    case handoff::DigestKind::kCrc32c:
      return "crc32c";
    case handoff::DigestKind::kNone:
      break;
  }
  return "none";
}

constexpr const char* kEarly = "early";

std::string HexText(std::span<const std::byte> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<size_t>(byte >> 4)];
    text += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

}  // namespace

Digests Digests::Of(PieceDigester& digester, handoff::DigestKind kind, const Progress& progress) {
  Digests all;
  for (const auto& [range, digests] : digester.Finish(progress)) all.Append(range, digests, kind);
  return all;
}

void Digests::Append(const Digests& more, handoff::DigestKind kind) {
  if (kind == handoff::DigestKind::kNone) return;
  const auto there = static_cast<uint32_t>(bytes.size() / handoff::DigestSize(kind));
  for (handoff::VerifyRange range : more.verify) {
    range.first_digest += there;
    verify.push_back(range);
  }
  bytes.insert(bytes.end(), more.bytes.begin(), more.bytes.end());
  verified.insert(verified.end(), more.verified.begin(), more.verified.end());
}

void Digests::Append(PhysRange range, const std::vector<std::byte>& pieces,
                     handoff::DigestKind kind) {
  const uint32_t digest_size = handoff::DigestSize(kind);
  verify.push_back(
      {range.start.value, range.size, static_cast<uint32_t>(bytes.size() / digest_size), 0});
  Verified entry{range.start.value, range.size, {}};
  for (size_t at = 0; at < pieces.size(); at += digest_size) {
    entry.digests.push_back(HexText(std::span(pieces).subspan(at, digest_size)));
  }
  verified.push_back(std::move(entry));
  bytes.insert(bytes.end(), pieces.begin(), pieces.end());
}

void Digests::Add(PhysAddr start, std::span<const std::byte> contents, handoff::DigestKind kind,
                  digest::DigestFeatures features) {
  if (kind == handoff::DigestKind::kNone || contents.empty()) return;
  Append({start, contents.size()}, DigestPieces(contents, kind, features), kind);
}

plan::Hop Filled::Complete(plan::Hop hop) const {
  hop.dtb_size = static_cast<uint32_t>(tree.bytes.size());
  hop.timeline_offset = tree.timeline_offset;
  hop.verify = digests.verify;
  hop.digests = digests.bytes;
  return hop;
}

report::Plan MakePlan(const Prepared& prepared, const LoadOptions& options) {
  report::Plan plan;
  plan.route = prepared.tree_options.route;
  plan.kernel = {prepared.kernel.path, prepared.kernel.size};
  plan.kernel_format = prepared.contents.Format();
  plan.kernel_version = prepared.kernel_version;
  plan.kernel_image_size = prepared.header.image_size;
  plan.kernel_page_size = prepared.header.page_size;
  for (const SourceFile& initrd : prepared.initrds) {
    plan.initrds.push_back({initrd.path, initrd.size});
  }
  plan.command_line = prepared.tree_options.command_line;
  plan.dtb_source = prepared.dtb_source;
  plan.digest = options.early ? kEarly : DigestName(options.digest);
  plan.console = prepared.console;
  plan.failure_record = prepared.failure_record;
  plan.conduit = prepared.last_words.conduit == relocator::PsciConduit::kSmc ? "smc" : "hvc";
  const uint64_t payload = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  if (options.digest != handoff::DigestKind::kNone) plan.bytes_to_verify = payload;
  if (options.early) {
    plan.notes.emplace_back(
        "verified by all CPUs at khop exec --now; the relocator does it where that was not done");
  }
  plan.mmu = options.mmu == MmuMode::kOff ? "off" : "on";
  plan.mmu_reason = options.mmu == MmuMode::kAuto ? "the page tables fit" : "asked for";
  plan.refused = prepared.refused;
  plan.notes = prepared.notes;
  return plan;
}

void AddSegments(const Prepared& prepared, const Placed& placed, uint64_t dtb_size,
                 report::Plan& plan) {
  plan.entry = placed.image.value;
  plan.segments = {{"kernel", placed.image.value, prepared.header.image_size, prepared.kernel.size},
                   {"dtb", placed.dtb.value, dtb_size, 0}};
  if (prepared.initrd_size != 0) {
    const uint64_t from_files = prepared.made_initrd.empty() ? prepared.initrd_size : 0;
    plan.segments.push_back({"initrd", placed.initrd.value, prepared.initrd_size, from_files});
  }
  if (placed.stamp.value != 0) {
    plan.segments.push_back({"stamp", placed.stamp.value, sizeof(uint64_t), 0});
  }
  std::ranges::sort(plan.segments, {}, &report::Segment::start);
}

void AddControl(const Placed& placed, const plan::ControlAreaLayout& layout, report::Plan& plan) {
  plan.control = {.start = placed.control.start.value,
                  .size = placed.control.size,
                  .blob_bytes = layout.stack - layout.blob,
                  .stack_bytes = layout.handoff - layout.stack,
                  .handoff_bytes = layout.tables - layout.handoff,
                  .table_bytes = layout.table_bytes};
  plan.mmu = placed.mmu ? "on" : "off";
  plan.moves = placed.moves.size();
}

Loaded Describe(const Prepared& prepared, const LoadOptions& options, const ArenaRecord& arena,
                const Placed& placed, const ControlArea& control, Filled filled) {
  Loaded loaded{.plan = MakePlan(prepared, options),
                .loaded_at = Utc(prepared.last_words.loaded_at),
                .arena = arena,
                .stamp = placed.stamp.value,
                .digest_kind = options.digest,
                .verified = std::move(filled.digests.verified),
                .mmu = options.mmu,
                .taken = {},
                .bounds = prepared.bounds};
  report::Plan& plan = loaded.plan;
  if (!filled.kernel_version.empty()) plan.kernel_version = std::move(filled.kernel_version);
  plan.addresses = "loaded";
  AddSegments(prepared, placed, filled.tree.bytes.size(), plan);
  plan.dtb_changes = std::move(filled.tree.changes);
  for (const LentPages& pages : loaded.arena.Pages()) {
    plan.arena.push_back({pages.page_size, pages.count});
  }
  AddControl(placed, control.layout, plan);
  return loaded;
}

Result<Filled> Fill(System& system, const LoadOptions& options, const Prepared& prepared,
                    const Arena& arena, const Placed& placed, const Progress& progress) {
  // The next kernel starts with caches off: all that is held has to be in memory, BSS included.
  // What has been read is cleaned, and digested, while the rest is being read or unpacked. The
  // kernel's BSS is not verified: the kernel clears it itself before it reads it.
  PieceDigester digester(system, arena, options.digest);
  Ranges clean;
  const auto ready = [&](PhysAddr end, std::span<const std::byte> bytes) {
    system.CleanToPoc(bytes.data(), bytes.size());
    clean.push_back({PhysAddr{end.value - bytes.size()}, bytes.size()});
    digester.Ready(end);
  };
  image::VersionScan version;
  const auto kernel_ready = [&](PhysAddr end, std::span<const std::byte> bytes) {
    ready(end, bytes);
    if (prepared.kernel_version.empty()) version.Add(bytes);
  };
  // The rest of the pages stays as the kernel gave them, zeroed: the BSS too.
  progress((prepared.kernel.recipe.codec == image::Codec::kNone ? "reading" : "unpacking") +
           std::string(" the kernel to ") + Hex(placed.image.value));
  digester.Begin({placed.image, prepared.kernel.size});
  if (const auto read =
          Stream(system, prepared.kernel, arena, placed.image, kernel_ready, progress);
      !read) {
    return Forward(read);
  }
  const PhysRange whole_initrd{placed.initrd, prepared.initrd_size};
  digester.Begin(whole_initrd);
  uint64_t initrd_end = 0;
  for (const SourceFile& initrd : prepared.initrds) {
    initrd_end = AlignUp(initrd_end, kInitrdAlignment);
    progress("reading the initrd " + initrd.path + " to " +
             Hex((placed.initrd + initrd_end).value));
    const PhysAddr to = placed.initrd + initrd_end;
    if (const auto read = Stream(system, initrd, arena, to, ready, progress); !read) {
      return Forward(read);
    }
    initrd_end += initrd.size;
  }
  if (!prepared.made_initrd.empty()) {
    WriteTo(arena, placed.initrd, std::as_bytes(std::span(prepared.made_initrd)));
  }
  digester.Ready(whole_initrd.end());
  devicetree::NextTreeOptions tree_options = prepared.tree_options;
  if (prepared.initrd_size != 0) {
    tree_options.initrd = PhysRange{placed.initrd, prepared.initrd_size};
  }
  auto tree = devicetree::BuildNextTree(*prepared.tree, tree_options);
  if (!tree) return Forward(tree);
  if (tree->bytes.size() != prepared.sizes.dtb_size) {
    return Fail(ExitCode::kInternal, "the next device tree", "its size depends on addresses");
  }
  const PhysRange dtb{placed.dtb, tree->bytes.size()};
  WriteTo(arena, dtb.start, tree->bytes);

  progress("digesting " + HumanBytes(prepared.kernel.size + prepared.initrd_size));
  digester.Add(dtb);
  Digests digests = Digests::Of(digester, options.digest, progress);
  progress("cleaning the caches");
  arena.CleanToPoc(Joined(std::move(clean)));
  return Filled{*std::move(tree), std::move(digests), version.version()};
}

Result<uint64_t> CheckBeforeTaking(System& system, const Session& session, uint64_t needed) {
  const auto available = system::MemAvailable(system);
  if (!available) return Forward(available);
  if (const auto shm = system::CheckSharedMemory(system, needed); !shm) return Forward(shm);
  if (needed > *available) {
    return Fail(ExitCode::kNoMemory, "memory for the next kernel",
                HumanBytes(needed) + " are needed and " + HumanBytes(*available) + " are available",
                "free memory");
  }
  if (CountSegments(system, session.FreeSlot()) != 0) {
    return Fail(ExitCode::kBadState, "khop's shared memory",
                "it is there, but no state says what it is", "run khop unload");
  }
  return *available;
}

}  // namespace khop::load
