// SPDX-License-Identifier: MIT
#include <time.h>

#include "tool/report/timeline.h"
#include "tool/system/el0.h"

namespace khop::report {

#if defined(__aarch64__)

namespace {

uint64_t Nanoseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

std::optional<ClockSample> SampleClocks() {
  // The narrowest of several brackets: one that was not interrupted.
  ClockSample best;
  uint64_t best_width = ~uint64_t{0};
  for (int i = 0; i < 16; ++i) {
    const uint64_t before = system::el0::Counter();
    const uint64_t raw = Nanoseconds(CLOCK_MONOTONIC_RAW);
    const uint64_t after = system::el0::Counter();
    if (after - before < best_width) {
      best_width = after - before;
      best.counter = before + best_width / 2;
      best.monotonic_raw = raw;
    }
  }
  best.frequency = system::el0::CounterFrequency();
  const uint64_t monotonic = Nanoseconds(CLOCK_MONOTONIC);
  const uint64_t boottime = Nanoseconds(CLOCK_BOOTTIME);
  // Without suspend they differ by the time between the two readings only.
  static constexpr uint64_t kNoise = 100'000'000;
  best.suspended = boottime - monotonic > kNoise ? boottime - monotonic : 0;
  return best;
}

#else

std::optional<ClockSample> SampleClocks() { return std::nullopt; }

#endif

}  // namespace khop::report
