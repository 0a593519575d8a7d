// SPDX-License-Identifier: MIT
// Pictures as SVG: one look for all of khop's, in a light and in a dark scheme, whichever the
// viewer prefers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace khop::report {

// Names of the style sheet's classes for areas: "kernel", "initrd", "dtb", "control", "free",
// "movable", "busy", "reserved", "unseen", "old", "next", "move", "verify", "work", "muted".
std::string_view SvgClassOf(std::string_view segment);

class Svg {
 public:
  explicit Svg(double width) : width_(width) {}

  enum class Anchor : uint8_t { kStart, kMiddle, kEnd };
  struct Font {
    double size = 13;
    bool bold = false;
    bool muted = false;
    bool mono = false;
    Anchor anchor = Anchor::kStart;
  };

  // `y` is the base line. Text that is wider than `room` (0: any) loses its middle, and is whole in
  // a tooltip.
  void Text(double x, double y, std::string_view text, const Font& font, double room = 0);
  void Rect(double x, double y, double width, double height, std::string_view area,
            double radius = 0, std::string_view tip = "");
  void Frame(double x, double y, double width, double height, double radius = 0);
  void Line(double x1, double y1, double x2, double y2, bool dashed = false);
  // From one place to another, with an arrow's head at the end.
  void Arrow(double x1, double y1, double x2, double y2);

  // The whole picture. `title` and `description` are for those who cannot see it.
  std::string Finish(double height, std::string_view title, std::string_view description) const;

  // About how wide `text` becomes; never less than it is in the usual fonts.
  static double WidthOf(std::string_view text, const Font& font);

 private:
  double width_;
  std::string body_;
};

}  // namespace khop::report
