// SPDX-License-Identifier: MIT
// How a report looks on the terminal in front of it. By default: plain ASCII, for pipes and tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace khop::report {

struct Style {
  bool colour = false;
  bool unicode = false;  // block characters
};

// Colours that can be read on a light and on a dark ground: the terminal's own, no white, black or
// yellow.
enum class Ink : uint8_t { kPlain, kBold, kDim, kRed, kGreen, kBlue, kMagenta, kCyan };

// `text` in `ink`; as it is without colour.
std::string Paint(const Style& style, Ink ink, std::string_view text);

// The same as a block: on that colour.
std::string PaintBlock(const Style& style, Ink ink, std::string_view text);

// A bar of `share` (0 to 1) of `columns`, padded to them; by eighths of a column with unicode. What
// is there at all is seen: at least the thinnest bar.
std::string Bar(const Style& style, double share, size_t columns);

}  // namespace khop::report
