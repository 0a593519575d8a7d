// SPDX-License-Identifier: MIT
// The look of khop's reports: labels on the left, wrapped text beside them, 80 columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tool/devicetree/change.h"
#include "tool/report/segment.h"
#include "tool/report/style.h"

namespace khop::report {

inline constexpr size_t kColumns = 80;
inline constexpr size_t kLabelColumns = 13;

class TextPage {
 public:
  explicit TextPage(const Style& style = {}) : style_(style) {}

  // `label` and beside it `text`, broken between words. Words longer than a line (file names) stay
  // whole. With an empty label the text continues the field above. Nothing if `text` is empty.
  void Field(std::string_view label, std::string_view text);
  // As it is, at the left edge.
  void Line(std::string_view text);
  // A line of its own above what belongs to it.
  void Heading(std::string_view text);
  void Gap();

  const Style& style() const { return style_; }

  const std::string& text() const { return text_; }

 private:
  Style style_;
  std::string text_;
};

// A table of segments and, as its last row, the control area, under the label "Memory".
void AddMemory(TextPage& page, const std::vector<Segment>& segments, const ControlArea& control);
// "21 MiB in place, 3 MiB to move (in 2 moves)".
std::string PayloadText(uint64_t bytes_in_place, uint64_t bytes_to_move, uint64_t moves);
// "on: the page tables fit".
std::string MmuText(const std::string& mmu, const std::string& reason);

// "21 pages of 2 MiB, 3 of 32 MiB (138 MiB)"; empty if there are none.
std::string ArenaText(const std::vector<ArenaPages>& arena);
void AddChanges(TextPage& page, const std::vector<devicetree::Change>& changes);

// Of a segment by its name: the same in the map, in the table and in pictures.
Ink InkOf(std::string_view segment);

// Columns on a terminal, for text in UTF-8 of characters one column wide.
size_t Width(std::string_view text);

// "850 ns", "12.345 ms", "3.210 s".
std::string Duration(uint64_t nanoseconds);
std::string PadLeft(std::string_view text, size_t width);
std::string PadRight(std::string_view text, size_t width);

}  // namespace khop::report
