// SPDX-License-Identifier: MIT
#include "tool/report/timeline.h"

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "core/handoff/handoff.h"
#include "gtest/gtest.h"

namespace khop::report {
namespace {

using handoff::TimelineSlot;

constexpr uint64_t kFrequency = 62'500'000;  // 16 ns a tick

class Slots {
 public:
  Slots& Set(TimelineSlot slot, uint64_t value) {
    for (size_t i = 0; i < 8; ++i) {
      bytes_[static_cast<size_t>(slot) * 8 + i] = static_cast<std::byte>(value >> (8 * (7 - i)));
    }
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(handoff::kTimelineSize);
};

Slots AHop() {
  Slots slots;
  slots.Set(TimelineSlot::kVersion, 1)
      .Set(TimelineSlot::kFrequency, kFrequency)
      .Set(TimelineSlot::kReboot, 1'000'000'000)
      .Set(TimelineSlot::kEntry, 1'006'250'000)     // 100 ms
      .Set(TimelineSlot::kMmuOn, 1'006'250'050)     // 800 ns
      .Set(TimelineSlot::kMoved, 1'006'250'050)     // 0
      .Set(TimelineSlot::kVerified, 1'009'375'050)  // 50 ms
      .Set(TimelineSlot::kJump, 1'009'376'300)      // 20 us
      .Set(TimelineSlot::kSctlr, 0x1005)
      .Set(TimelineSlot::kExceptionLevel, 0x102)
      .Set(TimelineSlot::kBytesVerified, 42999617)
      .Set(TimelineSlot::kDigest, 0x101);
  return slots;
}

// 1 s of uptime; the kernel's clock started 10 ms after the jump.
constexpr ClockSample kNow = {.counter = 1'009'376'300 + 625'000 + 62'500'000,
                              .monotonic_raw = 1'000'000'000,
                              .suspended = 0,
                              .frequency = kFrequency,
                              .init = 400'000'000};

TEST(Timeline, Steps) {
  const auto timeline = DecodeTimeline(AHop().bytes(), kNow);
  ASSERT_TRUE(timeline) << timeline.error().message;
  EXPECT_TRUE(timeline->filled_in);
  std::vector<std::pair<std::string, uint64_t>> steps;
  for (const TimelineStep& step : timeline->steps) steps.emplace_back(step.name, step.nanoseconds);
  const std::vector<std::pair<std::string, uint64_t>> expected = {
      {"shutdown", 100'000'000}, {"set-up", 800},           {"move", 0},
      {"verify", 50'000'000},    {"finish", 20'000},        {"kernel-start", 10'000'000},
      {"kernel", 400'000'000},   {"userspace", 600'000'000}};
  EXPECT_EQ(steps, expected);
  EXPECT_EQ(timeline->steps[3].ticks, 3'125'000u);
  EXPECT_EQ(timeline->steps[3].start, 1'006'250'050u);
  EXPECT_EQ(timeline->blackout, 150'020'800u);
  EXPECT_EQ(timeline->since_jump, 1'010'000'000u);
  EXPECT_TRUE(timeline->mmu);
  EXPECT_TRUE(timeline->data_cache);
  EXPECT_TRUE(timeline->instruction_cache);
  EXPECT_EQ(timeline->exception_level, 2u);
  EXPECT_TRUE(timeline->e2h);
  EXPECT_EQ(timeline->bytes_moved, 0u);
  EXPECT_EQ(timeline->bytes_verified, 42999617u);
  EXPECT_EQ(timeline->digest, "sha256");
  EXPECT_TRUE(timeline->digest_by_instructions);
}

TEST(Timeline, EachBitOfSctlrIsItsOwn) {
  const auto decode = [](uint64_t sctlr) {
    const auto t = DecodeTimeline(AHop().Set(TimelineSlot::kSctlr, sctlr).bytes(), {}).value();
    return std::vector<bool>{t.mmu, t.data_cache, t.instruction_cache};
  };
  EXPECT_EQ(decode(1 << 0), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(decode(1 << 2), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(decode(1 << 12), (std::vector<bool>{false, false, true}));
  EXPECT_EQ(decode(~uint64_t{0x1005}), (std::vector<bool>{false, false, false}));
}

TEST(Timeline, NotFilledIn) {
  const auto timeline = DecodeTimeline(Slots().bytes(), kNow);
  ASSERT_TRUE(timeline);
  EXPECT_FALSE(timeline->filled_in);
  EXPECT_TRUE(timeline->steps.empty());
  EXPECT_EQ(RenderText(*timeline),
            "Timeline     not filled in: no relocator started this kernel with it\n");
  EXPECT_EQ(nlohmann::json::parse(ToJson(*timeline))["filled_in"], false);
}

TEST(Timeline, PlainRebootHasNoShutdown) {
  const auto timeline = DecodeTimeline(AHop().Set(TimelineSlot::kReboot, 0).bytes(), {});
  ASSERT_TRUE(timeline);
  EXPECT_EQ(timeline->steps.front().name, "set-up");
  EXPECT_FALSE(timeline->blackout);
  EXPECT_FALSE(timeline->since_jump);
  ASSERT_EQ(timeline->notes.size(), 1u);
  EXPECT_EQ(
      timeline->notes[0],
      "the moment of reboot(2) is not known: the hop was not started by khop exec, or by the route "
      "kernel");
}

TEST(Timeline, Refused) {
  EXPECT_FALSE(DecodeTimeline({}, {}));
  EXPECT_FALSE(DecodeTimeline(std::vector<std::byte>(handoff::kTimelineSize + 8), {}));
  const auto version = DecodeTimeline(AHop().Set(TimelineSlot::kVersion, 2).bytes(), {});
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code, ExitCode::kBadDeviceTree);
  EXPECT_EQ(version.error().message,
            "/chosen/khop,timeline: it is of version 2, which this khop does not know; use the "
            "khop that made the hop");
  EXPECT_FALSE(DecodeTimeline(AHop().Set(TimelineSlot::kFrequency, 0).bytes(), {}));
  EXPECT_FALSE(DecodeTimeline(AHop().Set(TimelineSlot::kFrequency, ~uint64_t{0}).bytes(), {}));
}

TEST(Timeline, CounterThatRunsBackwards) {
  const auto timeline = DecodeTimeline(AHop().Set(TimelineSlot::kVerified, 5).bytes(), {});
  ASSERT_TRUE(timeline);
  for (const TimelineStep& step : timeline->steps) EXPECT_NE(step.name, "verify");
  ASSERT_FALSE(timeline->notes.empty());
  EXPECT_EQ(timeline->notes[0], "the counter ran backwards in \"verify\", which is left out");
}

TEST(Timeline, ClocksThatDoNotFit) {
  ClockSample now = kNow;
  now.monotonic_raw = 2'000'000'000;  // the clock would have started before the jump
  const auto early = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(early);
  EXPECT_EQ(early->steps.back().name, "finish");
  EXPECT_TRUE(early->since_jump);
  EXPECT_EQ(early->notes.back(), "this kernel's clock does not fit the counter, and is left out");

  now.counter = 7;
  const auto reset = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(reset);
  EXPECT_FALSE(reset->since_jump);

  now = kNow;
  now.suspended = 1;
  const auto suspended = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(suspended);
  EXPECT_EQ(suspended->steps.back().name, "finish");
}

TEST(Timeline, CounterOfAnotherFrequency) {
  ClockSample now = kNow;
  now.frequency = 1'000'000'000;
  const auto timeline = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(timeline);
  EXPECT_EQ(timeline->steps.back().name, "finish");
  EXPECT_EQ(timeline->notes.back(),
            "the counter ran at 62500000 Hz during the hop and is said to run at 1000000000 now: "
            "what came after the jump is left out");
}

TEST(Timeline, InitIsInTheLogOrNot) {
  EXPECT_EQ(FindInitStart("6,0,0,-;Booting Linux\n6,371,1234567,-;Run /init as init process\n"
                          " SUBSYSTEM=x\n7,372,1234580,-;  with arguments:\n"),
            1'234'567'000u);
  EXPECT_FALSE(FindInitStart("14,371,1234567,-;Run /init as init process\n"));  // user space's
  EXPECT_FALSE(FindInitStart("6,371,x,-;Run /init as init process\n6\n6,\n6,;\n"));
  ClockSample now = kNow;
  now.init.reset();
  const auto without = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->steps.back().name, "userspace");
  EXPECT_EQ(without->steps.back().nanoseconds, 1'000'000'000u);
  now.init = 5'000'000'000;
  const auto late = DecodeTimeline(AHop().bytes(), now);
  ASSERT_TRUE(late);
  EXPECT_EQ(late->steps.back().name, "kernel-start");
}

TEST(Timeline, AnyBytesDecodeOrFail) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 5000; ++round) {
    Slots slots;
    for (uint32_t slot = 0; slot < 16; ++slot) {
      slots.Set(static_cast<TimelineSlot>(slot), random() >> (random() % 64));
    }
    slots.Set(TimelineSlot::kVersion, 1);
    slots.Set(TimelineSlot::kFrequency, 1 + random() % 10'000'000'000);
    const ClockSample now = {.counter = random(),
                             .monotonic_raw = random(),
                             .suspended = 0,
                             .frequency = 0,
                             .init = random() >> (random() % 64)};
    const auto timeline = DecodeTimeline(slots.bytes(), now);
    ASSERT_TRUE(timeline);
    EXPECT_FALSE(RenderText(*timeline).empty());
    EXPECT_FALSE(ToJson(*timeline).empty());
    EXPECT_FALSE(ToSvg(*timeline).empty());
  }
}

TEST(TimelineText, Golden) {
  auto timeline = DecodeTimeline(AHop().bytes(), kNow);
  ASSERT_TRUE(timeline);
  timeline->route = "in-place";
  timeline->from = "6.1.0-56-arm64";
  EXPECT_EQ(RenderText(*timeline),
            R"(Route        in-place
From         6.1.0-56-arm64
shutdown      100.000 ms  #####                 old kernel, from reboot(2) on
set-up            800 ns  |                     hand-off checked, MMU on
move                0 ns                        payload to its place
verify         50.000 ms  ###                   digests of the payload
finish         20.000 us  |                     caches cleaned, MMU off
kernel-start   10.000 ms  #                     next kernel until its clock runs
kernel        400.000 ms  ####################  next kernel until it runs init
userspace     600.000 ms  ####################> user space until now
Blackout     150.020 ms from reboot(2) to the jump
Since then   1.010 s
Moved        0 bytes
Verified     41.0 MiB by sha256, with the CPU's instructions for it
Relocator    EL2 (VHE), MMU on, data cache on, instruction cache on
Counter      62500000 Hz
Note         "kernel-start" ends where the kernel's log has 0.000000: after its
             first instructions and the set-up of its memory
)");
}

TEST(TimelineText, FitsEightyColumns) {
  auto timeline = DecodeTimeline(AHop().bytes(), kNow);
  ASSERT_TRUE(timeline);
  for (TimelineStep& step : timeline->steps) step.nanoseconds = 999'999'999'999;
  std::istringstream lines(RenderText(*timeline));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
}

TEST(TimelineJson, HoldsEverything) {
  const auto json = nlohmann::json::parse(ToJson(*DecodeTimeline(AHop().bytes(), kNow)));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["frequency"], kFrequency);
  EXPECT_EQ(json["steps"][0]["name"], "shutdown");
  EXPECT_EQ(json["steps"][0]["nanoseconds"], 100'000'000);
  EXPECT_EQ(json["blackout_ns"], 150'020'800);
  EXPECT_EQ(json["mmu"], true);
  EXPECT_EQ(json["exception_level"], 2);
  EXPECT_EQ(json["bytes_moved"], 0);
  EXPECT_EQ(json["digest"], "sha256");
  const auto plain = nlohmann::json::parse(
      ToJson(*DecodeTimeline(AHop().Set(TimelineSlot::kReboot, 0).bytes(), {})));
  EXPECT_TRUE(plain["blackout_ns"].is_null());
  EXPECT_TRUE(plain["since_jump_ns"].is_null());
}

}  // namespace
}  // namespace khop::report
