// SPDX-License-Identifier: MIT
#include "tool/report/timeline.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/handoff/handoff.h"
#include "tool/report/json.h"

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
  if (now.frequency != 0 && now.frequency != timeline.frequency) {
    timeline.notes.push_back("the counter ran at " + std::to_string(timeline.frequency) +
                             " Hz during the hop and is said to run at " +
                             std::to_string(now.frequency) +
                             " now: what came after the jump is left out");
    return;
  }
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
  const uint64_t clock_start = now.counter - uptime;
  AddStep(timeline, "kernel-start", "next kernel until its clock runs", timeline.jump,
          clock_start);
  if (!now.init) {
    timeline.notes.emplace_back(
        "the kernel's log does not tell any more when it ran init: its start is not told apart");
    AddStep(timeline, "userspace", "the rest of its start, and user space until now", clock_start,
            now.counter);
  } else if (*now.init > now.monotonic_raw) {
    timeline.notes.emplace_back("by its log this kernel ran init later than now: left out");
  } else {
    const uint64_t init = clock_start + ToTicks(*now.init, timeline.frequency);
    AddStep(timeline, "kernel", "next kernel until it runs init", clock_start, init);
    AddStep(timeline, "userspace", "user space until now", init, now.counter);
  }
  timeline.notes.emplace_back(
      "\"kernel-start\" ends where the kernel's log has 0.000000: after its first instructions and "
      "the set-up of its memory");
}

}  // namespace

uint64_t LongestStep(const Timeline& timeline) {
  uint64_t longest = 1;
  for (const TimelineStep& step : timeline.steps) {
    if (step.name != "userspace") longest = std::max(longest, step.nanoseconds);
  }
  return longest;
}

std::optional<uint64_t> FindInitStart(std::string_view log) {
  std::optional<uint64_t> start;
  while (!log.empty()) {
    const std::string_view line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(line.size() + 1, log.size()));
    // "PRIORITY,SEQUENCE,MICROSECONDS,…;TEXT", of the kernel's own: one digit below 8.
    if (line.size() < 2 || line[0] < '0' || line[0] > '7' || line[1] != ',') continue;
    const size_t text = line.find(';');
    const size_t comma = line.find(',', 2);
    if (text == std::string_view::npos || comma == std::string_view::npos || comma > text) continue;
    if (!line.substr(text + 1).starts_with("Run ") || !line.ends_with(" as init process")) continue;
    uint64_t microseconds = 0;
    const auto parsed = std::from_chars(line.data() + comma + 1, line.data() + text, microseconds);
    if (parsed.ec != std::errc() || microseconds > ~uint64_t{0} / 1000) continue;
    start = microseconds * 1000;  // a first choice that does not work is followed by another
  }
  return start;
}

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
        "the moment of reboot(2) is not known: the hop was not started by khop exec, or by the "
        "route kernel");
  } else if (timeline.jump >= reboot) {
    timeline.blackout = ToNanoseconds(timeline.jump - reboot, timeline.frequency);
  }
  if (now) AddNow(timeline, *now);
  return timeline;
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
