// SPDX-License-Identifier: MIT
// The UART that last words go to, from earlycon= (Linux, admin-guide/kernel-parameters) or
// stdout-path.
#include <algorithm>
#include <array>
#include <charconv>

#include "tool/devicetree/machine.h"

namespace khop::devicetree {
namespace {

using relocator::UartKind;

// As the kernel's simple_strtoull with base 0; digits up to a comma or the end.
std::optional<uint64_t> ParseNumber(std::string_view text) {
  text = text.substr(0, text.find(','));
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.starts_with('0') && text.size() > 1) {
    base = 8;
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What stands behind "earlycon=".
std::optional<Console> ParseEarlycon(std::string_view text) {
  Console console;
  const size_t comma = text.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  const std::string_view name = text.substr(0, comma);
  std::string_view rest = text.substr(comma + 1);
  if (name == "pl011") {
    console.kind = UartKind::kPl011;
  } else if (name == "uart8250" || name == "uart" || name == "ns16550" || name == "ns16550a") {
    console.kind = UartKind::k8250;
  } else {
    return std::nullopt;
  }
  struct Access {
    std::string_view prefix;
    uint8_t shift;
    uint8_t width;
  };
  // The kernel's order of registers for each; "mmio32be" and I/O ports are not for us.
  static constexpr std::array<Access, 4> kAccesses = {
      {{"mmio,", 0, 1}, {"mmio16,", 1, 2}, {"mmio32,", 2, 4}, {"mmio32native,", 2, 4}}};
  const auto access =
      std::ranges::find_if(kAccesses, [&](const Access& a) { return rest.starts_with(a.prefix); });
  if (access != kAccesses.end()) {
    console.reg_shift = access->shift;
    console.io_width = access->width;
    rest.remove_prefix(access->prefix.size());
  } else if (!rest.starts_with("0x")) {
    return std::nullopt;  // the kernel takes a bare address in this form only
  }
  if (console.kind == UartKind::kPl011) {
    console.reg_shift = 0;
    console.io_width = 4;
  }
  const auto base = ParseNumber(rest);
  if (!base || *base == 0 || *base % console.io_width != 0) return std::nullopt;
  console.base = *base;
  console.source = "earlycon=" + Printable(text);
  return console;
}

// The next word of a kernel command line; double quotes keep spaces together.
std::string_view NextWord(std::string_view& line) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  size_t start = 0;
  while (start < line.size() && is_space(line[start])) ++start;
  size_t end = start;
  bool quoted = false;
  for (; end < line.size() && (quoted || !is_space(line[end])); ++end) {
    if (line[end] == '"') quoted = !quoted;
  }
  const std::string_view word = line.substr(start, end - start);
  line.remove_prefix(end);
  return word;
}

std::optional<Console> ConsoleFromNode(const Tree& tree, size_t node) {
  Console console;
  static constexpr std::array<std::string_view, 2> kPl011 = {"arm,pl011", "arm,sbsa-uart"};
  static constexpr std::array<std::string_view, 7> k8250 = {"ns8250",
                                                            "ns16450",
                                                            "ns16550",
                                                            "ns16550a",
                                                            "ns16750",
                                                            "snps,dw-apb-uart",
                                                            "nvidia,tegra20-uart"};
  const auto compatible = [&](std::string_view text) {
    return tree.ListHas(node, "compatible", text);
  };
  if (std::ranges::any_of(kPl011, compatible)) {
    console.kind = UartKind::kPl011;
    console.io_width = 4;
  } else if (std::ranges::any_of(k8250, compatible)) {
    console.kind = UartKind::k8250;
  } else {
    return std::nullopt;
  }
  if (!tree.IsEnabled(node) || tree.Find(node, "big-endian")) return std::nullopt;
  const auto reg = TranslateReg(tree, node);
  if (!reg || reg->empty()) return std::nullopt;
  const PhysRange registers = reg->front();
  console.base = registers.start.value;
  if (console.kind == UartKind::k8250) {
    const uint32_t shift = tree.FindCell(node, "reg-shift").value_or(0);
    const uint32_t width = tree.FindCell(node, "reg-io-width").value_or(1);
    const uint32_t offset = tree.FindCell(node, "reg-offset").value_or(0);
    if (shift > 4 || (width != 1 && width != 2 && width != 4)) return std::nullopt;
    // Eight registers have to fit.
    if (offset >= registers.size || registers.size - offset < (uint64_t{7} << shift) + width) {
      return std::nullopt;
    }
    console.reg_shift = static_cast<uint8_t>(shift);
    console.io_width = static_cast<uint8_t>(width);
    console.base += offset;
  }
  if (console.base == 0 || console.base % console.io_width != 0) return std::nullopt;
  console.source = Printable(tree.PathOf(node));
  return console;
}

}  // namespace

std::optional<Console> ConsoleFromCommandLine(std::string_view command_line) {
  while (!command_line.empty()) {
    const std::string_view word = NextWord(command_line);
    if (word == "--") break;  // the rest is init's
    for (const std::string_view key : {"earlycon=", "console="}) {
      if (!word.starts_with(key)) continue;
      if (auto console = ParseEarlycon(word.substr(key.size()))) return console;
    }
  }
  return std::nullopt;
}

std::optional<Console> FindConsole(const Tree& tree, std::string_view command_line) {
  if (auto console = ConsoleFromCommandLine(command_line)) return console;
  const auto chosen = tree.FindChild(0, "chosen");
  if (!chosen) return std::nullopt;
  auto path = tree.FindString(*chosen, "stdout-path");
  if (!path) path = tree.FindString(*chosen, "linux,stdout-path");
  if (!path) return std::nullopt;
  const auto node = tree.FindNode(path->substr(0, path->find(':')));
  if (!node) return std::nullopt;
  return ConsoleFromNode(tree, *node);
}

}  // namespace khop::devicetree
