// SPDX-License-Identifier: MIT
#include "tool/report/svg.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "tool/base/error.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

struct Area {
  std::string_view name;
  std::string_view light;
  std::string_view dark;
};

constexpr std::array<Area, 15> kAreas = {{
    {"kernel", "#0969da", "#58a6ff"},
    {"initrd", "#1a7f37", "#3fb950"},
    {"dtb", "#8250df", "#bc8cff"},
    {"control", "#cf222e", "#ff7b72"},
    {"free", "#eef1f4", "#21262d"},
    {"movable", "#d0d7de", "#30363d"},
    {"busy", "#afb8c1", "#484f58"},
    {"reserved", "#8c959f", "#6e7681"},
    {"unseen", "#f6f8fa", "#161b22"},
    {"old", "#8c959f", "#8b949e"},
    {"next", "#1a7f37", "#3fb950"},
    {"move", "#bc4c00", "#f0883e"},
    {"verify", "#8250df", "#bc8cff"},
    {"work", "#0969da", "#58a6ff"},
    {"muted", "#d8dee4", "#30363d"},
}};

std::string Number(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.2f", value);
  std::string out = text.data();
  while (out.ends_with('0')) out.pop_back();
  if (out.ends_with('.')) out.pop_back();
  return out == "-0" ? "0" : out;
}

std::string Attribute(std::string_view name, double value) {
  return " " + std::string(name) + "=\"" + Number(value) + "\"";
}

// Text is UTF-8 or becomes it: XML has no other bytes.
std::string Escape(std::string_view text) {
  std::string out;
  const std::string printable = Printable(text);
  for (size_t i = 0; i < printable.size();) {
    const auto c = static_cast<unsigned char>(printable[i]);
    size_t size = 1;
    if (c >= 0xc2 && c < 0xe0) size = 2;
    if (c >= 0xe0 && c < 0xf0) size = 3;
    if (c >= 0xf0 && c < 0xf5) size = 4;
    bool whole = (c < 0x80 || size > 1) && i + size <= printable.size();
    for (size_t k = 1; whole && k < size; ++k) {
      whole = (static_cast<unsigned char>(printable[i + k]) & 0xc0) == 0x80;
    }
    if (!whole) {
      out += '?';
      ++i;
      continue;
    }
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += printable.substr(i, size);
    }
    i += size;
  }
  return out;
}

// The first `count` characters, or the last.
std::string_view Head(std::string_view text, size_t count) {
  size_t at = 0;
  while (at < text.size() && count > 0) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
    --count;
  }
  return text.substr(0, at);
}
std::string_view Tail(std::string_view text, size_t count) {
  size_t at = text.size();
  while (at > 0 && count > 0) {
    --at;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    --count;
  }
  return text.substr(at);
}

std::string Shortened(std::string_view text, const Svg::Font& font, double room) {
  if (room <= 0 || Svg::WidthOf(text, font) <= room) return std::string(text);
  for (size_t keep = Width(text); keep > 1; --keep) {
    // The end of a file's name tells more than its middle.
    const std::string shorter =
        std::string(Head(text, keep / 2)) + "…" + std::string(Tail(text, keep - keep / 2));
    if (Svg::WidthOf(shorter, font) <= room) return shorter;
  }
  return "…";
}

std::string StyleSheet() {
  std::string css =
      "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,"
      "sans-serif;fill:#1f2328}.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"
      "'DejaVu Sans Mono',monospace}.bold{font-weight:600}.dim{fill:#59636e}"
      ".ground{fill:#ffffff}.frame{fill:none;stroke:#8c959f}.line{stroke:#8c959f;fill:none}"
      ".head{fill:#59636e}";
  for (const Area& area : kAreas) {
    css += "." + std::string(area.name) + "{fill:" + std::string(area.light) + "}";
  }
  css +=
      "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9198a1}"
      ".ground{fill:#0d1117}.frame,.line{stroke:#6e7681}.head{fill:#9198a1}";
  for (const Area& area : kAreas) {
    css += "." + std::string(area.name) + "{fill:" + std::string(area.dark) + "}";
  }
  return css + "}";
}

}  // namespace

std::string_view SvgClassOf(std::string_view segment) {
  if (segment == "stamp") return "control";
  for (const Area& area : kAreas) {
    if (area.name == segment) return area.name;
  }
  return "muted";
}

double Svg::WidthOf(std::string_view text, const Font& font) {
  if (font.mono) return static_cast<double>(Width(text)) * font.size * 0.62;
  double em = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) == 0x80) continue;
    if (std::string_view("iljtf.,:;|!'()[] ").contains(c)) {
      em += 0.34;
    } else if (std::string_view("mwMW@%").contains(c)) {
      em += 0.95;
    } else if (c >= 'A' && c <= 'Z') {
      em += 0.72;
    } else {
      em += byte < 0x80 ? 0.6 : 0.9;
    }
  }
  return em * font.size * (font.bold ? 1.06 : 1.0);
}

void Svg::Text(double x, double y, std::string_view text, const Font& font, double room) {
  const std::string shown = Shortened(text, font, room);
  std::string classes;
  if (font.bold) classes += " bold";
  if (font.muted) classes += " dim";
  if (font.mono) classes += " mono";
  body_ += "<text" + Attribute("x", x) + Attribute("y", y) + Attribute("font-size", font.size);
  if (!classes.empty()) body_ += " class=\"" + classes.substr(1) + "\"";
  if (font.anchor == Anchor::kMiddle) body_ += " text-anchor=\"middle\"";
  if (font.anchor == Anchor::kEnd) body_ += " text-anchor=\"end\"";
  body_ += ">" + Escape(shown);
  if (shown != text) body_ += "<title>" + Escape(text) + "</title>";
  body_ += "</text>\n";
}

void Svg::Rect(double x, double y, double width, double height, std::string_view area,
               double radius, std::string_view tip) {
  body_ += "<rect" + Attribute("x", x) + Attribute("y", y) + Attribute("width", width) +
           Attribute("height", height) + " class=\"" + std::string(SvgClassOf(area)) + "\"";
  if (radius > 0) body_ += Attribute("rx", radius);
  body_ += tip.empty() ? "/>\n" : "><title>" + Escape(tip) + "</title></rect>\n";
}

void Svg::Frame(double x, double y, double width, double height, double radius) {
  body_ += "<rect" + Attribute("x", x) + Attribute("y", y) + Attribute("width", width) +
           Attribute("height", height) + " class=\"frame\"";
  if (radius > 0) body_ += Attribute("rx", radius);
  body_ += "/>\n";
}

void Svg::Line(double x1, double y1, double x2, double y2, bool dashed) {
  body_ += "<path d=\"M" + Number(x1) + " " + Number(y1) + "L" + Number(x2) + " " + Number(y2) +
           "\" class=\"line\"" + (dashed ? " stroke-dasharray=\"3 3\"" : "") + "/>\n";
}

void Svg::Arrow(double x1, double y1, double x2, double y2) {
  const double middle = (y1 + y2) / 2;
  body_ += "<path d=\"M" + Number(x1) + " " + Number(y1) + "C" + Number(x1) + " " + Number(middle) +
           " " + Number(x2) + " " + Number(middle) + " " + Number(x2) + " " + Number(y2 - 5) +
           "\" class=\"line\"/>\n";
  body_ += "<path d=\"M" + Number(x2) + " " + Number(y2) + "l-3 -6h6z\" class=\"head\"/>\n";
}

std::string Svg::Finish(double height, std::string_view title, std::string_view description) const {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + Number(width_) + " " +
         Number(height) + "\"" + Attribute("width", width_) + Attribute("height", height) +
         " role=\"img\">\n<title>" + Escape(title) + "</title>\n<desc>" + Escape(description) +
         "</desc>\n<style>" + StyleSheet() + "</style>\n<rect" + Attribute("width", width_) +
         Attribute("height", height) + " rx=\"8\" class=\"ground\"/>\n" + body_ + "</svg>\n";
}

}  // namespace khop::report
