// SPDX-License-Identifier: MIT
#include "tool/devicetree/dts.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "tool/devicetree/cells.h"

namespace khop::devicetree {
namespace {

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

// Strings that each end with a NUL, none of them empty and all printable; else nothing.
std::optional<std::string> AsStrings(std::span<const std::byte> value) {
  std::string_view rest(reinterpret_cast<const char*>(value.data()), value.size());
  if (rest.empty() || rest.back() != '\0') return std::nullopt;
  std::string text;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find('\0'));
    const bool printable = std::ranges::all_of(one, [](char c) { return c >= ' ' && c <= '~'; });
    // An empty command line is a string, four zero bytes are a number.
    if (!printable || (one.empty() && value.size() != 1)) return std::nullopt;
    text += (text.empty() ? "" : ", ") + Quoted(one);
    rest.remove_prefix(one.size() + 1);
  }
  return text;
}

std::string AsCells(std::span<const std::byte> value) {
  std::string text;
  for (size_t at = 0; at < value.size(); at += 4) {
    text += (at == 0 ? "" : " ") + Hex(ReadNumber(value.subspan(at, 4)));
  }
  return "<" + text + ">";
}

std::string AsBytes(std::span<const std::byte> value) {
  std::string text;
  for (const std::byte byte : value) {
    std::array<char, 4> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", std::to_integer<unsigned>(byte));
    text += (text.empty() ? "" : " ") + std::string(digits.data());
  }
  return "[" + text + "]";
}

bool IsZero(std::span<const std::byte> value) {
  return std::ranges::all_of(value, [](std::byte byte) { return byte == std::byte{0}; });
}

std::string Indent(size_t depth) { return std::string(4 * depth, ' '); }

class Diff {
 public:
  Diff(const Tree& before, const Tree& after) : before_(before), after_(after) {}

  std::vector<std::string> Run() {
    Reservations(before_, after_, '-');
    Reservations(after_, before_, '+');
    Node(0, 0, 0);
    return std::move(lines_);
  }

 private:
  void Line(char sign, size_t depth, std::string_view text) {
    lines_.push_back(std::string(1, sign) + Indent(depth) + Printable(text));
  }

  void Reservations(const Tree& of, const Tree& other, char sign) {
    for (const PhysRange& range : of.memory_reservations()) {
      if (std::ranges::find(other.memory_reservations(), range) !=
          other.memory_reservations().end()) {
        continue;
      }
      Line(sign, 0, "/memreserve/ " + Hex(range.start.value) + " " + Hex(range.size) + ";");
    }
  }

  std::vector<size_t> Children(const Tree& tree, size_t node) const {
    std::vector<size_t> children;
    for (size_t i = node + 1; i < tree.nodes().size(); ++i) {
      if (tree.nodes()[i].parent == node) children.push_back(i);
    }
    return children;
  }

  void Whole(const Tree& tree, size_t node, size_t depth, char sign) {
    Line(sign, depth, std::string(tree.nodes()[node].name) + " {");
    for (const Property& p : tree.nodes()[node].properties) Line(sign, depth + 1, ToDts(p));
    for (const size_t child : Children(tree, node)) Whole(tree, child, depth + 1, sign);
    Line(sign, depth, "};");
  }

  void Properties(size_t old_node, size_t new_node, size_t depth) {
    for (const Property& old : before_.nodes()[old_node].properties) {
      const auto now = after_.Find(new_node, old.name);
      if (now && std::ranges::equal(*now, old.value)) continue;
      const std::string text = now ? ToDts({old.name, *now}) : "";
      // What is not shown may differ all the same.
      if (text != ToDts(old)) Line('-', depth, ToDts(old));
      if (now) Line('+', depth, text);
    }
    for (const Property& now : after_.nodes()[new_node].properties) {
      if (!before_.Find(old_node, now.name)) Line('+', depth, ToDts(now));
    }
  }

  void Node(size_t old_node, size_t new_node, size_t depth) {
    const size_t start = lines_.size();
    const std::string_view name = before_.nodes()[old_node].name;
    Line(' ', depth, (old_node == 0 ? "/" : std::string(name)) + " {");
    const size_t inside = lines_.size();
    Properties(old_node, new_node, depth + 1);
    const auto now = Children(after_, new_node);
    for (const size_t child : Children(before_, old_node)) {
      const auto same = after_.FindChild(new_node, before_.nodes()[child].name);
      if (same) {
        Node(child, *same, depth + 1);
      } else {
        Whole(before_, child, depth + 1, '-');
      }
    }
    for (const size_t child : now) {
      if (!before_.FindChild(old_node, after_.nodes()[child].name)) {
        Whole(after_, child, depth + 1, '+');
      }
    }
    if (lines_.size() == inside) {
      lines_.resize(start);
      return;
    }
    Line(' ', depth, "};");
  }

  const Tree& before_;
  const Tree& after_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string ToDts(const Property& property) {
  const std::string text(property.name);
  if (property.name == "kaslr-seed" || property.name == "rng-seed") {
    return text + "; /* " + std::to_string(property.value.size()) + " bytes" +
           (IsZero(property.value) ? ", used up */" : ", fresh */");
  }
  if (property.name == "khop,timeline") {
    return text + "; /* " + std::to_string(property.value.size()) + " bytes */";
  }
  if (property.value.empty()) return text + ";";
  if (const auto strings = AsStrings(property.value)) return text + " = " + *strings + ";";
  if (property.value.size() % 4 == 0) return text + " = " + AsCells(property.value) + ";";
  return text + " = " + AsBytes(property.value) + ";";
}

std::vector<std::string> DiffDts(const Tree& before, const Tree& after) {
  return Diff(before, after).Run();
}

}  // namespace khop::devicetree
