// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cmath>

#include "tool/base/error.h"
#include "tool/report/plan.h"
#include "tool/report/svg.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

constexpr double kWidth = 960;
constexpr double kMargin = 28;
constexpr double kInner = kWidth - 2 * kMargin;
constexpr double kLabel = 104;
constexpr size_t kRowCells = 64;

constexpr Svg::Font kTitle = {.size = 22, .bold = true};
constexpr Svg::Font kHeading = {.size = 15, .bold = true};
constexpr Svg::Font kBody = {.size = 13};
constexpr Svg::Font kQuiet = {.size = 13, .muted = true};
constexpr Svg::Font kAddress = {.size = 12, .muted = true, .mono = true};

class Picture {
 public:
  explicit Picture(const Plan& plan) : plan_(plan) {}

  std::string Draw() {
    Head();
    Facts();
    Map();
    Places();
    Costs();
    if (!plan_.notes.empty()) Notes();
    const std::string description =
        plan_.route + ": " + plan_.route_reason + "; " +
        PayloadText(plan_.bytes_in_place, plan_.bytes_to_move, plan_.moves);
    return svg_.Finish(y_ + 8, "khop plan: " + plan_.route, description);
  }

 private:
  void Head() {
    y_ = 42;
    const std::string kernel =
        plan_.kernel_version.empty() ? plan_.kernel.path : plan_.kernel_version;
    svg_.Text(kMargin, y_, "Hop to " + kernel, kTitle, kInner);
    y_ += 24;
    svg_.Text(kMargin, y_, "route " + plan_.route + ": " + plan_.route_reason, kQuiet, kInner);
    for (const Refusal& refusal : plan_.refused) {
      y_ += 19;
      svg_.Text(kMargin, y_, "not " + refusal.route + ": " + refusal.reason, kQuiet, kInner);
    }
    y_ += 24;
  }

  void Facts() {
    const CostSum sum = SumCosts(plan_);
    std::string blackout = "not known";
    if (!plan_.costs.empty() && sum.whole) blackout = CostText(sum.least, sum.most);
    const std::array<std::array<std::string, 2>, 4> facts = {
        {{HumanBytes(plan_.bytes_in_place), "loaded where it will run"},
         {HumanBytes(plan_.bytes_to_move), "moved in the blackout"},
         {plan_.digest == "none" || plan_.digest.empty() ? "not verified"
                                                         : HumanBytes(plan_.bytes_to_verify),
          plan_.digest == "none" ? "--verify none" : "verified by " + plan_.digest},
         {blackout, "blackout, without devices"}}};
    const double column = kInner / static_cast<double>(facts.size());
    for (size_t i = 0; i < facts.size(); ++i) {
      const double x = kMargin + column * static_cast<double>(i);
      const double size =
          Svg::WidthOf(facts[i][0], {.size = 22, .bold = true}) > column - 12 ? 13 : 22;
      svg_.Text(x, y_ + 22, facts[i][0], {.size = size, .bold = true}, column - 12);
      svg_.Text(x, y_ + 41, facts[i][1], kQuiet, column - 12);
    }
    y_ += 70;
  }

  void Map() {
    if (plan_.map.empty()) return;
    svg_.Text(kMargin, y_, "Memory", kHeading);
    svg_.Text(kMargin + kInner, y_, "a square is " + HumanBytes(plan_.map_cell),
              {.size = 12, .muted = true, .anchor = Svg::Anchor::kEnd});
    y_ += 14;
    const double step = (kInner - kLabel) / kRowCells;
    const uint64_t row_size = kRowCells * plan_.map_cell;
    uint64_t before = 0;
    for (size_t i = 0; i < plan_.map.size();) {
      const uint64_t row = plan_.map[i].start / row_size * row_size;
      if (before != 0 && row != before + row_size) y_ += 6;  // addresses are left out
      before = row;
      svg_.Text(kMargin, y_ + step - 3, Hex(row), kAddress, kLabel - 6);
      for (; i < plan_.map.size() && plan_.map[i].start - row < row_size; ++i) {
        const uint64_t column = (plan_.map[i].start - row) / plan_.map_cell;
        const double x = kMargin + kLabel + step * static_cast<double>(column);
        const std::string_view kind = CellKind(plan_, plan_.map[i]);
        svg_.Rect(x, y_, step - 1, step - 1, kind, 2);
      }
      y_ += step;
    }
    y_ += 16;
    Legend();
  }

  void Legend() {
    double x = kMargin + kLabel;
    for (const auto& [kind, meaning] :
         std::array<std::array<std::string_view, 2>, 8>{{{"kernel", "kernel"},
                                                         {"initrd", "initrd"},
                                                         {"dtb", "device tree"},
                                                         {"control", "control area"},
                                                         {"free", "free"},
                                                         {"movable", "processes, cache"},
                                                         {"busy", "the kernel's"},
                                                         {"reserved", "reserved"}}}) {
      svg_.Rect(x, y_ - 10, 11, 11, kind, 2);
      svg_.Text(x + 16, y_, meaning, {.size = 12, .muted = true});
      x += 16 + Svg::WidthOf(meaning, {.size = 12}) + 14;
    }
    y_ += 34;
  }

  // What lies where, as the running kernel names memory.
  void Places() {
    if (plan_.segments.empty()) return;
    svg_.Text(kMargin, y_, plan_.addresses == "forecast" ? "Places, if loaded now" : "Places",
              kHeading);
    y_ += 12;
    std::vector<Segment> rows = plan_.segments;
    std::erase_if(rows, [](const Segment& s) { return s.name == "stamp"; });
    if (plan_.control.size != 0) {
      rows.push_back({.name = "control", .start = plan_.control.start, .size = plan_.control.size});
    }
    std::ranges::sort(rows, {}, &Segment::start);
    const double bar = 250;
    uint64_t largest = 1;
    for (const Segment& row : rows) largest = std::max(largest, row.size);
    for (const Segment& row : rows) {
      y_ += 22;
      svg_.Text(kMargin, y_, row.name, {.size = 13, .bold = true}, kLabel - 8);
      const double width =
          std::max(2.0, bar * static_cast<double>(row.size) / static_cast<double>(largest));
      svg_.Rect(kMargin + kLabel, y_ - 12, width, 15, row.name, 3);
      const double x = kMargin + kLabel + bar + 14;
      svg_.Text(x, y_,
                Hex(row.start) + " – " + Hex(row.start + std::max<uint64_t>(row.size, 1) - 1),
                {.size = 12, .mono = true});
      svg_.Text(x + 290, y_, HumanBytes(row.size), {.size = 13, .anchor = Svg::Anchor::kEnd});
      svg_.Text(x + 304, y_, Note(row), kQuiet, kMargin + kInner - x - 304);
    }
    y_ += 38;
  }

  std::string Note(const Segment& row) const {
    if (row.name == "control") {
      return "relocator, tables " + HumanBytes(plan_.control.table_bytes);
    }
    if (row.name == "kernel" && row.file_bytes != row.size) {
      return "file " + HumanBytes(row.file_bytes) + " and BSS";
    }
    return row.name == "dtb" ? "made by khop" : "";
  }

  void Costs() {
    if (plan_.costs.empty()) return;
    svg_.Text(kMargin, y_, "Expected", kHeading);
    svg_.Text(kMargin + 82, y_, "coloured: at least, grey: at most", {.size = 12, .muted = true});
    y_ += 12;
    uint64_t longest = 1;
    for (const Cost& cost : plan_.costs) longest = std::max(longest, cost.most.value_or(0));
    const double bar = 250;
    const auto width = [&](uint64_t ns) {
      return ns == 0 ? 0.0
                     : std::max(1.5, bar * static_cast<double>(ns) / static_cast<double>(longest));
    };
    for (const Cost& cost : plan_.costs) {
      y_ += 22;
      svg_.Text(kMargin, y_, cost.name, {.size = 13, .bold = true}, kLabel - 8);
      const std::string_view area = AreaOf(cost.name);
      if (cost.most && cost.least) {
        if (*cost.most > *cost.least) {
          svg_.Rect(kMargin + kLabel, y_ - 12, width(*cost.most), 15, "muted", 3);
        }
        if (*cost.least != 0) {
          svg_.Rect(kMargin + kLabel, y_ - 12, width(*cost.least), 15, area, 3);
        }
      }
      const double x = kMargin + kLabel + bar + 14;
      svg_.Text(x, y_, CostText(cost.least, cost.most), kBody, 180);
      svg_.Text(x + 190, y_, cost.meaning, kQuiet, kMargin + kInner - x - 190);
    }
    y_ += 36;
  }

  static std::string_view AreaOf(std::string_view step) {
    if (step == "move" || step == "verify") return step;
    if (step == "shutdown") return "old";
    return step == "kernel-start" ? "next" : "work";
  }

  void Notes() {
    for (const std::string& note : plan_.notes) {
      svg_.Text(kMargin, y_, note, {.size = 12, .muted = true}, kInner);
      y_ += 18;
    }
    y_ += 4;
  }

  const Plan& plan_;
  Svg svg_{kWidth};
  double y_ = 0;
};

}  // namespace

std::string ToSvg(const Plan& plan) { return Picture(plan).Draw(); }

}  // namespace khop::report
