// SPDX-License-Identifier: MIT
#include "tool/load/crash.h"

#include <algorithm>
#include <array>

#include "tool/load/boot_entry.h"
#include "tool/load/elfcorehdr.h"
#include "tool/load/load.h"
#include "tool/load/routes.h"
#include "tool/load/session.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::KexecSegment;
using system::System;

namespace {

// Less than that beside its own image, and no kernel of today gets as far as its first process.
constexpr uint64_t kLeastToRunIn = uint64_t{32} << 20;

// What reserves memory for a capture kernel of its own.
constexpr std::array<std::string_view, 1> kCrashkernel = {"crashkernel="};

}  // namespace

Result<Capture> Capture::Prepare(System& system, const Reservation& reservation,
                                 const LoadOptions& options) {
  Capture capture;
  capture.options_ = options;
  capture.options_.route = Route::kAuto;
  capture.options_.early = false;  // nobody looks just before a panic
  capture.granule_ = system.PageSize();
  if (options.reuse_command_line) {
    LoadOptions bare = options;
    bare.append.clear();
    const auto line = CommandLine(system, bare);
    if (!line) return Forward(line);
    capture.options_.reuse_command_line = false;
    capture.options_.command_line = WithoutWords(*line, kCrashkernel);
  }
  auto prepared = load::Prepare(system, capture.options_);
  if (!prepared) return Forward(prepared);
  capture.prepared_ = *std::move(prepared);
  Prepared& ready = capture.prepared_;
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  const auto source = ReadDumpSource(system, *map);
  if (!source) return Forward(source);
  capture.core_header_ = BuildElfCoreHeader(*source);
  ready.notes.insert(ready.notes.end(), source->notes.begin(), source->notes.end());
  if (!IsAligned(ready.sizes.text_offset, capture.granule_)) {
    return Fail(ExitCode::kNoRoute, "the crash kernel",
                "its text_offset of " + Hex(ready.sizes.text_offset) + " is no multiple of a page",
                "take a kernel from 5.8 on");
  }
  auto& tree = ready.tree_options;
  tree.elf_core_header = PhysRange{reservation.images.start, capture.core_header_.size()};
  tree.usable_memory = reservation.all;
  if (auto sized = SetRoute(system, capture.options_, Route::kCrash, ready); !sized) {
    return Forward(sized);
  }
  // One more range to verify, with its digests.
  ready.sizes.control_size += 2 * capture.granule_;
  return capture;
}

uint64_t Capture::needed() const {
  const auto& sizes = prepared_.sizes;
  return std::max(sizes.image_size, prepared_.kernel.size) + sizes.initrd_size + sizes.dtb_size +
         sizes.control_size + core_header_.size();
}

Result<void> Capture::Place(Room& room, const Reservation& reservation) {
  const PhysRange all = reservation.images;
  const auto payload = TakePayload(room, prepared_.sizes, prepared_.kernel.size, all);
  const auto header = room.Take({.size = core_header_.size(), .alignment = granule_}, all);
  const auto control =
      room.Take({.size = prepared_.sizes.control_size, .alignment = granule_}, all);
  if (!payload || !header || !control) {
    return Fail(ExitCode::kReservationTooSmall, "the crash reservation",
                "its " + HumanBytes(all.size) + " have no room for the crash kernel's " +
                    HumanBytes(needed()) + " beside what is to lie there",
                "boot with a larger crashkernel=");
  }
  const uint64_t usable = TotalSize(reservation.all);
  if (usable < needed() + kLeastToRunIn) {
    return Fail(ExitCode::kCrashNoRoom, "the crash reservation",
                "of its " + HumanBytes(usable) + " the crash kernel would have no " +
                    HumanBytes(kLeastToRunIn) + " to run in",
                "boot with a larger crashkernel=");
  }
  placed_.image = payload->image;
  placed_.initrd = payload->initrd;
  placed_.dtb = payload->dtb;
  placed_.control = {*control, AlignUp(prepared_.sizes.control_size, granule_)};
  header_place_ = {*header, core_header_.size()};
  Ranges held = PayloadRanges(*payload, prepared_.sizes, prepared_.kernel.size, granule_);
  held.push_back({*header, AlignUp(core_header_.size(), granule_)});
  placed_.arena = ArenaRanges(std::move(held), placed_.control);
  placed_.mmu = options_.mmu != MmuMode::kOff;
  prepared_.tree_options.elf_core_header = header_place_;
  return {};
}

Result<void> Capture::Fill(System& system, const Progress& progress) {
  std::vector<PhysRange> staged = FileRanges(prepared_, placed_);
  staged.push_back(header_place_);
  staged_.emplace(Arena::Stage(system, staged));
  auto filled = load::Fill(system, options_, prepared_, *staged_, placed_, progress);
  if (!filled) return Forward(filled);
  WriteTo(*staged_, header_place_.start, core_header_);
  PieceDigester digester(system, *staged_, options_.digest);
  digester.Add(header_place_);
  filled->digests.Append(Digests::Of(digester, options_.digest), options_.digest);
  const plan::Hop hop = filled->Complete(MakeHop(system, prepared_, options_));
  auto control = BuildControl(hop, options_.blob, placed_);
  if (!control) return Forward(control);
  control_ = *std::move(control);
  placed_.control.size = control_.bytes.size();
  Loaded described =
      Describe(prepared_, options_, staged_->record(), placed_, control_, *std::move(filled));
  report::Plan& plan = described.plan;
  std::erase_if(plan.segments, [](const report::Segment& s) { return s.name == "stamp"; });
  plan.segments.push_back({"elfcorehdr", header_place_.start.value, core_header_.size(), 0});
  std::ranges::sort(plan.segments, {}, &report::Segment::start);
  plan.arena.clear();
  plan.route_reason = "started by a panic, out of the crash reservation";
  plan.bytes_in_place = prepared_.kernel.size + prepared_.initrd_size + prepared_.sizes.dtb_size;
  loaded_ = {.plan = plan,
             .loaded_at = described.loaded_at,
             .kernel = options_.kernel,
             .configuration = options_.configuration,
             .initrds = options_.initrds,
             .command_line = prepared_.tree_options.command_line,
             .dtb = options_.dtb.value_or(""),
             .dtbos = options_.dtbos,
             .digest_kind = options_.digest,
             .with_payload = false};
  return {};
}

void Capture::AddSegments(std::vector<KexecSegment>& segments) const {
  AddPayloadSegments(prepared_, placed_, *staged_, granule_, segments);
  segments.push_back({.buffer = staged_->At(header_place_),
                      .destination = header_place_.start,
                      .size = AlignUp(header_place_.size, granule_)});
  segments.push_back({.buffer = control_.bytes,
                      .destination = placed_.control.start,
                      .size = placed_.control.size});
}

std::vector<PhysRange> FileRanges(const Prepared& prepared, const Placed& placed) {
  std::vector<PhysRange> ranges = {{placed.image, prepared.kernel.size},
                                   {placed.dtb, prepared.sizes.dtb_size}};
  if (prepared.initrd_size != 0) ranges.push_back({placed.initrd, prepared.initrd_size});
  return ranges;
}

void AddPayloadSegments(const Prepared& prepared, const Placed& placed, const Arena& staged,
                        uint64_t granule, std::vector<KexecSegment>& segments) {
  for (const PhysRange& file : FileRanges(prepared, placed)) {
    const bool kernel = file.start == placed.image;
    const uint64_t size = kernel ? std::max(prepared.header.image_size, file.size) : file.size;
    segments.push_back({.buffer = staged.Staged(file.start),
                        .destination = file.start,
                        .size = AlignUp(size, granule)});
  }
}

LoadOptions CaptureOptions(const CrashLoaded& loaded, std::span<const std::byte> blob) {
  LoadOptions options;
  options.kernel = loaded.kernel;
  options.configuration = loaded.configuration;
  options.initrds = loaded.initrds;
  options.command_line = loaded.command_line;
  if (!loaded.dtb.empty()) options.dtb = loaded.dtb;
  options.dtbos = loaded.dtbos;
  options.digest = loaded.digest_kind;
  options.blob = blob;
  return options;
}

Result<report::Plan> LoadCrash(System& system, const LoadOptions& asked, const Progress& progress) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  if (const auto allowed = system::CheckCrashLoadAllowed(system, 1); !allowed) {
    return Forward(allowed);
  }
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return Forward(recovered);
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  const auto reservation = FindReservation(*map);
  if (!reservation) return Forward(reservation);
  const State& state = session->state();
  if (const auto free = CheckCrashSlot(system, state); !free) return Forward(free);
  if (state.current && state.current->plan.route == "reserved") {
    return Fail(ExitCode::kCrashSlotTaken, "the crash reservation",
                "the kernel that khop exec would start lies there",
                "load both at once (--route reserved --crash-kernel), or khop unload first");
  }
  std::vector<std::string> notes;
  const auto options = ResolveKernel(system, asked, notes);
  if (!options) return Forward(options);
  auto capture = Capture::Prepare(system, *reservation, *options);
  if (!capture) return Forward(capture);
  Room room(reservation->images, system.PageSize());
  if (const auto placed = capture->Place(room, *reservation); !placed) return Forward(placed);
  if (const auto filled = capture->Fill(system, progress); !filled) return Forward(filled);
  std::vector<KexecSegment> segments;
  capture->AddSegments(segments);
  progress("handing the crash kernel to the kernel");
  if (const auto done = session->LoadCrash(capture->entry(), segments, capture->loaded()); !done) {
    return Forward(done);
  }
  report::Plan plan = capture->loaded().plan;
  plan.notes.insert(plan.notes.begin(), notes.begin(), notes.end());
  return plan;
}

Result<bool> UnloadCrash(System& system) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  if (const auto allowed = system::CheckCrashLoadAllowed(system, 1); !allowed) {
    return Forward(allowed);
  }
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  return session->UnloadCrash();
}

}  // namespace khop::load
