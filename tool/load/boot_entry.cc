// SPDX-License-Identifier: MIT
#include "tool/load/boot_entry.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace khop::load {
namespace {

using entry::Entry;
using system::System;

constexpr std::array<const char*, 3> kRoots = {"/boot", "/efi", "/boot/efi"};
constexpr uint64_t kMaxEntry = uint64_t{64} << 10;
constexpr size_t kMaxEntries = 1000;
// systemd-boot's variables: four bytes of attributes, then UTF-16.
constexpr std::string_view kVendor = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

std::vector<std::string> Sorted(System& system, const std::string& directory) {
  auto names = system.ListDirectory(directory);
  if (!names) return {};
  std::ranges::sort(*names);
  return *std::move(names);
}

void FindTypeOne(System& system, const std::string& root, std::vector<Entry>& entries,
                 std::vector<std::string>& skipped) {
  const std::string directory = root + "/loader/entries";
  for (const std::string& name : Sorted(system, directory)) {
    if (!name.ends_with(".conf") || entries.size() >= kMaxEntries) continue;
    const auto text = system::ReadFile(system, directory + "/" + name, kMaxEntry);
    if (!text) continue;
    auto parsed = entry::ParseEntry(*text, name);
    if (!parsed) {
      skipped.push_back(parsed.error().message);
      continue;
    }
    parsed->root = root;
    entries.push_back(*std::move(parsed));
  }
}

void FindUkis(System& system, const std::string& root, std::vector<Entry>& entries,
              std::vector<std::string>& skipped) {
  const std::string directory = root + "/EFI/Linux";
  for (const std::string& name : Sorted(system, directory)) {
    if (!name.ends_with(".efi") || entries.size() >= kMaxEntries) continue;
    Entry uki;
    uki.id = entry::IdOf(name, &uki.bad);
    uki.is_uki = true;
    uki.root = root;
    uki.linux = "/EFI/Linux/" + name;
    const auto source = OpenSource(system, root + uki.linux, "the UKI");
    if (!source) continue;
    const image::Question question{
        .name = source->path, .compatible = {}, .configuration = {}, .unpack = false};
    const auto contents =
        image::InspectInSandbox(InputOf(system, *source), source->file_size, question);
    if (!contents) {
      skipped.push_back(contents.error().message);
      continue;
    }
    if (contents->formats.empty() || contents->formats.front() != "UKI") {
      skipped.push_back(source->path + ": it is no UKI");
      continue;
    }
    entry::TakeOsRelease(contents->os_release, uki);
    entries.push_back(std::move(uki));
  }
}

std::string ReadVariable(System& system, std::string_view name) {
  const auto text = system::ReadFile(
      system, "/sys/firmware/efi/efivars/" + std::string(name) + std::string(kVendor), kMaxEntry);
  std::string value;
  for (size_t at = 4; text && at + 1 < text->size(); at += 2) {
    const auto low = static_cast<unsigned char>((*text)[at]);
    if (low == 0 || low >= 0x80 || (*text)[at + 1] != '\0') break;
    value += static_cast<char>(low);
  }
  return value;
}

// What the boot loader would take, the most telling first.
std::vector<std::string> DefaultPatterns(System& system) {
  std::vector<std::string> patterns;
  const auto add = [&](std::string pattern) {
    if (pattern == "@saved") pattern = ReadVariable(system, "LoaderEntryLastBooted");
    if (!pattern.empty()) patterns.push_back(std::move(pattern));
  };
  add(ReadVariable(system, "LoaderEntryDefault"));
  for (const char* const root : kRoots) {
    const auto text =
        system::ReadFile(system, std::string(root) + "/loader/loader.conf", kMaxEntry);
    if (text) add(entry::DefaultPattern(*text));
  }
  return patterns;
}

bool Exists(System& system, const std::string& path) {
  return system::File::Open(system, path, system::OpenMode::kRead).has_value();
}

// Paths are relative to the partition. Where /boot is none, they are those of the whole system.
std::string Locate(System& system, const std::string& root, const std::string& path) {
  const std::string absolute = path.starts_with('/') ? path : "/" + path;
  const std::string in_partition = root + absolute;
  return Exists(system, in_partition) || !Exists(system, absolute) ? in_partition : absolute;
}

void Apply(System& system, const Entry& chosen, LoadOptions& options) {
  const auto locate = [&](const std::string& path) { return Locate(system, chosen.root, path); };
  options.kernel = locate(chosen.linux);
  if (options.initrds.empty()) {
    for (const std::string& initrd : chosen.initrds) options.initrds.push_back(locate(initrd));
  }
  if (!options.command_line && !options.reuse_command_line && !chosen.options.empty()) {
    options.command_line = chosen.options;
  }
  if (!options.dtb && !chosen.devicetree.empty()) options.dtb = locate(chosen.devicetree);
  std::vector<std::string> overlays;
  for (const std::string& overlay : chosen.overlays) overlays.push_back(locate(overlay));
  options.dtbos.insert(options.dtbos.begin(), overlays.begin(), overlays.end());
}

}  // namespace

std::vector<Entry> FindEntries(System& system, std::vector<std::string>& skipped) {
  std::vector<Entry> entries;
  for (const char* const root : kRoots) {
    FindTypeOne(system, root, entries, skipped);
    FindUkis(system, root, entries, skipped);
  }
  return entries;
}

Result<LoadOptions> ResolveKernel(System& system, LoadOptions options,
                                  std::vector<std::string>& notes) {
  if (!options.kernel.empty()) return options;
  std::vector<std::string> skipped;
  std::vector<Entry> entries = FindEntries(system, skipped);
  for (const std::string& why : skipped) notes.push_back("left out: " + why);
  const bool nothing_named = options.entry.empty();
  if (!nothing_named || !entries.empty()) {
    const auto chosen = entry::Choose(std::move(entries), nothing_named ? "default" : options.entry,
                                      DefaultPatterns(system));
    if (!chosen) {
      if (skipped.empty()) return Forward(chosen);
      return Fail(chosen.error().code, chosen.error().message, "left out was: " + skipped.front());
    }
    Apply(system, *chosen, options);
    notes.push_back("boot entry " + chosen->id +
                    (chosen->title.empty() ? "" : " (" + Printable(chosen->title) + ")"));
    return options;
  }
  for (const char* const root : {"", "/boot"}) {
    const std::string kernel = std::string(root) + "/vmlinuz";
    const std::string initrd = std::string(root) + "/initrd.img";
    if (!Exists(system, kernel)) continue;
    options.kernel = kernel;
    if (options.initrds.empty() && Exists(system, initrd)) options.initrds.push_back(initrd);
    // These links have no command line of their own.
    if (!options.command_line) options.reuse_command_line = true;
    notes.push_back("there are no boot entries: " + kernel + " with the running command line");
    return options;
  }
  return Fail(ExitCode::kNoEntry, "no kernel was named",
              "there is no boot entry and no /vmlinuz either", "name a kernel, or an entry");
}

}  // namespace khop::load
