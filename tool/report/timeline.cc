// SPDX-License-Identifier: MIT
#include "tool/report/timeline.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/handoff/handoff.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

using handoff::TimelineSlot;

constexpr uint64_t kGiga = 1'000'000'000;
constexpr uint64_t kMaxFrequency = 10 * kGiga;  // Arm ARM: 1 GHz from Armv8.6 on; never near this

// SCTLR_ELx (Arm ARM D19.2): the same bits at EL1 and EL2.
constexpr uint64_t kSctlrM = uint64_t{1} << 0;
constexpr uint64_t kSctlrC = uint64_t{1} << 2;
constexpr uint64_t kSctlrI = uint64_t{1} << 12;

using Slots = std::array<uint64_t, static_cast<size_t>(TimelineSlot::kCount)>;

uint64_t Get(const Slots& slots, TimelineSlot slot) { return slots[static_cast<size_t>(slot)]; }

// `frequency` is 1..kMaxFrequency, so the product below fits.
uint64_t ToNanoseconds(uint64_t ticks, uint64_t frequency) {
  const uint64_t seconds = ticks / frequency;
  if (seconds > ~uint64_t{0} / kGiga - 1) return ~uint64_t{0};
  return seconds * kGiga + ticks % frequency * kGiga / frequency;
}

uint64_t ToTicks(uint64_t nanoseconds, uint64_t frequency) {
  const uint64_t seconds = nanoseconds / kGiga;  // at most 1.8e10, so neither product overflows
  return seconds * frequency + nanoseconds % kGiga * frequency / kGiga;
}

std::string DigestName(uint64_t kind) {
  switch (static_cast<handoff::DigestKind>(kind)) {
    case handoff::DigestKind::kNone:
      return "none";
    case handoff::DigestKind::kSha256:
      return "sha256";
    case handoff::DigestKind::kCrc32c:
      return "crc32c";
  }
  return "unknown (" + std::to_string(kind) + ")";
}

void AddStep(Timeline& timeline, std::string_view name, std::string_view meaning, uint64_t start,
             uint64_t end) {
  if (start == 0 || end == 0) return;
  if (end < start) {
    timeline.notes.push_back("the counter ran backwards in \"" + std::string(name) +
                             "\", which is left out");
    return;
  }
  timeline.steps.push_back({.name = std::string(name),
                            .meaning = std::string(meaning),
                            .start = start,
                            .ticks = end - start,
                            .nanoseconds = ToNanoseconds(end - start, timeline.frequency)});
}

void AddNow(Timeline& timeline, const ClockSample& now) {
  if (timeline.jump == 0) return;
  if (now.counter < timeline.jump) {
    timeline.notes.emplace_back("the counter stands before the jump now: it was reset since");
    return;
  }
  timeline.since_jump = ToNanoseconds(now.counter - timeline.jump, timeline.frequency);
  if (now.suspended != 0) {
    timeline.notes.emplace_back(
        "the machine was suspended since: when this kernel's clock started is not known");
    return;
  }
  const uint64_t uptime = ToTicks(now.monotonic_raw, timeline.frequency);
  if (uptime > now.counter || now.counter - uptime < timeline.jump) {
    timeline.notes.emplace_back("this kernel's clock does not fit the counter, and is left out");
    return;
  }
  AddStep(timeline, "kernel-start", "next kernel until its clock starts", timeline.jump,
          now.counter - uptime);
  timeline.notes.emplace_back(
      "\"kernel-start\" ends where the kernel's log has 0.000000: after its first instructions and "
      "the set-up of its memory");
}

}  // namespace

Result<Timeline> DecodeTimeline(std::span<const std::byte> property,
                                const std::optional<ClockSample>& now) {
  constexpr std::string_view kWhat = "/chosen/khop,timeline";
  constexpr std::string_view kTodo = "use the khop that made the hop";
  if (property.size() != handoff::kTimelineSize) {
    return Fail(ExitCode::kBadDeviceTree, kWhat,
                "it has " + std::to_string(property.size()) + " bytes and not " +
                    std::to_string(handoff::kTimelineSize),
                kTodo);
  }
  Slots slots{};
  for (size_t i = 0; i < property.size(); ++i) {
    slots[i / 8] = slots[i / 8] << 8 | std::to_integer<uint64_t>(property[i]);
  }
  Timeline timeline;
  const uint64_t version = Get(slots, TimelineSlot::kVersion);
  if (version == 0) return timeline;
  if (version != handoff::kTimelineVersion) {
    return Fail(ExitCode::kBadDeviceTree, kWhat,
                "it is of version " + std::to_string(version) + ", which this khop does not know",
                kTodo);
  }
  timeline.frequency = Get(slots, TimelineSlot::kFrequency);
  if (timeline.frequency == 0 || timeline.frequency > kMaxFrequency) {
    return Fail(ExitCode::kBadDeviceTree, kWhat,
                "a counter of " + std::to_string(timeline.frequency) + " Hz cannot be",
                "set the firmware's CNTFRQ right");
  }
  timeline.filled_in = true;

  const uint64_t reboot = Get(slots, TimelineSlot::kReboot);
  const uint64_t entry = Get(slots, TimelineSlot::kEntry);
  const uint64_t mmu_on = Get(slots, TimelineSlot::kMmuOn);
  const uint64_t moved = Get(slots, TimelineSlot::kMoved);
  const uint64_t verified = Get(slots, TimelineSlot::kVerified);
  timeline.jump = Get(slots, TimelineSlot::kJump);
  const uint64_t sctlr = Get(slots, TimelineSlot::kSctlr);
  timeline.mmu = (sctlr & kSctlrM) != 0;
  timeline.data_cache = (sctlr & kSctlrC) != 0;
  timeline.instruction_cache = (sctlr & kSctlrI) != 0;
  const uint64_t level = Get(slots, TimelineSlot::kExceptionLevel);
  timeline.exception_level = static_cast<uint32_t>(level & 3);
  timeline.e2h = (level & 0x100) != 0;
  timeline.bytes_moved = Get(slots, TimelineSlot::kBytesMoved);
  timeline.bytes_verified = Get(slots, TimelineSlot::kBytesVerified);
  const uint64_t digest = Get(slots, TimelineSlot::kDigest);
  timeline.digest = (digest & 0x200) != 0 ? "early" : DigestName(digest & 0xff);
  timeline.digest_by_instructions = (digest & 0x100) != 0;

  AddStep(timeline, "shutdown", "old kernel, from reboot(2) on", reboot, entry);
  AddStep(timeline, "set-up", timeline.mmu ? "hand-off checked, MMU on" : "hand-off checked", entry,
          mmu_on);
  AddStep(timeline, "move", "payload to its place", mmu_on, moved);
  AddStep(timeline, "verify", "digests of the payload", moved, verified);
  AddStep(timeline, "finish", "caches cleaned, MMU off", verified, timeline.jump);
  if (reboot == 0) {
    timeline.notes.emplace_back(
        "the moment of reboot(2) is not known: the hop was not started by khop exec");
  } else if (timeline.jump >= reboot) {
    timeline.blackout = ToNanoseconds(timeline.jump - reboot, timeline.frequency);
  }
  if (now) AddNow(timeline, *now);
  return timeline;
}

std::string RenderText(const Timeline& timeline) {
  TextPage page;
  for (const FailedHop& failed : timeline.failed) {
    page.Field("Failed hop", failed.reason);
    page.Field("", (failed.loaded_at.empty() ? "" : "loaded at " + failed.loaded_at + ", ") +
                       "by " + failed.source);
  }
  page.Field("Route", timeline.route);
  page.Field("From", timeline.from);
  if (!timeline.filled_in) {
    page.Field("Timeline", timeline.hopped
                               ? "not filled in: no relocator started this kernel with it"
                               : "none: khop did not start this kernel");
    for (const std::string& note : timeline.notes) page.Field("Note", note);
    return page.text();
  }
  uint64_t longest = 1;
  for (const TimelineStep& step : timeline.steps) longest = std::max(longest, step.nanoseconds);
  constexpr size_t kBarColumns = 20;
  for (const TimelineStep& step : timeline.steps) {
    // In floating point, as the product of two long times does not fit.
    const auto share = static_cast<double>(step.nanoseconds) / static_cast<double>(longest);
    const auto bar = static_cast<size_t>(std::lround(share * static_cast<double>(kBarColumns)));
    page.Line(PadRight(step.name, kLabelColumns) + PadLeft(Duration(step.nanoseconds), 11) + "  " +
              PadRight(std::string(std::min(bar, kBarColumns), '#'), kBarColumns) + "  " +
              step.meaning);
  }
  if (timeline.blackout) {
    page.Field("Blackout", Duration(*timeline.blackout) + " from reboot(2) to the jump");
  }
  if (timeline.since_jump) page.Field("Since then", Duration(*timeline.since_jump));
  page.Field("Moved", HumanBytes(timeline.bytes_moved));
  std::string verified = HumanBytes(timeline.bytes_verified);
  if (timeline.digest == "none") {
    verified = "nothing";
  } else if (timeline.digest == "early") {
    verified = "by sha256 before reboot(2), and not again";
  } else {
    verified += " by " + timeline.digest +
                (timeline.digest_by_instructions ? ", with the CPU's instructions for it"
                                                 : ", in plain code");
  }
  page.Field("Verified", verified);
  const auto on = [](bool value) { return value ? "on" : "off"; };
  page.Field("Relocator", "EL" + std::to_string(timeline.exception_level) +
                              (timeline.e2h ? " (VHE)" : "") + ", MMU " + on(timeline.mmu) +
                              ", data cache " + on(timeline.data_cache) + ", instruction cache " +
                              on(timeline.instruction_cache));
  page.Field("Counter", std::to_string(timeline.frequency) + " Hz");
  for (const std::string& note : timeline.notes) page.Field("Note", note);
  return page.text();
}

std::string ToJson(const Timeline& timeline) {
  Json json = {{"schema", kSchema},
               {"hopped", timeline.hopped},
               {"filled_in", timeline.filled_in},
               {"route", timeline.route},
               {"from", timeline.from}};
  if (timeline.filled_in) {
    Json steps = Json::array();
    for (const TimelineStep& step : timeline.steps) {
      steps.push_back({{"name", step.name},
                       {"start", step.start},
                       {"ticks", step.ticks},
                       {"nanoseconds", step.nanoseconds}});
    }
    json["frequency"] = timeline.frequency;
    json["steps"] = steps;
    json["jump"] = timeline.jump;
    json["blackout_ns"] = timeline.blackout ? Json(*timeline.blackout) : Json();
    json["since_jump_ns"] = timeline.since_jump ? Json(*timeline.since_jump) : Json();
    json["mmu"] = timeline.mmu;
    json["data_cache"] = timeline.data_cache;
    json["instruction_cache"] = timeline.instruction_cache;
    json["exception_level"] = timeline.exception_level;
    json["vhe"] = timeline.e2h;
    json["bytes_moved"] = timeline.bytes_moved;
    json["bytes_verified"] = timeline.bytes_verified;
    json["digest"] = timeline.digest;
    json["digest_by_instructions"] = timeline.digest_by_instructions;
  }
  json["failed_hops"] = Json::array();
  for (const FailedHop& failed : timeline.failed) {
    json["failed_hops"].push_back(
        {{"reason", failed.reason}, {"loaded_at", failed.loaded_at}, {"source", failed.source}});
  }
  json["notes"] = timeline.notes;
  return Dump(json);
}

}  // namespace khop::report
