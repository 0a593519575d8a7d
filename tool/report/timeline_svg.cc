// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "tool/base/error.h"
#include "tool/report/svg.h"
#include "tool/report/text.h"
#include "tool/report/timeline.h"

namespace khop::report {
namespace {

constexpr double kWidth = 960;
constexpr double kMargin = 28;
constexpr double kInner = kWidth - 2 * kMargin;
constexpr double kLabel = 110;
constexpr double kBar = 330;

constexpr Svg::Font kTitle = {.size = 22, .bold = true};
constexpr Svg::Font kBody = {.size = 13};
constexpr Svg::Font kBold = {.size = 13, .bold = true};
constexpr Svg::Font kQuiet = {.size = 13, .muted = true};

bool IsAfterTheJump(std::string_view step) {
  return step == "kernel-start" || step == "kernel" || step == "userspace";
}

std::string_view AreaOf(std::string_view step) {
  if (step == "move" || step == "verify") return step;
  if (step == "shutdown") return "old";
  return IsAfterTheJump(step) ? "next" : "work";
}

class Picture {
 public:
  explicit Picture(const Timeline& timeline) : timeline_(timeline) {}

  std::string Draw() {
    const std::string from = timeline_.from.empty() ? "another kernel" : timeline_.from;
    const std::string title = timeline_.hopped ? "The last hop, from " + from : "No hop";
    y_ = 42;
    svg_.Text(kMargin, y_, title, kTitle, kInner);
    y_ += 24;
    if (!timeline_.filled_in) {
      svg_.Text(kMargin, y_, "there is no timeline: no relocator of khop's started this kernel",
                kQuiet, kInner);
      y_ += 20;
    } else {
      Subtitle();
      Strip();
      Steps();
    }
    Failed();
    for (const std::string& note : timeline_.notes) {
      y_ += 18;
      svg_.Text(kMargin, y_, note, {.size = 12, .muted = true}, kInner);
    }
    return svg_.Finish(y_ + 24, "khop report", title);
  }

 private:
  void Subtitle() {
    std::string text = timeline_.route.empty() ? "" : "route " + timeline_.route + "; ";
    text += HumanBytes(timeline_.bytes_moved) + " moved, ";
    text += timeline_.digest == "none"
                ? "nothing verified"
                : HumanBytes(timeline_.bytes_verified) + " verified by " + timeline_.digest;
    text += std::string("; MMU ") + (timeline_.mmu ? "on" : "off") + " at EL" +
            std::to_string(timeline_.exception_level) + (timeline_.e2h ? " (VHE)" : "");
    svg_.Text(kMargin, y_, text, kQuiet, kInner);
    y_ += 34;
  }

  // All steps to scale, one after the other; user space's until now is left out.
  void Strip() {
    uint64_t total = 0;
    for (const TimelineStep& step : timeline_.steps) {
      if (step.name != "userspace") total += std::min(step.nanoseconds, ~uint64_t{0} / 64);
    }
    if (total == 0) return;
    const auto width = [&](uint64_t ns) {
      return kInner * static_cast<double>(ns) / static_cast<double>(total);
    };
    double x = kMargin;
    double blackout_end = x;
    y_ += 18;
    for (const TimelineStep& step : timeline_.steps) {
      if (step.name == "userspace") continue;
      const double size = width(std::min(step.nanoseconds, ~uint64_t{0} / 64));
      if (size >= 0.05) {
        svg_.Rect(x, y_, std::max(1.0, size - 1), 34, AreaOf(step.name), 3,
                  step.name + ": " + Duration(step.nanoseconds));
      }
      x += size;
      if (!IsAfterTheJump(step.name)) blackout_end = x;
    }
    if (timeline_.blackout) {
      const std::string text = "blackout " + Duration(*timeline_.blackout);
      const double line = y_ - 8;
      svg_.Line(kMargin, line, blackout_end, line);
      svg_.Line(kMargin, line - 4, kMargin, line + 4);
      svg_.Line(blackout_end, line - 4, blackout_end, line + 4);
      const bool fits = Svg::WidthOf(text, kBold) < kInner / 2;
      svg_.Text(kMargin, line - 8, text, kBold, fits ? kInner / 2 : kInner);
    }
    y_ += 34;
    svg_.Line(blackout_end, y_ - 34, blackout_end, y_ + 14, true);
    // At the line, on the side that has room.
    const bool right = blackout_end < kMargin + kInner / 2;
    svg_.Text(
        blackout_end + (right ? 6 : -6), y_ + 14, "the jump: from here on the next kernel runs",
        {.size = 12, .muted = true, .anchor = right ? Svg::Anchor::kStart : Svg::Anchor::kEnd},
        kInner / 2 - 20);
    y_ += 44;
    Legend();
  }

  void Legend() {
    double x = kMargin;
    for (const auto& [area, meaning] :
         std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"old", "the old kernel"},
             {"work", "relocator"},
             {"move", "moves"},
             {"verify", "digests"},
             {"next", "the next kernel"}}) {
      svg_.Rect(x, y_ - 10, 11, 11, area, 2);
      svg_.Text(x + 16, y_, meaning, {.size = 12, .muted = true});
      x += 16 + Svg::WidthOf(meaning, {.size = 12}) + 16;
    }
    y_ += 14;
  }

  void Steps() {
    const double longest = static_cast<double>(LongestStep(timeline_));
    for (const TimelineStep& step : timeline_.steps) {
      y_ += 24;
      svg_.Text(kMargin, y_, step.name, kBold, kLabel - 6);
      const double share = static_cast<double>(step.nanoseconds) / longest;
      if (step.nanoseconds != 0) {
        svg_.Rect(kMargin + kLabel, y_ - 12, std::clamp(share * kBar, 1.5, kBar), 15,
                  AreaOf(step.name), 3);
      }
      if (share > 1) svg_.Text(kMargin + kLabel + kBar + 2, y_ - 1, "›", kBody);
      svg_.Text(kMargin + kLabel + kBar + 108, y_, Duration(step.nanoseconds),
                {.size = 13, .anchor = Svg::Anchor::kEnd});
      svg_.Text(kMargin + kLabel + kBar + 124, y_, step.meaning, kQuiet,
                kInner - kLabel - kBar - 124);
    }
    y_ += 16;
  }

  void Failed() {
    for (const FailedHop& failed : timeline_.failed) {
      y_ += 24;
      svg_.Rect(kMargin, y_ - 11, 11, 11, "control", 2);
      svg_.Text(kMargin + 18, y_, "A hop failed: " + failed.reason, kBold, kInner - 18);
      y_ += 18;
      svg_.Text(kMargin + 18, y_,
                (failed.loaded_at.empty() ? "" : "loaded at " + failed.loaded_at + ", ") + "by " +
                    failed.source,
                kQuiet, kInner - 18);
    }
    y_ += 6;
  }

  const Timeline& timeline_;
  Svg svg_{kWidth};
  double y_ = 0;
};

}  // namespace

std::string ToSvg(const Timeline& timeline) { return Picture(timeline).Draw(); }

}  // namespace khop::report
