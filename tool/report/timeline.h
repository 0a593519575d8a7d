// SPDX-License-Identifier: MIT
// The timeline of the last hop, as `khop report` shows it in the kernel that came up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tool/base/error.h"
#include "tool/report/failed_hop.h"
#include "tool/report/style.h"

namespace khop::report {

// The machine's counter and the running kernel's clocks, read at one moment.
struct ClockSample {
  uint64_t counter = 0;        // CNTVCT_EL0
  uint64_t monotonic_raw = 0;  // CLOCK_MONOTONIC_RAW, ns: not slewed by NTP, stops in suspend
  uint64_t suspended = 0;      // CLOCK_BOOTTIME - CLOCK_MONOTONIC, ns
  uint64_t frequency = 0;      // CNTFRQ_EL0; 0: not known
  // When the kernel ran its first process, ns on the clock of its log.
  std::optional<uint64_t> init = std::nullopt;
};

// When the kernel ran init, by its log (the records of /dev/kmsg); nothing if the line has dropped
// out.
std::optional<uint64_t> FindInitStart(std::string_view log);

// Reads them as close together as can be; nothing on a machine without CNTVCT_EL0.
std::optional<ClockSample> SampleClocks();

struct TimelineStep {
  std::string name;     // stable, for programs: "shutdown", "set-up", "move", "verify", "finish",
                        // "kernel-start", "kernel", "userspace"
  std::string meaning;  // for people
  uint64_t start = 0;   // ticks of the counter
  uint64_t ticks = 0;
  uint64_t nanoseconds = 0;
};

struct Timeline {
  // False: khop did not start this kernel, and there are only failed hops to tell of.
  bool hopped = true;
  // False: the property holds zeros, so no relocator of khop's started this kernel with it. Then
  // nothing but `route` and `from` below means anything.
  bool filled_in = false;
  uint64_t frequency = 0;              // of the counter, Hz
  std::vector<TimelineStep> steps;     // in order; those whose ends are known
  uint64_t jump = 0;                   // counter at the jump into this kernel
  std::optional<uint64_t> blackout;    // ns from the loader's stamp before reboot(2) to the jump
  std::optional<uint64_t> since_jump;  // ns from the jump to now

  // SCTLR as the relocator read it while it moved and verified.
  bool mmu = false;
  bool data_cache = false;
  bool instruction_cache = false;
  uint32_t exception_level = 0;  // 1 or 2
  bool e2h = false;              // HCR_EL2.E2H: VHE
  uint64_t bytes_moved = 0;
  uint64_t bytes_verified = 0;
  std::string digest;  // "sha256", "crc32c", "none", "early", "unknown (7)"
  bool digest_by_instructions = false;

  // From /chosen/khop,route and khop,from; empty if they are not there.
  std::string route;
  std::string from;                // release of the kernel that was replaced
  std::vector<FailedHop> failed;   // what hops before this boot have left
  std::vector<std::string> notes;  // what looks odd, and what the figures mean
};

// Decodes the bytes of /chosen/khop,timeline (handoff::TimelineSlot, big-endian). `now` adds the
// time from the jump to the start of this kernel's clock, and from there to now. Nonsense in the
// property (a counter that runs backwards) becomes notes. Errors: kBadDeviceTree if the property is
// of another size or version, or its frequency cannot be.
Result<Timeline> DecodeTimeline(std::span<const std::byte> property,
                                const std::optional<ClockSample>& now);

// For people, with bars; lines of at most 80 columns, each ended by a newline.
std::string RenderText(const Timeline& timeline, const Style& style = {});
// For programs: one JSON object with "schema": 1, ended by a newline.
std::string ToJson(const Timeline& timeline);
// A picture: the blackout and what came after it, drawn to scale.
std::string ToSvg(const Timeline& timeline);

// The longest of the steps that bars are drawn to: user space's does not count, which lasts until
// somebody asks.
uint64_t LongestStep(const Timeline& timeline);

}  // namespace khop::report
