// SPDX-License-Identifier: MIT
// Unified kernel images (UAPI group specification UKI): a PE file whose sections are kernel,
// initrd, command line and device trees.
#include <algorithm>

#include "tool/image/bytes.h"
#include "tool/image/fdt.h"
#include "tool/image/pe.h"
#include "tool/image/reader.h"

namespace khop::image {
namespace {

constexpr size_t kMaxText = size_t{64} << 10;

Slice Place(const PeSection& section, Slice where) {
  // The bytes in the file are padded to the file's alignment, those in memory are not.
  const uint64_t size = section.memory_bytes == 0
                            ? section.file_bytes
                            : std::min(section.file_bytes, section.memory_bytes);
  return {where.offset + section.file_offset, size};
}

Result<std::string> ReadText(Reader& reader, Slice slice, const std::string& what) {
  if (slice.size > kMaxText) {
    return reader.Fails(ExitCode::kTooLarge,
                        "its section " + what + " has " + HumanBytes(slice.size),
                        "make a smaller one");
  }
  const auto bytes = reader.file.Read(slice, kMaxText);
  if (!bytes) return Forward(bytes);
  std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

Result<std::string> Compatible(Reader& reader, const Part& tree) {
  const auto found = ReadRootCompatible(reader.file, tree.where);
  if (!found) return reader.Damaged("its section " + tree.name + " is no device tree");
  return found->empty() ? "" : found->front();
}

// A .dtbauto for this machine comes before .dtb. Each is of the machine that its first compatible
// string names.
Result<void> ChooseTree(Reader& reader, const std::vector<Part>& fixed,
                        const std::vector<Part>& automatic) {
  Contents& contents = reader.contents;
  if (!automatic.empty() && !reader.question.compatible.empty()) {
    for (const Part& tree : automatic) {
      const auto compatible = Compatible(reader, tree);
      if (!compatible) return Forward(compatible);
      if (*compatible != reader.question.compatible.front()) continue;
      contents.trees = {tree};
      return {};
    }
    contents.notes.emplace_back("none of its .dtbauto sections is for this machine (" +
                                Printable(reader.question.compatible.front()) + ")");
  }
  if (!fixed.empty()) contents.trees = {fixed.front()};
  return {};
}

}  // namespace

Result<void> ReadUki(Reader& reader, Slice where, std::span<const std::byte> head, uint32_t depth,
                     const std::string& name) {
  Contents& contents = reader.contents;
  const auto pe = ParsePe(head);
  if (!pe) return reader.Damaged("its PE header");
  if (depth != 0) {
    return reader.Fails(ExitCode::kUnsupportedImage, "it has a UKI within another container",
                        "take the UKI out and give that");
  }
  if (pe->machine != kPeMachineArm64) {
    return reader.Fails(ExitCode::kOtherArchitecture, "this UKI is not for arm64",
                        "give one for arm64");
  }
  contents.formats.emplace_back("UKI");
  reader.AddItem(depth, name, std::string(Describe(Format::kUki).name), where,
                 pe->certificates_end == 0 ? "" : "signed, which khop does not check");
  std::optional<Slice> kernel;
  int profiles = 0;
  std::vector<Part> fixed;
  std::vector<Part> automatic;
  for (const PeSection& section : pe->sections) {
    const Slice slice = Place(section, where);
    const bool ours = section.name.starts_with('.');
    if (!ours || section.file_bytes == 0) continue;
    const auto within = reader.CheckWithin(slice, where, "its section " + Printable(section.name));
    if (!within) return within;
    // What stands before the first profile is for all of them.
    if (section.name == ".profile" && ++profiles == 2) {
      contents.notes.emplace_back("it has several profiles; the first is taken");
      break;
    }
    if (section.name == ".linux") {
      if (kernel) return reader.Damaged("it has two .linux sections");
      kernel = slice;
      continue;
    }
    std::string detail;
    if (section.name == ".initrd" || section.name == ".ucode") {
      if (section.name == ".initrd") contents.initrds.push_back({section.name, slice});
    } else if (section.name == ".cmdline") {
      auto text = ReadText(reader, slice, section.name);
      if (!text) return Forward(text);
      // ukify ends it with a line feed.
      while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
      detail = *text;
      contents.command_line = *std::move(text);
    } else if (section.name == ".osrel") {
      auto text = ReadText(reader, slice, section.name);
      if (!text) return Forward(text);
      contents.os_release = *std::move(text);
    } else if (section.name == ".uname") {
      const auto text = ReadText(reader, slice, section.name);
      if (!text) return Forward(text);
      detail = *text;
    } else if (section.name == ".dtb" || section.name == ".dtbauto") {
      const Part tree{section.name, slice};
      const auto compatible = Compatible(reader, tree);
      if (!compatible) return Forward(compatible);
      detail = *compatible;
      (section.name == ".dtb" ? fixed : automatic).push_back(tree);
    }
    reader.AddItem(depth + 1, section.name, "a section", slice, detail);
  }
  if (!kernel) return reader.Damaged("it has no .linux section");
  if (const auto chosen = ChooseTree(reader, fixed, automatic); !chosen) return chosen;
  return reader.ReadKernel(*kernel, depth + 1, ".linux");
}

}  // namespace khop::image
