// SPDX-License-Identifier: MIT
#include "tool/report/text.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "tool/base/error.h"

namespace khop::report {
namespace {

std::string Address(uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%012llx", static_cast<unsigned long long>(value));
  return text.data();
}

void AddSegment(TextPage& page, const Segment& segment, std::string_view note) {
  // The last byte, not the one after it: that is what /proc/iomem shows.
  const uint64_t last = segment.size == 0 ? segment.start : segment.start + segment.size - 1;
  std::string row = "  " +
                    Paint(page.style(), InkOf(segment.name),
                          PadRight(Printable(segment.name), kLabelColumns - 2)) +
                    Address(segment.start) + " - " + Address(last) + " " +
                    PadLeft(HumanBytes(segment.size), 10);
  if (!note.empty()) row += "  " + std::string(note);
  page.Line(row);
}

}  // namespace

size_t Width(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Ink InkOf(std::string_view segment) {
  if (segment == "kernel") return Ink::kBlue;
  if (segment == "initrd") return Ink::kGreen;
  if (segment == "dtb") return Ink::kMagenta;
  if (segment == "control") return Ink::kRed;
  return Ink::kPlain;
}

std::string PadLeft(std::string_view text, size_t width) {
  return std::string(width - std::min(width, Width(text)), ' ') + std::string(text);
}

std::string PadRight(std::string_view text, size_t width) {
  return std::string(text) + std::string(width - std::min(width, Width(text)), ' ');
}

void TextPage::Line(std::string_view text) {
  text_ += text;
  text_ += '\n';
}

void TextPage::Heading(std::string_view text) { Line(Paint(style_, Ink::kBold, text)); }

void TextPage::Gap() { text_ += '\n'; }

void TextPage::Field(std::string_view label, std::string_view text) {
  const std::string clean = Printable(text);
  std::string_view rest = clean;
  std::string line = PadRight(label, kLabelColumns);
  if (Width(label) >= kLabelColumns) line += ' ';
  // Painted when it is whole: what a terminal does not show takes no column.
  const auto finish = [&] {
    const bool labelled = !label.empty() && line.starts_with(label);
    Line(labelled ? Paint(style_, Ink::kBold, label) + line.substr(label.size()) : line);
    label = {};
  };
  bool empty = true;
  while (!rest.empty()) {
    if (rest.front() == ' ') {
      rest.remove_prefix(1);
      continue;
    }
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (!empty && Width(line) + 1 + Width(word) > kColumns) {
      finish();
      line.assign(kLabelColumns, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
    rest.remove_prefix(word.size());
  }
  if (!empty) finish();
}

void AddMemory(TextPage& page, const std::vector<Segment>& segments, const ControlArea& control) {
  if (segments.empty() && control.size == 0) return;
  page.Heading("Memory");
  for (const Segment& segment : segments) {
    AddSegment(page, segment,
               segment.name == "stamp" ? "the moment of reboot(2)"
               : segment.file_bytes == 0 || segment.file_bytes == segment.size
                   ? ""
                   : "file " + HumanBytes(segment.file_bytes));
  }
  if (control.size == 0) return;
  AddSegment(page, {.name = "control", .start = control.start, .size = control.size}, "");
  page.Field("", "relocator " + HumanBytes(control.blob_bytes) + ", stack " +
                     HumanBytes(control.stack_bytes) + ", hand-off " +
                     HumanBytes(control.handoff_bytes) + ", page tables " +
                     HumanBytes(control.table_bytes));
}

std::string ArenaText(const std::vector<ArenaPages>& arena) {
  std::string text;
  uint64_t total = 0;
  for (const ArenaPages& pages : arena) {
    if (pages.count == 0) continue;
    text += text.empty() ? "" : ", ";
    text += std::to_string(pages.count) + (pages.count == 1 ? " page of " : " pages of ") +
            HumanBytes(pages.page_size);
    total += pages.count * pages.page_size;
  }
  if (!text.empty()) text += " (" + HumanBytes(total) + ")";
  return text;
}

std::string PayloadText(uint64_t bytes_in_place, uint64_t bytes_to_move, uint64_t moves) {
  std::string text =
      HumanBytes(bytes_in_place) + " in place, " + HumanBytes(bytes_to_move) + " to move";
  if (moves != 0) {
    text += " (in " + std::to_string(moves) + (moves == 1 ? " move)" : " moves)");
  }
  return text;
}

std::string MmuText(const std::string& mmu, const std::string& reason) {
  return mmu + (reason.empty() ? "" : ": " + reason);
}

void AddChanges(TextPage& page, const std::vector<devicetree::Change>& changes) {
  if (changes.empty()) return;
  page.Heading("Device tree changes");
  for (const devicetree::Change& change : changes) {
    const char* sign = "  ~ ";
    if (change.kind == devicetree::ChangeKind::kAdded) sign = "  + ";
    if (change.kind == devicetree::ChangeKind::kRemoved) sign = "  - ";
    std::string row = sign + Printable(change.path);
    // The rest would be a second copy of a long value, as the command line's.
    const std::string detail = Printable(change.detail);
    if (!detail.empty() && Width(row) + 2 + Width(detail) <= kColumns) row += "  " + detail;
    page.Line(row);
  }
}

std::string Duration(uint64_t nanoseconds) {
  struct Unit {
    uint64_t nanoseconds;
    const char* name;
  };
  static constexpr std::array<Unit, 3> kUnits = {
      {{1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}}};
  for (const Unit& unit : kUnits) {
    if (nanoseconds < unit.nanoseconds) continue;
    std::array<char, 48> text{};
    std::snprintf(
        text.data(), text.size(), "%llu.%03llu %s",
        static_cast<unsigned long long>(nanoseconds / unit.nanoseconds),
        static_cast<unsigned long long>(nanoseconds % unit.nanoseconds / (unit.nanoseconds / 1000)),
        unit.name);
    return text.data();
  }
  return std::to_string(nanoseconds) + " ns";
}

}  // namespace khop::report
