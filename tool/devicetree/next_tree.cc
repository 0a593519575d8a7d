// SPDX-License-Identifier: MIT
#include "tool/devicetree/next_tree.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/handoff/handoff.h"
#include "tool/devicetree/cells.h"
#include "tool/devicetree/machine.h"
#include "tool/devicetree/writer.h"

namespace khop::devicetree {
namespace {

struct NewProperty {
  std::string_view name;
  std::vector<std::byte> value;
  std::string detail;
  bool fresh = false;  // differs each time, so a change even where the bytes happen to agree
};

constexpr std::string_view kTimeline = "khop,timeline";

// Properties of /chosen that describe a buffer of the running kernel's: root #address-cells and
// #size-cells.
constexpr std::array<std::string_view, 5> kStaleBuffers = {
    "linux,elfcorehdr", "linux,ima-kexec-buffer", "linux,tpm-kexec-buffer", "linux,kho-fdt",
    "linux,kho-scratch"};

bool IsStale(std::string_view name) {
  return std::ranges::find(kStaleBuffers, name) != kStaleBuffers.end() ||
         name == "linux,usable-memory-range" || name.starts_with("linux,kho-") ||
         name == "linux,initrd-start" || name == "linux,initrd-end" || name == "kaslr-seed" ||
         name == "rng-seed" || name == "linux,booted-from-kexec" || name == "bootargs" ||
         name.starts_with("khop,");
}

std::string_view WhyStale(std::string_view name) {
  if (name.starts_with("linux,initrd-")) return "of the running kernel";
  if (name == "linux,elfcorehdr" || name == "linux,usable-memory-range") return "of a crash kernel";
  if (name.starts_with("khop,")) return "of the last hop";
  if (name == "kaslr-seed" || name == "rng-seed") return "used up";
  return "of an earlier kernel";
}

// (address, size) pairs in the root's cells; nothing if they do not fit.
std::optional<std::vector<std::byte>> RangesValue(const Tree& tree,
                                                  std::span<const PhysRange> ranges) {
  std::vector<std::byte> value;
  for (const PhysRange& range : ranges) {
    for (const auto& [number, cells] : {std::pair{range.start.value, AddressCells(tree, 0)},
                                        std::pair{range.size, SizeCells(tree, 0)}}) {
      if (cells == 0 || cells > 2 || (cells == 1 && number > UINT32_MAX)) return std::nullopt;
      const std::vector<std::byte> bytes = Cell64(number);
      value.insert(value.end(), bytes.end() - cells * ptrdiff_t{4}, bytes.end());
    }
  }
  return value;
}

std::string Show(std::span<const PhysRange> ranges) {
  std::string text;
  for (const PhysRange& range : ranges) {
    text += (text.empty() ? "" : ", ") + Hex(range.start.value) + " " + Hex(range.size);
  }
  return text;
}

// Errors: kBadDeviceTree.
Result<void> AddCaptureProperties(const Tree& tree, const NextTreeOptions& options,
                                  std::vector<NewProperty>& added) {
  std::vector<PhysRange> header;
  if (options.elf_core_header) header.push_back(*options.elf_core_header);
  for (const auto& [name, ranges] :
       {std::pair{"linux,elfcorehdr", header},
        std::pair{"linux,usable-memory-range", options.usable_memory}}) {
    if (ranges.empty()) continue;
    auto value = RangesValue(tree, ranges);
    if (!value) {
      return Fail(ExitCode::kBadDeviceTree, tree.name(),
                  "its root has too few cells for the address of " + std::string(name),
                  "give another one with --dtb");
    }
    added.push_back({name, *std::move(value), Show(ranges), false});
  }
  return {};
}

std::vector<NewProperty> NewProperties(const NextTreeOptions& options) {
  std::vector<NewProperty> added;
  added.push_back({"bootargs", StringValue(options.command_line),
                   "\"" + Printable(options.command_line) + "\"", false});
  if (options.initrd) {
    const PhysRange& initrd = *options.initrd;
    added.push_back(
        {"linux,initrd-start", Cell64(initrd.start.value), Hex(initrd.start.value), false});
    added.push_back(
        {"linux,initrd-end", Cell64(initrd.end().value), Hex(initrd.end().value), false});
  }
  if (options.kaslr_seed) {
    added.push_back({"kaslr-seed", Cell64(*options.kaslr_seed), "fresh", true});
  }
  if (!options.rng_seed.empty()) added.push_back({"rng-seed", options.rng_seed, "fresh", true});
  added.push_back({"linux,booted-from-kexec", {}, "", false});
  if (!options.route.empty()) {
    added.push_back({"khop,route", StringValue(options.route), Printable(options.route), false});
  }
  if (!options.from.empty()) {
    added.push_back({"khop,from", StringValue(options.from), Printable(options.from), false});
  }
  if (options.timeline) {
    added.push_back({kTimeline, std::vector<std::byte>(handoff::kTimelineSize),
                     "to be filled in by the relocator", false});
  }
  return added;
}

// The ranges of memory that stale properties name: their reservations are stale, too.
std::vector<PhysRange> StaleRanges(const Tree& tree, size_t chosen) {
  std::vector<PhysRange> ranges;
  if (const auto initrd = ReadInitrd(tree)) ranges.push_back(*initrd);
  for (const std::string_view property : kStaleBuffers) {
    const auto value = tree.Find(chosen, property);
    if (!value) continue;
    const auto entries = ReadRanges(*value, AddressCells(tree, 0), SizeCells(tree, 0));
    if (entries) ranges.insert(ranges.end(), entries->begin(), entries->end());
  }
  return ranges;
}

std::vector<PhysRange> Reservations(const Tree& tree, std::span<const PhysRange> stale,
                                    std::span<const PhysRange> extra,
                                    std::vector<Change>& changes) {
  std::vector<PhysRange> kept;
  for (const PhysRange& range : tree.memory_reservations()) {
    // Boot loaders and kernels round the size up to pages.
    const bool drop = std::ranges::any_of(stale, [&](const PhysRange& old) {
      return range.start == old.start && range.size >= old.size && range.size - old.size < 0x10000;
    });
    const std::string path = "/memreserve/ " + Hex(range.start.value) + " " + Hex(range.size);
    if (drop) {
      changes.push_back({ChangeKind::kRemoved, path, "of the running kernel"});
    } else if (std::ranges::find(kept, range) != kept.end()) {
      changes.push_back({ChangeKind::kRemoved, path, "a duplicate"});
    } else {
      kept.push_back(range);
    }
  }
  for (const PhysRange& range : extra) {
    const auto covers = [&](const PhysRange& r) { return r.Contains(range); };
    if (range.empty() || std::ranges::any_of(kept, covers)) continue;
    kept.push_back(range);
    changes.push_back(
        {ChangeKind::kAdded, "/memreserve/ " + Hex(range.start.value) + " " + Hex(range.size), ""});
  }
  return kept;
}

void CompareChosen(const Tree& tree, std::optional<size_t> chosen,
                   std::span<const NewProperty> added, std::vector<Change>& changes) {
  const std::string path = chosen ? tree.PathOf(*chosen) + "/" : std::string("/chosen/");
  for (const NewProperty& property : added) {
    const auto old = chosen ? tree.Find(*chosen, property.name) : std::nullopt;
    if (old && !property.fresh && std::ranges::equal(*old, property.value)) continue;
    changes.push_back({old ? ChangeKind::kChanged : ChangeKind::kAdded,
                       path + std::string(property.name), property.detail});
  }
  if (!chosen) return;
  for (const Property& property : tree.nodes()[*chosen].properties) {
    const auto same = [&](const NewProperty& p) { return p.name == property.name; };
    if (!IsStale(property.name) || std::ranges::any_of(added, same)) continue;
    changes.push_back({ChangeKind::kRemoved, path + Printable(property.name),
                       std::string(WhyStale(property.name))});
  }
}

// Writes the new properties of /chosen; returns where the timeline's value is in the structure
// block.
size_t WriteNew(Writer& writer, std::span<const NewProperty> added) {
  size_t timeline = 0;
  for (const NewProperty& property : added) {
    writer.AddProperty(property.name, property.value);
    if (property.name == kTimeline) timeline = writer.last_value();
  }
  return timeline;
}

}  // namespace

Result<NextTree> BuildNextTree(const Tree& running, const NextTreeOptions& options) {
  if (options.command_line.size() > kMaxCommandLine) {
    return Fail(ExitCode::kCommandLineTooLong, "command line",
                "it has " + std::to_string(options.command_line.size()) +
                    " bytes and arm64 kernels take " + std::to_string(kMaxCommandLine),
                "shorten it");
  }
  if (options.command_line.find('\0') != std::string::npos) {
    return Fail(ExitCode::kUsage, "command line", "it holds a NUL", "leave that out");
  }

  std::optional<size_t> chosen = running.FindChild(0, "chosen");
  std::vector<NewProperty> added = NewProperties(options);
  if (const auto more = AddCaptureProperties(running, options, added); !more) return Forward(more);
  NextTree next;
  CompareChosen(running, chosen, added, next.changes);
  const std::vector<PhysRange> stale =
      chosen ? StaleRanges(running, *chosen) : std::vector<PhysRange>();
  const std::vector<PhysRange> reservations =
      Reservations(running, stale, options.extra_reservations, next.changes);

  Writer writer;
  size_t timeline = 0;
  std::vector<size_t> open;
  for (size_t i = 0; i < running.nodes().size(); ++i) {
    const Node& node = running.nodes()[i];
    while (!open.empty() && open.back() != node.parent) {
      writer.EndNode();
      open.pop_back();
    }
    writer.BeginNode(node.name);
    open.push_back(i);
    for (const Property& property : node.properties) {
      if (i == chosen && IsStale(property.name)) continue;
      writer.AddProperty(property.name, property.value);
    }
    if (i == chosen) timeline = WriteNew(writer, added);
  }
  for (; open.size() > 1; open.pop_back()) writer.EndNode();
  if (!chosen) {
    writer.BeginNode("chosen");
    timeline = WriteNew(writer, added);
    writer.EndNode();
  }
  writer.EndNode();

  size_t structure_offset = 0;
  next.bytes = writer.Finish(reservations, running.boot_cpu(), timeline, structure_offset);
  if (next.bytes.size() > kMaxTreeSize) {
    return Fail(ExitCode::kBadDeviceTree, running.name(),
                "the next kernel's device tree would be larger than 2 MiB",
                "give a smaller one with --dtb");
  }
  if (options.timeline) next.timeline_offset = static_cast<uint32_t>(structure_offset + timeline);
  return next;
}

}  // namespace khop::devicetree
