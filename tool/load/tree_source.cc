// SPDX-License-Identifier: MIT
#include "tool/load/tree_source.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "tool/devicetree/edit.h"
#include "tool/image/sandbox.h"
#include "tool/load/running_tree.h"

namespace khop::load {
namespace {

using Bytes = std::vector<std::byte>;
using devicetree::Tree;
using system::System;

// All of a payload that is to be small.
Result<Bytes> ReadSmall(System& system, const SourceFile& source, const std::string& name) {
  if (source.size > 2 * devicetree::kMaxTreeSize) {
    return Fail(ExitCode::kBadDeviceTree, name, "it has " + HumanBytes(source.size),
                "give a device tree of at most 2 MiB");
  }
  auto stream = OpenStream(system, source);
  if (!stream) return Forward(stream);
  Bytes bytes(static_cast<size_t>(source.size));
  if (const auto read = stream->Read(bytes); !read) return Forward(read);
  return bytes;
}

Result<Bytes> ReadNamed(System& system, const std::string& path, std::string_view role) {
  const auto source = OpenSource(system, path, role);
  if (!source) return Forward(source);
  return ReadSmall(system, *source, path);
}

Result<Bytes> ReadPart(System& system, const Prepared& prepared, const image::Part& part) {
  const auto source = OpenPart(system, prepared.kernel, part.where, "the device tree");
  if (!source) return Forward(source);
  return ReadSmall(system, *source, prepared.kernel.path + ": " + part.name);
}

// Overlays are somebody's files, too: libfdt gets them in a child.
Result<Bytes> Merge(const Bytes& base, const std::vector<Bytes>& overlays,
                    const std::vector<std::string>& names) {
  auto sandbox = image::Sandbox::Start(
      [](std::span<std::byte> /*out*/, uint64_t /*offset*/) -> Result<size_t> { return size_t{0}; },
      0, names.front(),
      [&](image::Channel& channel) -> Result<void> {
        const auto merged = devicetree::ApplyOverlays(base, overlays, names);
        if (!merged) return Forward(merged);
        return channel.Give(*merged);
      });
  if (!sandbox) return Forward(sandbox);
  Bytes merged;
  for (;;) {
    const auto some = sandbox->Next();
    if (!some) return Forward(some);
    if (some->empty() || merged.size() > 2 * devicetree::kMaxTreeSize) return merged;
    merged.insert(merged.end(), some->begin(), some->end());
  }
}

bool HasMemory(std::span<const PhysRange> ranges) {
  return std::ranges::any_of(ranges, [](const PhysRange& range) { return !range.empty(); });
}

// A tree of a board, as its vendor ships it, leaves the memory to the boot loader.
Result<void> SupplyMemory(System& system, Bytes& bytes, Prepared& prepared) {
  const auto tree = Tree::Parse(bytes, prepared.dtb_source);
  if (!tree) return Forward(tree);
  const auto own = devicetree::MemoryRanges(*tree);
  if (!own) return Forward(own);
  if (HasMemory(*own) || devicetree::BootedByUefi(*tree)) return {};
  const auto running = ReadRunningTree(system);
  const auto memory =
      running ? devicetree::MemoryRanges(*running) : Result<std::vector<PhysRange>>();
  if (!memory) return Forward(memory);
  Result<Bytes> with = std::unexpected(Failure{});
  if (HasMemory(*memory)) {
    with = devicetree::WithMemory(bytes, *memory, prepared.dtb_source);
    prepared.notes.emplace_back("the device tree names no memory: it gets the running machine's");
  } else if (running && devicetree::BootedByUefi(*running)) {
    with = devicetree::WithUefi(bytes, *running, prepared.dtb_source);
    prepared.notes.emplace_back(
        "the device tree names no memory: it gets the running kernel's UEFI properties");
  } else {
    return Fail(ExitCode::kBadDeviceTree, prepared.dtb_source,
                "it names no memory, and the running machine's tree does not either",
                "give one with memory nodes");
  }
  if (!with) return Forward(with);
  bytes = *std::move(with);
  return {};
}

}  // namespace

std::vector<std::string> RunningCompatible(System& system) {
  std::vector<std::string> strings;
  const auto running = ReadRunningTree(system);
  const auto value = running ? running->Find(0, "compatible") : std::nullopt;
  if (!value) return strings;
  std::string_view rest(reinterpret_cast<const char*>(value->data()), value->size());
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    strings.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return strings;
}

Result<void> ReadTree(System& system, const LoadOptions& options, Prepared& prepared) {
  const std::vector<image::Part>& parts = prepared.contents.trees;
  Bytes bytes;
  std::vector<Bytes> overlays;
  std::vector<std::string> names;
  const bool of_image = !options.dtb && !parts.empty();
  if (options.dtb || of_image) {
    prepared.dtb_source =
        of_image ? prepared.kernel.path + ": " + Printable(parts.front().name) : *options.dtb;
    auto read = of_image ? ReadPart(system, prepared, parts.front())
                         : ReadNamed(system, *options.dtb, "the device tree");
    if (!read) return Forward(read);
    bytes = *std::move(read);
    for (size_t i = 1; of_image && i < parts.size(); ++i) {
      auto overlay = ReadPart(system, prepared, parts[i]);
      if (!overlay) return Forward(overlay);
      overlays.push_back(*std::move(overlay));
      names.push_back(prepared.kernel.path + ": " + Printable(parts[i].name));
    }
    if (const auto supplied = SupplyMemory(system, bytes, prepared); !supplied) return supplied;
  } else {
    prepared.dtb_source = kRunningTree;
    auto text = system::ReadFile(system, kRunningTree, 2 * devicetree::kMaxTreeSize);
    const bool hidden = !text && (text.error().value == EACCES || text.error().value == EPERM);
    if (hidden && options.only_look) {
      auto gathered = GatherRunningTree(system);
      if (!gathered) return Forward(gathered);
      text = *std::move(gathered);
      prepared.notes.emplace_back(
          "without root the device tree's memory reservations are not known");
    }
    if (!text) {
      return FailErrno(ExitCode::kUnsupportedMachine, kRunningTree, text.error().value,
                       "give a device tree with --dtb");
    }
    const auto from = std::as_bytes(std::span(*text));
    bytes.assign(from.begin(), from.end());
  }
  for (const std::string& path : options.dtbos) {
    auto overlay = ReadNamed(system, path, "the overlay");
    if (!overlay) return Forward(overlay);
    overlays.push_back(*std::move(overlay));
    names.push_back(path);
  }
  if (!overlays.empty()) {
    auto merged = Merge(bytes, overlays, names);
    if (!merged) return Forward(merged);
    bytes = *std::move(merged);
    for (const std::string& name : names) prepared.dtb_source += " + " + name;
  }
  auto tree = Tree::Parse(bytes, prepared.dtb_source);
  if (!tree) return Forward(tree);
  prepared.tree = *std::move(tree);
  return {};
}

}  // namespace khop::load
