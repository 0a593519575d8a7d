// SPDX-License-Identifier: MIT
#include "tool/devicetree/machine.h"

#include <algorithm>

#include "tool/devicetree/cells.h"

namespace khop::devicetree {
namespace {

// `range` as the bus above `bus` sees it.
std::optional<PhysRange> TranslateOnce(const Tree& tree, size_t bus, PhysRange range) {
  const auto map = tree.Find(bus, "ranges");
  if (!map) return std::nullopt;
  if (map->empty()) return range;
  const uint32_t child_cells = AddressCells(tree, bus);
  const uint32_t parent_cells = AddressCells(tree, tree.nodes()[bus].parent);
  const uint32_t size_cells = SizeCells(tree, bus);
  if (child_cells > 2 || parent_cells > 2 || size_cells > 2) return std::nullopt;
  const size_t child_bytes = size_t{4} * child_cells;
  const size_t parent_bytes = size_t{4} * parent_cells;
  const size_t entry_bytes = child_bytes + parent_bytes + size_t{4} * size_cells;
  if (entry_bytes == 0 || map->size() % entry_bytes != 0) return std::nullopt;
  for (size_t at = 0; at < map->size(); at += entry_bytes) {
    const std::span<const std::byte> entry = map->subspan(at, entry_bytes);
    const PhysRange window = {{ReadNumber(entry.first(child_bytes))},
                              ReadNumber(entry.subspan(child_bytes + parent_bytes))};
    if (!window.valid() || !window.Contains(range)) continue;
    const PhysRange target = {{ReadNumber(entry.subspan(child_bytes, parent_bytes))}, window.size};
    if (!target.valid()) return std::nullopt;
    return PhysRange{target.start + (range.start - window.start), range.size};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<PhysRange>> TranslateReg(const Tree& tree, size_t node) {
  const auto reg = tree.Find(node, "reg");
  if (node == 0 || !reg) return std::nullopt;
  const size_t parent = tree.nodes()[node].parent;
  auto ranges = ReadRanges(*reg, AddressCells(tree, parent), SizeCells(tree, parent));
  if (!ranges) return std::nullopt;
  for (PhysRange& range : *ranges) {
    for (size_t bus = parent; bus != 0; bus = tree.nodes()[bus].parent) {
      const auto translated = TranslateOnce(tree, bus, range);
      if (!translated) return std::nullopt;
      range = *translated;
    }
  }
  return ranges;
}

relocator::PsciConduit FindPsciConduit(const Tree& tree) {
  for (size_t i = 0; i < tree.nodes().size(); ++i) {
    // PSCI 0.1 ("arm,psci") has no SYSTEM_RESET (Arm DEN 0022, 5.9).
    if (!tree.ListHas(i, "compatible", "arm,psci-0.2") &&
        !tree.ListHas(i, "compatible", "arm,psci-1.0")) {
      continue;
    }
    if (!tree.IsEnabled(i)) continue;
    const auto method = tree.FindString(i, "method");
    if (method == "smc") return relocator::PsciConduit::kSmc;
    if (method == "hvc") return relocator::PsciConduit::kHvc;
  }
  return relocator::PsciConduit::kNone;
}

bool UsesSpinTable(const Tree& tree) {
  const auto cpus = tree.FindChild(0, "cpus");
  if (!cpus) return false;
  for (size_t i = 0; i < tree.nodes().size(); ++i) {
    if (tree.nodes()[i].parent == *cpus && tree.FindString(i, "enable-method") == "spin-table") {
      return true;
    }
  }
  return false;
}

bool HasIts(const Tree& tree) {
  for (size_t i = 0; i < tree.nodes().size(); ++i) {
    if (tree.ListHas(i, "compatible", "arm,gic-v3-its") && tree.IsEnabled(i)) return true;
  }
  return false;
}

bool BootedByUefi(const Tree& tree) {
  const auto chosen = tree.FindChild(0, "chosen");
  return chosen && tree.Find(*chosen, "linux,uefi-system-table").has_value();
}

Result<std::vector<ReservedRange>> ReservedRanges(const Tree& tree) {
  std::vector<ReservedRange> reserved;
  for (const PhysRange& range : tree.memory_reservations()) {
    reserved.push_back({.range = range, .name = "/memreserve/"});
  }
  const auto parent = tree.FindChild(0, "reserved-memory");
  if (!parent) return reserved;
  for (size_t i = *parent + 1; i < tree.nodes().size(); ++i) {
    const Node& node = tree.nodes()[i];
    if (node.parent != *parent || !tree.IsEnabled(i) || !tree.Find(i, "reg")) continue;
    const auto ranges = TranslateReg(tree, i);
    if (!ranges) {
      return Fail(ExitCode::kBadDeviceTree, tree.name(),
                  tree.PathOf(i) + " has an address that cannot be understood",
                  "please report this tree");
    }
    for (const PhysRange& range : *ranges) {
      reserved.push_back({.range = range,
                          .name = std::string(node.name),
                          .no_map = tree.Find(i, "no-map").has_value()});
    }
  }
  return reserved;
}

Result<std::vector<PhysRange>> MemoryRanges(const Tree& tree) {
  std::vector<PhysRange> memory;
  for (size_t i = 1; i < tree.nodes().size(); ++i) {
    if (tree.nodes()[i].parent != 0 || tree.FindString(i, "device_type") != "memory" ||
        !tree.IsEnabled(i)) {
      continue;
    }
    const auto ranges = TranslateReg(tree, i);
    if (!ranges) {
      return Fail(ExitCode::kBadDeviceTree, tree.name(),
                  tree.PathOf(i) + " has an address that cannot be understood",
                  "please report this tree");
    }
    memory.insert(memory.end(), ranges->begin(), ranges->end());
  }
  return memory;
}

std::optional<std::vector<std::byte>> ReadTimeline(const Tree& tree) {
  const auto chosen = tree.FindChild(0, "chosen");
  if (!chosen) return std::nullopt;
  const auto value = tree.Find(*chosen, "khop,timeline");
  if (!value) return std::nullopt;
  return std::vector<std::byte>(value->begin(), value->end());
}

std::optional<PhysRange> ReadInitrd(const Tree& tree) {
  const auto chosen = tree.FindChild(0, "chosen");
  if (!chosen) return std::nullopt;
  const auto number = [&](std::string_view property) -> std::optional<uint64_t> {
    const auto value = tree.Find(*chosen, property);
    // Linux takes any number of cells here.
    if (!value || (value->size() != 4 && value->size() != 8)) return std::nullopt;
    return ReadNumber(*value);
  };
  const auto start = number("linux,initrd-start");
  const auto end = number("linux,initrd-end");
  if (!start || !end || *end <= *start) return std::nullopt;
  return PhysRange{{*start}, *end - *start};
}

std::string ReadChosenString(const Tree& tree, std::string_view property) {
  const auto chosen = tree.FindChild(0, "chosen");
  if (!chosen) return {};
  return std::string(tree.FindString(*chosen, property).value_or(""));
}

}  // namespace khop::devicetree
