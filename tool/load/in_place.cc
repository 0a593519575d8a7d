// SPDX-License-Identifier: MIT
// The in-place route: the payload is read to where it will run, so nothing of it is ever copied.
#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include "tool/load/load.h"
#include "tool/load/session.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::kHugePageSize;
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

std::string NowUtc() {
  const std::time_t seconds = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> text;
  const size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text.data(), size};
}

std::string HexText(std::span<const std::byte> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<size_t>(byte >> 4)];
    text += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

Placed Place(const Shape& shape, const PayloadSizes& sizes, uint64_t granule,
             const std::vector<PhysAddr>& runs) {
  const auto at = [&](const Spot& spot) { return runs[spot.run] + spot.offset; };
  Placed placed{.image = at(shape.image),
                .initrd = at(shape.initrd),
                .dtb = at(shape.dtb),
                .stamp = at(shape.stamp),
                .control = {at(shape.control), AlignUp(sizes.control_size, granule)},
                .held = {}};
  for (size_t i = 0; i < runs.size(); ++i) {
    placed.held.push_back({runs[i], shape.run_pages[i] * kHugePageSize});
  }
  return placed;
}

// Ranges to verify, with their digests, for the hand-off and for the state.
class Digests {
 public:
  Digests(const Arena& arena, handoff::DigestKind kind, digest::DigestFeatures features)
      : arena_(arena), kind_(kind), features_(features) {}

  Result<void> Add(PhysRange range) {
    const uint32_t digest_size = handoff::DigestSize(kind_);
    if (digest_size == 0 || range.empty()) return {};
    const auto pieces = DigestPieces(arena_, range, kind_, features_);
    if (!pieces) return Forward(pieces);
    verify.push_back(
        {range.start.value, range.size, static_cast<uint32_t>(bytes.size() / digest_size), 0});
    Verified entry{range.start.value, range.size, {}};
    for (size_t at = 0; at < pieces->size(); at += digest_size) {
      entry.digests.push_back(HexText(std::span(*pieces).subspan(at, digest_size)));
    }
    verified.push_back(std::move(entry));
    bytes.insert(bytes.end(), pieces->begin(), pieces->end());
    return {};
  }

  std::vector<handoff::VerifyRange> verify;
  std::vector<std::byte> bytes;
  std::vector<Verified> verified;

 private:
  const Arena& arena_;
  handoff::DigestKind kind_;
  digest::DigestFeatures features_;
};

report::Plan MakePlan(const Prepared& prepared, const LoadOptions& options) {
  report::Plan plan;
  plan.route = "in-place";
  plan.kernel = {prepared.kernel.path, prepared.kernel.size};
  plan.kernel_format = "Image";
  plan.kernel_version = prepared.kernel_version;
  plan.kernel_image_size = prepared.header.image_size;
  plan.kernel_page_size = prepared.header.page_size;
  for (const SourceFile& initrd : prepared.initrds) {
    plan.initrds.push_back({initrd.path, initrd.size});
  }
  plan.command_line = prepared.tree_options.command_line;
  plan.dtb_source = prepared.dtb_source;
  plan.arena = {{kHugePageSize, prepared.shape.pages()}};
  plan.digest = DigestName(options.digest);
  plan.console = prepared.console;
  plan.conduit = prepared.last_words.conduit == relocator::PsciConduit::kSmc ? "smc" : "hvc";
  plan.bytes_in_place = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  if (options.digest != handoff::DigestKind::kNone) plan.bytes_to_verify = plan.bytes_in_place;
  plan.notes = prepared.notes;
  return plan;
}

void AddAddresses(const Prepared& prepared, const Placed& placed, const ControlArea& control,
                  const devicetree::NextTree& tree, report::Plan& plan) {
  plan.entry = placed.image.value;
  plan.segments = {{"kernel", placed.image.value, prepared.header.image_size, prepared.kernel.size},
                   {"dtb", placed.dtb.value, tree.bytes.size(), 0}};
  if (prepared.initrd_size != 0) {
    plan.segments.push_back(
        {"initrd", placed.initrd.value, prepared.initrd_size, prepared.initrd_size});
  }
  plan.segments.push_back({"stamp", placed.stamp.value, sizeof(uint64_t), 0});
  std::ranges::sort(plan.segments, {}, &report::Segment::start);
  const plan::ControlAreaLayout& layout = control.layout;
  plan.control = {.start = placed.control.start.value,
                  .size = placed.control.size,
                  .blob_bytes = layout.stack - layout.blob,
                  .stack_bytes = layout.handoff - layout.stack,
                  .handoff_bytes = layout.tables - layout.handoff,
                  .table_bytes = layout.table_bytes};
  plan.dtb_changes = tree.changes;
  std::string runs;
  for (const PhysRange& run : placed.held) {
    runs += (runs.empty() ? "" : ", ") + std::to_string(run.size / kHugePageSize);
  }
  plan.route_reason = "contiguous runs of 2 MiB pages could be had: " + runs;
}

// Reads everything into the arena and describes it; the kernel knows nothing of it yet.
Result<Loaded> Fill(System& system, const LoadOptions& options, const Prepared& prepared,
                    const Arena& arena, const Progress& progress, ControlArea* control) {
  const Placed placed = Place(prepared.shape, prepared.sizes, system.PageSize(), arena.runs());
  // The rest of the pages stays as the kernel gave them, zeroed: the BSS too.
  progress("reading the kernel to " + Hex(placed.image.value));
  if (const auto read = Stream(system, prepared.kernel, arena, placed.image); !read) {
    return Forward(read);
  }
  uint64_t initrd_end = 0;
  for (const SourceFile& initrd : prepared.initrds) {
    initrd_end = AlignUp(initrd_end, kInitrdAlignment);
    progress("reading the initrd " + initrd.path + " to " +
             Hex((placed.initrd + initrd_end).value));
    if (const auto read = Stream(system, initrd, arena, placed.initrd + initrd_end); !read) {
      return Forward(read);
    }
    initrd_end += initrd.size;
  }
  devicetree::NextTreeOptions tree_options = prepared.tree_options;
  if (prepared.initrd_size != 0) {
    tree_options.initrd = PhysRange{placed.initrd, prepared.initrd_size};
  }
  const auto tree = devicetree::BuildNextTree(*prepared.tree, tree_options);
  if (!tree) return Forward(tree);
  if (tree->bytes.size() != prepared.sizes.dtb_size) {
    return Fail(ExitCode::kInternal, "the next device tree", "its size depends on addresses");
  }
  const PhysRange dtb{placed.dtb, tree->bytes.size()};
  memcpy(arena.At(dtb).data(), tree->bytes.data(), tree->bytes.size());

  // The kernel's BSS is not verified: the kernel clears it itself before it reads it.
  progress("digesting " + HumanBytes(prepared.kernel.size + prepared.initrd_size));
  Digests digests(arena, options.digest, digest::DigestFeatures::FromHwcap(system.Hwcap()));
  for (const PhysRange range : {PhysRange{placed.image, prepared.kernel.size},
                                PhysRange{placed.initrd, prepared.initrd_size}, dtb}) {
    if (const auto added = digests.Add(range); !added) return Forward(added);
  }
  // The next kernel starts with caches off: all that is held has to be in memory, BSS included.
  progress("cleaning the caches");
  arena.CleanToPoc();
  auto built = BuildControl(system, prepared, options, placed, static_cast<uint32_t>(dtb.size),
                            tree->timeline_offset, digests.verify, digests.bytes);
  if (!built) return Forward(built);
  *control = *std::move(built);
  Loaded loaded{.plan = MakePlan(prepared, options),
                .loaded_at = NowUtc(),
                .arena = arena.record(),
                .stamp = placed.stamp.value,
                .digest_kind = options.digest,
                .verified = std::move(digests.verified)};
  AddAddresses(prepared, placed, *control, *tree, loaded.plan);
  return loaded;
}

Result<report::Plan> Build(System& system, Session& session, const LoadOptions& options,
                           const Prepared& prepared, const Progress& progress) {
  const auto available = system::MemAvailable(system);
  if (!available) return Forward(available);
  const uint64_t needed = prepared.shape.pages() * kHugePageSize;
  if (const auto shm = system::CheckSharedMemory(system, needed); !shm) return Forward(shm);
  if (needed > *available) {
    return Fail(ExitCode::kNoMemory, "memory for the next kernel",
                HumanBytes(needed) + " are needed and " + HumanBytes(*available) + " are available",
                "free memory");
  }
  const int slot = session.FreeSlot();
  if (CountSegments(system, slot) != 0) {
    return Fail(ExitCode::kBadState, "khop's shared memory",
                "it is there, but no state says what it is", "run khop unload");
  }
  progress("taking " + HumanBytes(needed) + " of 2 MiB pages");
  auto arena =
      Arena::Create(system, prepared.map,
                    {.slot = slot,
                     .run_pages = prepared.shape.run_pages,
                     .forbidden = prepared.forbidden,
                     .transient_limit = *available / 2},
                    [&](const PoolRecord& pool) { return session.BeginBuild(slot, pool); });
  if (!arena) return Forward(arena);
  ControlArea control;
  auto loaded = Fill(system, options, prepared, *arena, progress, &control);
  if (!loaded) return Forward(loaded);
  report::Plan plan = loaded->plan;
  progress("handing the control area to the kernel");
  const auto committed = session.Commit(*std::move(loaded), control);
  if (session.committed()) arena->Keep();
  if (!committed) {
    if (!session.committed()) return Forward(committed);
    plan.notes.push_back("loaded, but: " + committed.error().message);
  }
  return plan;
}

}  // namespace

Result<report::Plan> Load(System& system, const LoadOptions& options, const Progress& progress) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return Forward(recovered);
  const auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  auto plan = Build(system, *session, options, *prepared, progress);
  // The arena is gone by now; the journal goes last.
  if (!plan && session->state().pending) (void)session->CancelBuild();
  return plan;
}

Result<report::Plan> PlanLoad(System& system, const LoadOptions& options) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  const auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  const uint64_t needed = prepared->shape.pages() * kHugePageSize;
  if (const auto shm = system::CheckSharedMemory(system, needed); !shm) return Forward(shm);
  report::Plan plan = MakePlan(*prepared, options);
  plan.route_reason = "2 MiB pages of " + HumanBytes(needed) + " would be asked for";
  plan.notes.emplace_back("a dry run: no memory was taken, so no physical address is known");
  return plan;
}

}  // namespace khop::load
