// SPDX-License-Identifier: MIT
#include "tool/report/plan.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>
#include <utility>

#include "tool/base/error.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

void AddKernel(TextPage& page, const Plan& plan) {
  std::string what = plan.kernel_format;
  if (!plan.kernel_version.empty()) what += (what.empty() ? "" : ", ") + plan.kernel_version;
  page.Field("Kernel", plan.kernel.path + (what.empty() ? "" : " (" + what + ")"));
  std::string size = HumanBytes(plan.kernel.size) +
                     (plan.kernel_format == "Image" ? " in the file, " : " unpacked, ") +
                     HumanBytes(plan.kernel_image_size) + " in memory";
  if (plan.kernel_page_size != 0) size += ", pages of " + HumanBytes(plan.kernel_page_size);
  page.Field("", size);
}

std::string_view Name(devicetree::ChangeKind kind) {
  switch (kind) {
    case devicetree::ChangeKind::kAdded:
      return "added";
    case devicetree::ChangeKind::kRemoved:
      return "removed";
    case devicetree::ChangeKind::kChanged:
      break;
  }
  return "changed";
}

constexpr uint64_t kRowCells = 64;

struct Glyph {
  std::string_view kind;
  std::string_view ascii;
  std::string_view unicode;
  std::string_view meaning;
};
constexpr std::array<Glyph, 9> kGlyphs = {{
    {"kernel", "K", "K", "kernel"},
    {"initrd", "I", "I", "initrd"},
    {"dtb", "D", "D", "device tree"},
    {"control", "C", "C", "control area"},
    {"free", ".", "·", "free"},
    {"movable", ":", "░", "processes, cache"},
    {"busy", "#", "▒", "the kernel's"},
    {"reserved", "x", "▓", "reserved"},
    {"unseen", "?", "?", "not looked at"},
}};

std::string Draw(const Style& style, std::string_view kind) {
  for (const Glyph& glyph : kGlyphs) {
    if (glyph.kind != kind) continue;
    const Ink ink = InkOf(kind);
    if (ink != Ink::kPlain) return PaintBlock(style, ink, glyph.ascii);
    return Paint(style, kind == "free" ? Ink::kDim : Ink::kPlain,
                 style.unicode ? glyph.unicode : glyph.ascii);
  }
  return " ";
}

void AddMap(TextPage& page, const Plan& plan) {
  if (plan.map.empty()) return;
  page.Gap();
  page.Heading("Memory map, a character for " + HumanBytes(plan.map_cell));
  std::set<std::string_view> seen;
  const uint64_t row_size = kRowCells * plan.map_cell;
  for (size_t i = 0; i < plan.map.size();) {
    const uint64_t row = plan.map[i].start / row_size * row_size;
    std::string line = PadRight(Hex(row), kLabelColumns);
    uint64_t at = row;
    for (; i < plan.map.size() && plan.map[i].start - row < row_size; ++i) {
      for (; at < plan.map[i].start; at += plan.map_cell) line += ' ';
      const std::string_view kind = CellKind(plan, plan.map[i]);
      seen.insert(kind);
      line += Draw(page.style(), kind);
      at += plan.map_cell;
    }
    page.Line(line);
  }
  std::string legend(kLabelColumns, ' ');
  size_t columns = kLabelColumns;
  for (const Glyph& glyph : kGlyphs) {
    if (!seen.contains(glyph.kind)) continue;
    const size_t width = 2 + glyph.meaning.size() + 2;
    if (columns + width - 2 > kColumns) {
      legend.resize(legend.find_last_not_of(' ') + 1);
      page.Line(legend);
      legend.assign(kLabelColumns, ' ');
      columns = kLabelColumns;
    }
    legend += Draw(page.style(), glyph.kind) + " " + std::string(glyph.meaning) + "  ";
    columns += width;
  }
  legend.resize(legend.find_last_not_of(' ') + 1);
  page.Line(legend);
}

void AddCosts(TextPage& page, const Plan& plan) {
  if (plan.costs.empty()) return;
  page.Gap();
  page.Heading("Expected");
  for (const Cost& cost : plan.costs) {
    page.Field("  " + cost.name, CostText(cost.least, cost.most) + ": " + cost.meaning);
  }
}

void AddDiff(TextPage& page, const std::vector<std::string>& diff) {
  if (diff.empty()) return;
  page.Gap();
  page.Heading("Device tree, what differs");
  for (const std::string& line : diff) {
    Ink ink = Ink::kPlain;
    if (line.starts_with('+')) ink = Ink::kGreen;
    if (line.starts_with('-')) ink = Ink::kRed;
    page.Line(Paint(page.style(), ink, Printable(line)));
  }
}

}  // namespace

std::string_view CellKind(const Plan& plan, const MapCell& cell) {
  const auto overlaps = [&](uint64_t start, uint64_t size) {
    return size != 0 && start < cell.start + plan.map_cell && cell.start < start + size;
  };
  if (overlaps(plan.control.start, plan.control.size)) return "control";
  for (const std::string_view name : {"dtb", "kernel", "initrd"}) {
    for (const Segment& segment : plan.segments) {
      if (segment.name == name && overlaps(segment.start, segment.size)) return name;
    }
  }
  const uint64_t busy =
      cell.ram - std::min(cell.ram, cell.reserved + cell.free + cell.movable + cell.unseen);
  std::string_view kind = "free";
  uint64_t most = cell.free;
  for (const auto& [name, bytes] :
       std::initializer_list<std::pair<std::string_view, uint64_t>>{{"movable", cell.movable},
                                                                    {"busy", busy},
                                                                    {"reserved", cell.reserved},
                                                                    {"unseen", cell.unseen}}) {
    if (bytes <= most) continue;
    kind = name;
    most = bytes;
  }
  return kind;
}

CostSum SumCosts(const Plan& plan) {
  CostSum sum;
  for (const Cost& cost : plan.costs) {
    if (cost.name == "kernel-start") continue;  // after the blackout
    sum.least += cost.least.value_or(0);
    sum.most += cost.most.value_or(0);
    sum.whole = sum.whole && cost.least && cost.most;
  }
  return sum;
}

std::string CostText(const std::optional<uint64_t>& least, const std::optional<uint64_t>& most) {
  if (!least || !most) return "not known";
  if (*least == *most) return *most == 0 ? "none" : Duration(*most);
  return Duration(*least) + " to " + Duration(*most);
}

std::string RenderText(const Plan& plan, const Style& style) {
  TextPage page(style);
  page.Field("Route", plan.route + (plan.route_reason.empty() ? "" : ": " + plan.route_reason));
  for (const Refusal& refusal : plan.refused) {
    page.Field("", "not " + refusal.route + ": " + refusal.reason);
  }
  AddKernel(page, plan);
  for (const PlanFile& initrd : plan.initrds) {
    page.Field("Initrd", initrd.path + " (" + HumanBytes(initrd.size) + ")");
  }
  page.Field("Device tree", plan.dtb_source);
  page.Field("Command line", plan.command_line.empty() ? "(empty)" : plan.command_line);
  page.Gap();
  if (plan.addresses == "forecast") page.Heading("If loaded now");
  AddMemory(page, plan.segments, plan.control);
  if (plan.addresses != "unknown") page.Field("Entry", Hex(plan.entry));
  page.Field("Payload", PayloadText(plan.bytes_in_place, plan.bytes_to_move, plan.moves));
  if (!plan.mmu.empty()) page.Field("MMU", MmuText(plan.mmu, plan.mmu_reason));
  page.Field("Arena", ArenaText(plan.arena));
  page.Field("Digest",
             plan.digest == "none" || plan.digest.empty()
                 ? "none: a damaged payload would not be noticed"
             : plan.digest == "early"
                 ? "sha256 over " + HumanBytes(plan.bytes_to_verify) + ", early: at exec --now"
                 : plan.digest + " over " + HumanBytes(plan.bytes_to_verify));
  // No MMU of a relocator's: there is no relocator.
  page.Field("On failure",
             plan.mmu.empty()
                 ? std::string("the hop says nothing: khop's relocator has no part in it")
                 : (plan.console.empty() ? std::string("no console is known")
                                         : "a line on " + plan.console) +
                       (plan.conduit.empty() ? "; no way to reset is known"
                                             : ", then PSCI SYSTEM_RESET (" + plan.conduit + ")"));
  if (!plan.failure_record.empty()) {
    page.Field("", "khop report tells why after the reset: " + plan.failure_record);
  }
  AddMap(page, plan);
  AddCosts(page, plan);
  if (plan.dtb_diff.empty()) {
    if (!plan.dtb_changes.empty()) page.Gap();
    AddChanges(page, plan.dtb_changes);
  }
  AddDiff(page, plan.dtb_diff);
  if (!plan.notes.empty()) page.Gap();
  for (const std::string& note : plan.notes) page.Field("Note", note);
  return page.text();
}

std::string ToJson(const Plan& plan) {
  Json refused = Json::array();
  for (const Refusal& refusal : plan.refused) {
    refused.push_back({{"route", refusal.route}, {"reason", refusal.reason}});
  }
  Json initrds = Json::array();
  for (const PlanFile& initrd : plan.initrds) {
    initrds.push_back({{"path", initrd.path}, {"size", initrd.size}});
  }
  Json changes = Json::array();
  for (const devicetree::Change& change : plan.dtb_changes) {
    changes.push_back(
        {{"change", Name(change.kind)}, {"path", change.path}, {"detail", change.detail}});
  }
  Json cells = Json::array();
  for (const MapCell& cell : plan.map) {
    cells.push_back({{"start", cell.start},
                     {"ram", cell.ram},
                     {"reserved", cell.reserved},
                     {"free", cell.free},
                     {"movable", cell.movable},
                     {"unseen", cell.unseen}});
  }
  Json costs = Json::array();
  for (const Cost& cost : plan.costs) {
    costs.push_back({{"name", cost.name},
                     {"meaning", cost.meaning},
                     {"least_ns", cost.least ? Json(*cost.least) : Json()},
                     {"most_ns", cost.most ? Json(*cost.most) : Json()}});
  }
  const Json json = {{"schema", kSchema},
                     {"addresses", plan.addresses},
                     {"route", plan.route},
                     {"route_reason", plan.route_reason},
                     {"refused", refused},
                     {"kernel",
                      {{"path", plan.kernel.path},
                       {"size", plan.kernel.size},
                       {"format", plan.kernel_format},
                       {"version", plan.kernel_version},
                       {"image_size", plan.kernel_image_size},
                       {"page_size", plan.kernel_page_size}}},
                     {"initrds", initrds},
                     {"command_line", plan.command_line},
                     {"dtb_source", plan.dtb_source},
                     {"entry", plan.entry},
                     {"segments", ToJson(plan.segments)},
                     {"bytes_in_place", plan.bytes_in_place},
                     {"bytes_to_move", plan.bytes_to_move},
                     {"moves", plan.moves},
                     {"mmu", plan.mmu},
                     {"mmu_reason", plan.mmu_reason},
                     {"control", ToJson(plan.control)},
                     {"arena", ToJson(plan.arena)},
                     {"digest", plan.digest},
                     {"bytes_to_verify", plan.bytes_to_verify},
                     {"console", plan.console},
                     {"failure_record", plan.failure_record},
                     {"conduit", plan.conduit},
                     {"dtb_changes", changes},
                     {"dtb_diff", plan.dtb_diff},
                     {"map", {{"cell", plan.map_cell}, {"cells", cells}}},
                     {"costs", costs},
                     {"speeds", plan.speeds ? ToJson(*plan.speeds) : Json()},
                     {"notes", plan.notes}};
  return Dump(json);
}

}  // namespace khop::report
