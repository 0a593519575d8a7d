// SPDX-License-Identifier: MIT
#include "tool/report/style.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace khop::report {

namespace {

// ECMA-48 SGR.
constexpr std::array<std::string_view, 8> kCodes = {"", "1", "2", "31", "32", "34", "35", "36"};

}  // namespace

std::string PaintBlock(const Style& style, Ink ink, std::string_view text) {
  if (!style.colour || ink == Ink::kPlain || text.empty()) return std::string(text);
  return "\033[7;" + std::string(kCodes[static_cast<size_t>(ink)]) + "m" + std::string(text) +
         "\033[0m";
}

std::string Paint(const Style& style, Ink ink, std::string_view text) {
  if (!style.colour || ink == Ink::kPlain || text.empty()) return std::string(text);
  return "\033[" + std::string(kCodes[static_cast<size_t>(ink)]) + "m" + std::string(text) +
         "\033[0m";
}

std::string Bar(const Style& style, double share, size_t columns) {
  static constexpr std::array<std::string_view, 8> kEighths = {"",  "▏", "▎", "▍",
                                                               "▌", "▋", "▊", "▉"};
  share = std::clamp(share, 0.0, 1.0);
  const double exact = share * static_cast<double>(columns);
  if (!style.unicode) {
    auto whole = static_cast<size_t>(std::lround(exact));
    if (share > 0 && whole == 0) return std::string("|") + std::string(columns - 1, ' ');
    return std::string(whole, '#') + std::string(columns - whole, ' ');
  }
  auto eighths = static_cast<size_t>(std::lround(exact * 8));
  if (share > 0 && eighths == 0) eighths = 1;
  std::string bar;
  for (size_t i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  const size_t used = eighths / 8 + (eighths % 8 != 0 ? 1 : 0);
  return bar + std::string(columns - used, ' ');
}

}  // namespace khop::report
