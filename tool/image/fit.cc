// SPDX-License-Identifier: MIT
// FIT (the Flat Image Tree specification): images with hashes, and configurations that name a
// kernel, an initrd and device trees.
#include <algorithm>
#include <array>

#include "tool/image/bytes.h"
#include "tool/image/fdt.h"
#include "tool/image/hash.h"
#include "tool/image/reader.h"

namespace khop::image {
namespace {

class Fit {
 public:
  Fit(Reader& reader, Slice where, const Fdt& fdt) : reader_(reader), where_(where), fdt_(fdt) {}

  Result<void> Read(uint32_t depth, const std::string& name);

 private:
  Result<std::string> Text(size_t node, std::string_view property) const {
    const FdtProperty* const found = fdt_.Find(node, property);
    if (found == nullptr) return std::string();
    const auto strings = ReadStrings(reader_.file, found->value);
    if (!strings) return Forward(strings);
    return strings->empty() ? std::string() : strings->front();
  }
  Result<std::vector<std::string>> Texts(size_t node, std::string_view property) const {
    const FdtProperty* const found = fdt_.Find(node, property);
    if (found == nullptr) return std::vector<std::string>();
    return ReadStrings(reader_.file, found->value);
  }
  Result<std::optional<uint64_t>> Number(size_t node, std::string_view property) const;

  Result<Slice> Data(size_t image) const;
  Result<void> CheckHashes(size_t image, Slice data) const;
  Result<Part> Image(std::string_view name, bool kernel) const;
  Result<size_t> Configuration(size_t configurations) const;
  Result<bool> Fits(size_t configuration) const;
  Result<void> List(size_t images, size_t chosen, uint32_t depth) const;

  Reader& reader_;
  Slice where_;
  const Fdt& fdt_;
  size_t images_ = 0;
};

Result<std::optional<uint64_t>> Fit::Number(size_t node, std::string_view property) const {
  const FdtProperty* const found = fdt_.Find(node, property);
  if (found == nullptr) return std::nullopt;
  const auto bytes = reader_.file.Read(found->value, 8);
  if (!bytes) return Forward(bytes);
  if (found->value.size == 4 && bytes->size() == 4) return *ReadBig<uint32_t>(*bytes, 0);
  if (found->value.size == 8 && bytes->size() == 8) return *ReadBig<uint64_t>(*bytes, 0);
  return reader_.Damaged("its property " + std::string(property) + " is no number");
}

// Within the tree, or behind it (mkimage -E).
Result<Slice> Fit::Data(size_t image) const {
  const std::string what = "its image " + Printable(fdt_.nodes()[image].name);
  if (const FdtProperty* const data = fdt_.Find(image, "data")) return data->value;
  const auto size = Number(image, "data-size");
  if (!size) return Forward(size);
  const auto position = Number(image, "data-position");
  if (!position) return Forward(position);
  const auto offset = Number(image, "data-offset");
  if (!offset) return Forward(offset);
  if (!*size || (!*position && !*offset)) return reader_.Damaged(what + " has no data");
  const uint64_t behind = (fdt_.total_size() + 3) & ~uint64_t{3};
  const uint64_t start = *position ? **position : behind + **offset;
  if (start > where_.size) {
    return reader_.Fails(ExitCode::kTruncated, what + " is cut short", "get the file again");
  }
  const Slice slice{where_.offset + start, **size};
  if (const auto within = reader_.CheckWithin(slice, where_, what); !within) return Forward(within);
  return slice;
}

Result<void> Fit::CheckHashes(size_t image, Slice data) const {
  const std::string what = "its image " + Printable(fdt_.nodes()[image].name);
  struct Wanted {
    std::unique_ptr<Hash> hash;
    std::vector<std::byte> value;
    std::string algorithm;
  };
  std::vector<Wanted> wanted;
  for (const size_t node : fdt_.Children(image)) {
    const std::string& name = fdt_.nodes()[node].name;
    if (!name.starts_with("hash")) continue;
    auto algorithm = Text(node, "algo");
    if (!algorithm) return Forward(algorithm);
    auto hash = MakeHash(*algorithm);
    if (hash == nullptr) {
      return reader_.Fails(
          ExitCode::kUnsupportedImage,
          what + " has a hash of a kind that khop cannot check (" + Printable(*algorithm) + ")",
          "make it with crc32, sha1, sha256, sha384 or sha512");
    }
    const FdtProperty* const value = fdt_.Find(node, "value");
    if (value == nullptr) return reader_.Damaged(what + " has a hash without a value");
    auto bytes = reader_.file.Read(value->value, 64);
    if (!bytes) return Forward(bytes);
    wanted.push_back({std::move(hash), *std::move(bytes), *algorithm});
    if (wanted.size() > 8) return reader_.Damaged(what + " has too many hashes");
  }
  if (wanted.empty()) {
    reader_.contents.notes.push_back(what + " has no hash");
    return {};
  }
  std::vector<std::byte> buffer(size_t{256} << 10);
  for (uint64_t at = 0; at < data.size;) {
    const auto size = std::min<uint64_t>(buffer.size(), data.size - at);
    const auto got =
        reader_.file.ReadAt(std::span(buffer).first(static_cast<size_t>(size)), data.offset + at);
    if (!got) return Forward(got);
    if (*got == 0) break;
    for (Wanted& w : wanted) w.hash->Update(std::span(buffer).first(*got));
    at += *got;
  }
  for (Wanted& w : wanted) {
    if (w.hash->Finish() != w.value) {
      return reader_.Damaged("the " + w.algorithm + " of " + what + " is wrong");
    }
  }
  return {};
}

Result<Part> Fit::Image(std::string_view name, bool kernel) const {
  const auto image = fdt_.FindChild(images_, name);
  const std::string what = "its image " + Printable(name);
  if (!image) return reader_.Damaged(what + " is missing");
  const auto arch = Text(*image, "arch");
  if (!arch) return Forward(arch);
  if (kernel || !arch->empty()) {
    if (*arch != "arm64") {
      return reader_.Fails(
          ExitCode::kOtherArchitecture,
          what + " is for " + (arch->empty() ? "no architecture" : Printable(*arch)),
          "give one for arm64");
    }
  }
  const auto data = Data(*image);
  if (!data) return Forward(data);
  if (const auto checked = CheckHashes(*image, *data); !checked) return Forward(checked);
  return Part{std::string(name), *data};
}

// Whether a configuration is for the running machine: by its compatible, or its device tree's.
Result<bool> Fit::Fits(size_t configuration) const {
  const std::vector<std::string>& machine = reader_.question.compatible;
  auto compatible = Texts(configuration, "compatible");
  if (!compatible) return Forward(compatible);
  if (compatible->empty()) {
    const auto trees = Texts(configuration, "fdt");
    if (!trees) return Forward(trees);
    const auto image = trees->empty() ? std::nullopt : fdt_.FindChild(images_, trees->front());
    if (!image) return false;
    const auto data = Data(*image);
    if (!data) return Forward(data);
    // A compressed tree tells nothing here.
    compatible = ReadRootCompatible(reader_.file, *data);
    if (!compatible) return false;
  }
  return !compatible->empty() && !machine.empty() && compatible->front() == machine.front();
}

// The one that was asked for, that is for this machine, the default, the only one.
Result<size_t> Fit::Configuration(size_t configurations) const {
  const std::vector<size_t> all = fdt_.Children(configurations);
  std::string names;
  for (const size_t node : all) {
    names += (names.empty() ? "" : ", ") + Printable(fdt_.nodes()[node].name);
  }
  if (all.empty()) return reader_.Damaged("it has no configurations");
  const std::string& asked = reader_.question.configuration;
  if (!asked.empty()) {
    if (const auto found = fdt_.FindChild(configurations, asked)) return *found;
    return reader_.Fails(ExitCode::kNoEntry, "it has no configuration " + asked, "it has " + names);
  }
  for (const size_t node : all) {
    const auto fits = Fits(node);
    if (!fits) return Forward(fits);
    if (*fits) return node;
  }
  const auto standard = Text(configurations, "default");
  if (!standard) return Forward(standard);
  if (!standard->empty()) {
    if (const auto found = fdt_.FindChild(configurations, *standard)) return *found;
    return reader_.Damaged("its default configuration " + Printable(*standard) + " is missing");
  }
  if (all.size() == 1) return all.front();
  return reader_.Fails(ExitCode::kNoEntry, "none of its configurations is for this machine",
                       "name one with --config: " + names);
}

Result<void> Fit::List(size_t images, size_t chosen, uint32_t depth) const {
  for (const size_t node : fdt_.Children(images)) {
    const auto data = Data(node);
    if (!data) return Forward(data);
    std::string detail;
    for (const std::string_view property : {"description", "type", "arch", "compression"}) {
      const auto text = Text(node, property);
      if (!text) return Forward(text);
      if (!text->empty()) detail += (detail.empty() ? "" : ", ") + *text;
    }
    for (const size_t child : fdt_.Children(node)) {
      if (!fdt_.nodes()[child].name.starts_with("hash")) continue;
      const auto algorithm = Text(child, "algo");
      if (!algorithm) return Forward(algorithm);
      detail += (detail.empty() ? "" : ", ") + *algorithm;
    }
    reader_.AddItem(depth, fdt_.nodes()[node].name, "an image", *data, detail);
  }
  for (const size_t node : fdt_.Children(fdt_.nodes()[chosen].parent)) {
    std::string detail = node == chosen ? "taken" : "";
    for (const std::string_view property : {"kernel", "ramdisk", "fdt"}) {
      const auto names = Texts(node, property);
      if (!names) return Forward(names);
      for (const std::string& name : *names) {
        detail += (detail.empty() ? "" : ", ") + std::string(property) + " " + name;
      }
    }
    reader_.AddItem(depth, fdt_.nodes()[node].name, "a configuration", {}, detail);
    for (const size_t child : fdt_.Children(node)) {
      if (node == chosen && fdt_.nodes()[child].name.starts_with("signature")) {
        reader_.contents.notes.emplace_back(
            "the configuration is signed, which khop does not check");
      }
    }
  }
  return {};
}

Result<void> Fit::Read(uint32_t depth, const std::string& name) {
  Contents& contents = reader_.contents;
  const auto images = fdt_.FindChild(0, "images");
  const auto configurations = fdt_.FindChild(0, "configurations");
  if (!images || !configurations) {
    // A device tree of a machine.
    const auto model = Text(0, "model");
    if (!model) return Forward(model);
    reader_.AddItem(depth, name, "a device tree", where_, *model);
    if (!reader_.question.need_kernel) return {};
    return reader_.Fails(ExitCode::kNotAKernel,
                         "this is not an arm64 kernel Image but a device tree or FIT image",
                         "give the kernel inside; --dtb takes device trees");
  }
  images_ = *images;
  contents.formats.emplace_back("FIT");
  const auto description = Text(0, "description");
  if (!description) return Forward(description);
  reader_.AddItem(depth, name, "a FIT image", where_, *description);
  const auto chosen = Configuration(*configurations);
  if (!chosen) return Forward(chosen);
  if (const auto listed = List(*images, *chosen, depth + 1); !listed) return listed;
  const auto kernel_name = Text(*chosen, "kernel");
  if (!kernel_name) return Forward(kernel_name);
  if (kernel_name->empty()) return reader_.Damaged("its configuration names no kernel");
  const auto kernel = Image(*kernel_name, true);
  if (!kernel) return Forward(kernel);
  const auto trees = Texts(*chosen, "fdt");
  if (!trees) return Forward(trees);
  for (const std::string& tree : *trees) {
    auto part = Image(tree, false);
    if (!part) return Forward(part);
    contents.trees.push_back(*std::move(part));
    if (contents.trees.size() > 64) return reader_.Damaged("it has too many device trees");
  }
  const auto initrd = Text(*chosen, "ramdisk");
  if (!initrd) return Forward(initrd);
  if (!initrd->empty()) {
    auto part = Image(*initrd, false);
    if (!part) return Forward(part);
    contents.initrds.push_back(*std::move(part));
  }
  return reader_.ReadKernel(kernel->where, depth + 1, kernel->name);
}

}  // namespace

Result<void> ReadFit(Reader& reader, Slice where, uint32_t depth, const std::string& name) {
  const auto fdt = Fdt::Read(reader.file, where, reader.question.name);
  if (!fdt) return Forward(fdt);
  return Fit(reader, where, *fdt).Read(depth, name);
}

}  // namespace khop::image
