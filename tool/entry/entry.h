// SPDX-License-Identifier: MIT
// Boot entries: type #1 of the Boot Loader Specification (UAPI group), text in, struct out; their
// order; and the version comparison that it rests on.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tool/base/error.h"

namespace khop::entry {

struct Entry {
  std::string id;    // the file's name without ".conf" or ".efi" and without counters
  std::string root;  // the partition: what the paths are relative to
  std::string title;
  std::string version;
  std::string machine_id;
  std::string sort_key;
  std::string options;
  std::string linux;  // a kernel, or a UKI
  std::vector<std::string> initrds;
  std::string devicetree;
  std::vector<std::string> overlays;
  bool is_uki = false;
  bool bad = false;  // counted down to no tries left
};

// `file_name` is that in loader/entries: "6.12+3-1.conf". Errors: kBadEntry, kOtherArchitecture.
Result<Entry> ParseEntry(std::string_view text, std::string_view file_name);

// Takes title, sort key and version from the text of a UKI's .osrel section.
void TakeOsRelease(std::string_view os_release, Entry& entry);

// The ID in a file's name, and whether its counter says that no tries are left.
std::string IdOf(std::string_view file_name, bool* bad);

// <0, 0, >0: the UAPI group's version format comparison.
int CompareVersions(std::string_view left, std::string_view right);

// Whether `left` comes before `right` in a menu.
bool ComesFirst(const Entry& left, const Entry& right);

// loader.conf's `default`: the pattern; empty if there is none.
std::string DefaultPattern(std::string_view loader_conf);

// The entry that `wanted` means: an ID, or "default": the first that one of `patterns` (with * and
// ?) names, else the first of all. Errors: kNoEntry.
Result<Entry> Choose(std::vector<Entry> entries, const std::string& wanted,
                     std::span<const std::string> patterns);

}  // namespace khop::entry
