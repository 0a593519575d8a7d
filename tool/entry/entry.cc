// SPDX-License-Identifier: MIT
#include "tool/entry/entry.h"

#include <fnmatch.h>

#include <algorithm>
#include <optional>

namespace khop::entry {
namespace {

constexpr std::string_view kBlank = " \t\r";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Calls `use` with key and value of each line that has them.
template <class Use>
void ForEachLine(std::string_view text, std::string_view separators, const Use& use) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t key_end = std::min(line.find_first_of(separators), line.size());
    const std::string_view rest = line.substr(std::min(key_end + 1, line.size()));
    use(line.substr(0, key_end), Trimmed(rest));
  }
}

std::string Unquoted(std::string_view value) {
  const bool quoted = value.size() >= 2 && value.front() == value.back() &&
                      (value.front() == '"' || value.front() == '\'');
  return std::string(quoted ? value.substr(1, value.size() - 2) : value);
}

// No entry leaves its partition.
bool IsSound(std::string_view path) {
  return !path.empty() && path.find('\0') == std::string_view::npos &&
         ("/" + std::string(path) + "/").find("/../") == std::string::npos;
}

bool Matches(const std::string& pattern, const Entry& entry) {
  for (const std::string& name : {entry.id, entry.id + (entry.is_uki ? ".efi" : ".conf")}) {
    if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0) return true;
  }
  return false;
}

int CompareNumbers(std::string_view left, std::string_view right) {
  left.remove_prefix(std::min(left.find_first_not_of('0'), left.size()));
  right.remove_prefix(std::min(right.find_first_not_of('0'), right.size()));
  if (left.size() != right.size()) return left.size() < right.size() ? -1 : 1;
  return left.compare(right);
}

// The leading characters for which `is` holds, taken off `text`.
template <class Is>
std::string_view Take(std::string_view& text, const Is& is) {
  size_t size = 0;
  while (size < text.size() && is(text[size])) ++size;
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

}  // namespace

int CompareVersions(std::string_view left, std::string_view right) {
  const auto foreign = [](char c) {
    return !IsDigit(c) && !IsLetter(c) &&
           std::string_view("~-^.").find(c) == std::string_view::npos;
  };
  for (;;) {
    Take(left, foreign);
    Take(right, foreign);
    // '~' is before the end, the end before all else; then '-', '^' and '.'.
    for (const char c : {'~', '\0', '-', '^', '.'}) {
      const bool in_left = c == '\0' ? left.empty() : left.starts_with(c);
      const bool in_right = c == '\0' ? right.empty() : right.starts_with(c);
      if (in_left != in_right) return in_left ? -1 : 1;
      if (!in_left) continue;
      if (c == '\0') return 0;
      left.remove_prefix(1);
      right.remove_prefix(1);
      break;
    }
    if (left.empty() || right.empty()) continue;
    if (IsDigit(left.front()) || IsDigit(right.front())) {
      const std::string_view a = Take(left, IsDigit);
      const std::string_view b = Take(right, IsDigit);
      if (a.empty() != b.empty()) return a.empty() ? -1 : 1;
      if (const int order = CompareNumbers(a, b); order != 0) return order;
    } else if (IsLetter(left.front()) || IsLetter(right.front())) {
      const std::string_view a = Take(left, IsLetter);
      const std::string_view b = Take(right, IsLetter);
      if (const int order = a.compare(b); order != 0) return order;
    }
  }
}

std::string IdOf(std::string_view file_name, bool* bad) {
  for (const std::string_view suffix : {".conf", ".efi"}) {
    if (file_name.ends_with(suffix)) {
      file_name.remove_suffix(suffix.size());
      break;
    }
  }
  // "+LEFT" or "+LEFT-DONE".
  *bad = false;
  const size_t plus = file_name.rfind('+');
  if (plus == std::string_view::npos) return std::string(file_name);
  std::string_view counter = file_name.substr(plus + 1);
  const std::string_view left = Take(counter, IsDigit);
  if (left.empty()) return std::string(file_name);
  if (!counter.empty()) {
    if (counter.front() != '-') return std::string(file_name);
    counter.remove_prefix(1);
    if (Take(counter, IsDigit).empty() || !counter.empty()) return std::string(file_name);
  }
  *bad = left.find_first_not_of('0') == std::string_view::npos;
  return std::string(file_name.substr(0, plus));
}

Result<Entry> ParseEntry(std::string_view text, std::string_view file_name) {
  Entry entry;
  entry.id = IdOf(file_name, &entry.bad);
  std::string wrong;
  std::string architecture;
  bool efi = false;
  const auto set_path = [&](std::string_view value, std::string& path) {
    if (!IsSound(value)) wrong = "the path " + Printable(value);
    path = value;
  };
  ForEachLine(text, kBlank, [&](std::string_view key, std::string_view value) {
    if (key == "title") entry.title = value;
    if (key == "version") entry.version = value;
    if (key == "machine-id") entry.machine_id = value;
    if (key == "sort-key") entry.sort_key = value;
    if (key == "architecture") architecture = value;
    if (key == "efi") efi = true;
    if (key == "linux" || key == "uki") {
      set_path(value, entry.linux);
      entry.is_uki = key == "uki";
    }
    if (key == "initrd") set_path(value, entry.initrds.emplace_back());
    if (key == "devicetree") set_path(value, entry.devicetree);
    if (key == "devicetree-overlay") {
      for (std::string_view rest = value; !rest.empty(); rest = Trimmed(rest)) {
        const size_t end = std::min(rest.find_first_of(kBlank), rest.size());
        set_path(rest.substr(0, end), entry.overlays.emplace_back());
        rest.remove_prefix(end);
      }
    }
    if (key == "options" && !value.empty()) {
      entry.options += (entry.options.empty() ? "" : " ") + std::string(value);
    }
  });
  const std::string what = "boot entry " + std::string(file_name);
  std::ranges::transform(architecture, architecture.begin(),
                         [](char c) { return IsLetter(c) ? static_cast<char>(c | 0x20) : c; });
  if (!architecture.empty() && architecture != "aa64" && architecture != "arm64") {
    return Fail(ExitCode::kOtherArchitecture, what, "it is for " + architecture,
                "choose another one");
  }
  if (!wrong.empty()) {
    return Fail(ExitCode::kBadEntry, what, wrong + " leaves the boot partition", "correct it");
  }
  if (entry.linux.empty()) {
    return Fail(ExitCode::kBadEntry, what,
                efi ? "it starts an EFI program, and no Linux kernel" : "it names no kernel",
                "choose another one");
  }
  return entry;
}

void TakeOsRelease(std::string_view os_release, Entry& entry) {
  std::string id;
  std::string image_id;
  std::string image_version;
  std::string version_id;
  std::string build_id;
  ForEachLine(os_release, "=", [&](std::string_view key, std::string_view value) {
    if (key == "PRETTY_NAME") entry.title = Unquoted(value);
    if (key == "ID") id = Unquoted(value);
    if (key == "IMAGE_ID") image_id = Unquoted(value);
    if (key == "IMAGE_VERSION") image_version = Unquoted(value);
    if (key == "VERSION_ID") version_id = Unquoted(value);
    if (key == "BUILD_ID") build_id = Unquoted(value);
  });
  entry.sort_key = image_id.empty() ? id : image_id;
  entry.version = !image_version.empty() ? image_version
                  : !version_id.empty()  ? version_id
                                         : build_id;
}

bool ComesFirst(const Entry& left, const Entry& right) {
  if (left.bad != right.bad) return right.bad;
  if (left.sort_key.empty() != right.sort_key.empty()) return !left.sort_key.empty();
  if (!left.sort_key.empty()) {
    if (left.sort_key != right.sort_key) return left.sort_key < right.sort_key;
    if (left.machine_id != right.machine_id) return left.machine_id < right.machine_id;
    if (const int order = CompareVersions(left.version, right.version); order != 0) {
      return order > 0;
    }
  }
  return CompareVersions(left.id, right.id) > 0;
}

std::string DefaultPattern(std::string_view loader_conf) {
  std::string pattern;
  ForEachLine(loader_conf, kBlank, [&](std::string_view key, std::string_view value) {
    if (key == "default") pattern = value;
  });
  return pattern;
}

Result<Entry> Choose(std::vector<Entry> entries, const std::string& wanted,
                     std::span<const std::string> patterns) {
  std::ranges::stable_sort(entries, ComesFirst);
  if (wanted == "default") {
    for (const std::string& pattern : patterns) {
      for (Entry& entry : entries) {
        if (Matches(pattern, entry)) return std::move(entry);
      }
    }
    if (!entries.empty()) return std::move(entries.front());
    return Fail(ExitCode::kNoEntry, "boot entries", "there are none in /boot, /efi or /boot/efi",
                "name a kernel");
  }
  std::string names;
  for (Entry& entry : entries) {
    if (wanted == entry.id || wanted == entry.id + (entry.is_uki ? ".efi" : ".conf")) {
      return std::move(entry);
    }
    names += (names.empty() ? "" : ", ") + entry.id;
  }
  return Fail(ExitCode::kNoEntry, "boot entry " + wanted, "there is none of that name",
              names.empty() ? "there are none at all" : "there are " + names);
}

}  // namespace khop::entry
