// SPDX-License-Identifier: MIT
// The reserved route: the payload is loaded into the memory that crashkernel= reserved, as a crash
// image, which puts it there at once. A default image of one control area jumps into it.
#include "tool/load/reserved.h"

#include <algorithm>
#include <cstring>

#include "tool/load/crash.h"
#include "tool/load/fill.h"
#include "tool/load/forecast.h"
#include "tool/load/routes.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::KexecSegment;
using system::kHugePageSize;
using system::System;

namespace {

// What a panic would enter in the moment for which the payload alone is loaded as a crash image: a
// relocator without a hand-off, which says so and resets. Code only: the rest is zero.
struct DeadEnd {
  std::vector<std::byte> bytes;
  uint64_t size = 0;
};

DeadEnd MakeDeadEnd(std::span<const std::byte> blob, const relocator::LastWords& words,
                    uint64_t granule) {
  DeadEnd end;
  end.bytes.assign(blob.begin(), blob.end());
  relocator::BlobHeader header;
  memcpy(&header, blob.data(), sizeof(header));
  header.parameters.last_words = words;
  header.parameters.last_words.check = relocator::LastWordsCheck(words);
  header.parameters.stack_offset = AlignUp(blob.size(), granule);
  header.parameters.stack_size = relocator::kMinStackSize;
  header.parameters.handoff_offset =
      header.parameters.stack_offset + AlignUp(relocator::kMinStackSize, granule);
  memcpy(end.bytes.data(), &header, sizeof(header));
  end.size = header.parameters.handoff_offset + granule;
  return end;
}

// Of what the reserved route would start now: it stays until it is replaced.
Ranges PayloadOf(const State& state, uint64_t granule) {
  Ranges ranges;
  if (!state.current || state.current->plan.route != kReservedRoute) return ranges;
  for (const report::Segment& segment : state.current->plan.segments) {
    if (segment.name == "stamp") continue;
    ranges.push_back(
        {PhysAddr{segment.start}, AlignUp(std::max(segment.size, segment.file_bytes), granule)});
  }
  return Joined(std::move(ranges));
}

// `held`: whole pages outside the reservation, so that the relocator runs, and notices, whatever
// another tool does to that.
Placed Place(const PayloadPlaces& places, const PhysRange& held, const Prepared& prepared,
             const LoadOptions& options, uint64_t granule) {
  const uint64_t control_size = AlignUp(prepared.sizes.control_size, granule);
  Placed placed{.image = places.image,
                .initrd = places.initrd,
                .dtb = places.dtb,
                .stamp = held.start + control_size,
                .control = {held.start, control_size},
                .arena = {},
                .moves = {},
                .window = {},
                .mmu = options.mmu != MmuMode::kOff};
  Ranges destinations = PayloadRanges(places, prepared.sizes, prepared.kernel.size, granule);
  destinations.push_back(held);
  placed.arena = ArenaRanges(std::move(destinations), placed.control);
  return placed;
}

// Of pages of 2 MiB, for the control area and the stamp.
uint64_t HeldPages(const Prepared& prepared, uint64_t granule) {
  return (AlignUp(prepared.sizes.control_size, granule) + granule + kHugePageSize - 1) /
         kHugePageSize;
}

std::unexpected<Failure> TooSmall(const Reservation& reservation, const Prepared& prepared,
                                  bool beside_another) {
  const auto& sizes = prepared.sizes;
  const uint64_t needed =
      std::max(sizes.image_size, prepared.kernel.size) + sizes.initrd_size + sizes.dtb_size;
  const bool bounded = !prepared.bounds.Contains(reservation.images);
  return Fail(ExitCode::kReservationTooSmall, "the crash reservation",
              "of its " + HumanBytes(reservation.images.size) + " there is no place " +
                  (bounded ? "between --mem-min and --mem-max " : "") + "for the payload's " +
                  HumanBytes(needed) + (beside_another ? " beside the kernel that is loaded" : ""),
              beside_another ? "khop unload first" : "boot with a larger crashkernel=");
}

// What a load is refused for before it looks for room.
Result<void> CheckLoad(System& system, const LoadOptions& options, const Prepared& prepared,
                       const State& state) {
  if (const auto free = CheckCrashSlot(system, state); !free) return free;
  if (!IsAligned(prepared.sizes.text_offset, system.PageSize())) {
    return Fail(ExitCode::kNoRoute, "the kernel", "its text_offset is no multiple of a page",
                "take --route in-place");
  }
  const auto crash_loaded = system::CrashLoaded(system);
  if (!crash_loaded) return Forward(crash_loaded);
  // A load, and an unload if there is no crash kernel to stay.
  return system::CheckCrashLoadAllowed(system, options.crash_kernel || *crash_loaded ? 1 : 2);
}

// The state as far as it can be seen; `plan` gets a note where that is not enough.
Result<State> StateForPlan(System& system, report::Plan& plan) {
  auto state = LookAtState(system);
  if (state || state.error().code == ExitCode::kBadState) return state;
  if (system::CrashLoaded(system).value_or(false)) {
    plan.notes.emplace_back(
        "a crash kernel is loaded, and only root may see whose it is: if it is not khop's, the "
        "load does not take this route");
    State unknown;
    unknown.crash.emplace();
    return unknown;
  }
  return State{};
}

}  // namespace

Result<void> PlanReserved(System& system, const LoadOptions& options, const Prepared& prepared,
                          report::Plan& plan) {
  const uint64_t granule = system.PageSize();
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  const auto reservation = FindReservation(*map);
  if (!reservation) return Forward(reservation);
  const auto state = StateForPlan(system, plan);
  if (!state) return Forward(state);
  if (const auto can = CheckLoad(system, options, prepared, *state); !can) return can;
  Room room(reservation->images, granule);
  const Ranges current = PayloadOf(*state, granule);
  room.Withhold(current);
  const auto places = TakePayload(room, prepared.sizes, prepared.kernel.size, prepared.bounds);
  if (!places) return TooSmall(*reservation, prepared, !current.empty());
  plan.route_reason = "crashkernel= reserved " + HumanBytes(reservation->images.size) + " at " +
                      Hex(reservation->images.start.value);
  plan.bytes_in_place = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  if (options.crash_kernel) {
    plan.notes.emplace_back("whether the crash kernel has room beside it is seen at the load");
  }
  const uint64_t pages = HeldPages(prepared, granule);
  const auto held = ForecastHugePages(system, prepared, pages, plan);
  if (!held) return {};
  const PhysRange control{*held, pages * kHugePageSize};
  return AddForecast(system, options, prepared, Place(*places, control, prepared, options, granule),
                     plan);
}

Result<report::Plan> LoadReserved(System& system, Session& session, const LoadOptions& options,
                                  const Prepared& prepared, const Progress& progress) {
  const uint64_t granule = system.PageSize();
  const State& state = session.state();
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  const auto reservation = FindReservation(*map);
  if (!reservation) return Forward(reservation);
  if (const auto can = CheckLoad(system, options, prepared, state); !can) return Forward(can);

  // The capture kernel that stays: the one given, or the one that khop has loaded.
  std::optional<LoadOptions> capture_options;
  if (options.crash_kernel) {
    capture_options = *options.crash_kernel;
    capture_options->blob = options.blob;
  }
  const auto crash_loaded = system::CrashLoaded(system);
  if (!crash_loaded) return Forward(crash_loaded);
  if (!capture_options && *crash_loaded) {
    capture_options = CaptureOptions(*state.crash, options.blob);
  }

  Room room(reservation->images, granule);
  const Ranges current = PayloadOf(state, granule);
  room.Withhold(current);
  const auto places = TakePayload(room, prepared.sizes, prepared.kernel.size, prepared.bounds);
  if (!places) return TooSmall(*reservation, prepared, !current.empty());
  std::optional<Capture> capture;
  if (capture_options) {
    auto ready = Capture::Prepare(system, *reservation, *capture_options);
    if (!ready) return Forward(ready);
    if (const auto placed = ready->Place(room, *reservation); !placed) return Forward(placed);
    capture.emplace(*std::move(ready));
  }
  const DeadEnd end = MakeDeadEnd(options.blob, prepared.last_words, granule);
  const auto guard = room.Take({.size = end.size, .alignment = granule}, reservation->images);
  if (!guard) return TooSmall(*reservation, prepared, !current.empty());

  const uint64_t pages = HeldPages(prepared, granule);
  const auto available = CheckBeforeTaking(system, session, pages * kHugePageSize);
  if (!available) return Forward(available);
  const int slot = session.FreeSlot();
  const std::vector<uint64_t> run_pages = {pages};
  progress("taking " + HumanBytes(pages * kHugePageSize) + " for the relocator");
  auto arena =
      Arena::Create(system, prepared.map,
                    {.slot = slot,
                     .run_pages = run_pages,
                     .forbidden = prepared.forbidden,
                     .transient_limit = *available / 2},
                    [&](const PoolRecords& pools) { return session.BeginBuild(slot, pools); });
  if (!arena) return Forward(arena);
  const PhysRange held{arena->runs().front(), pages * kHugePageSize};
  const Placed placed = Place(*places, held, prepared, options, granule);

  const Arena staged = Arena::Stage(system, FileRanges(prepared, placed));
  auto filled = Fill(system, options, prepared, staged, placed, progress);
  if (!filled) return Forward(filled);
  plan::Hop hop = filled->Complete(MakeHop(system, prepared, options));
  const auto digests = std::move(filled->digests.bytes);
  const auto verify = std::move(filled->digests.verify);
  hop.digests = digests;
  hop.verify = verify;
  const auto control = BuildControl(hop, options.blob, placed);
  if (!control) return Forward(control);
  if (capture) {
    progress("the crash kernel:");
    if (const auto done = capture->Fill(system, progress); !done) return Forward(done);
  }
  Loaded loaded =
      Describe(prepared, options, arena->record(), placed, *control, *std::move(filled));
  report::Plan& plan = loaded.plan;
  plan.bytes_in_place = prepared.kernel.size + prepared.initrd_size + prepared.sizes.dtb_size;
  plan.route_reason = "crashkernel= reserved " + HumanBytes(reservation->images.size) + " at " +
                      Hex(reservation->images.start.value);
  plan.notes.push_back(capture ? "a panic starts the crash kernel " + capture->loaded().kernel +
                                     ", never this one"
                               : "no crash kernel is loaded: a panic does what it did before");

  std::vector<KexecSegment> segments;
  AddPayloadSegments(prepared, placed, staged, granule, segments);
  PhysAddr entry = *guard;
  std::optional<CrashLoaded> crash;
  if (capture) {
    capture->AddSegments(segments);
    entry = capture->entry();
    crash = capture->loaded();
    crash->with_payload = true;
  } else {
    segments.push_back({.buffer = end.bytes, .destination = *guard, .size = end.size});
  }
  progress("copying the payload into the reservation");
  if (const auto done = session.LoadCrash(entry, segments, std::move(crash)); !done) {
    return Forward(done);
  }
  progress("handing the control area to the kernel");
  const auto committed = session.Commit(loaded, *control);
  if (session.committed()) arena->Keep();
  report::Plan done = plan;
  if (!committed) {
    if (!session.committed()) return Forward(committed);
    done.notes.push_back("loaded, but: " + committed.error().message);
  }
  return done;
}

Result<void> CheckReserved(System& system, const State& state) {
  const Loaded& loaded = *state.current;
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  for (const report::Segment& segment : loaded.plan.segments) {
    const PhysRange range{PhysAddr{segment.start}, segment.size};
    const auto covers = [&](const PhysRange& r) { return r.Contains(range); };
    if (segment.name != "stamp" && std::ranges::none_of(map->crash, covers)) {
      return Fail(ExitCode::kArenaGone, "the loaded kernel",
                  "the crash reservation does not cover it any more", "load it again");
    }
  }
  const auto crash_loaded = system::CrashLoaded(system);
  if (!crash_loaded) return Forward(crash_loaded);
  if (*crash_loaded != state.crash.has_value()) {
    return Fail(ExitCode::kForeignImage, "the loaded kernel",
                *crash_loaded ? "another tool has loaded a crash kernel, maybe over it"
                              : "another tool has unloaded the crash kernel that lies beside it",
                "load it again, or reboot plainly (khop unload, reboot)");
  }
  return {};
}

}  // namespace khop::load
