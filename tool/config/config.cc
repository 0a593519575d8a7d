// SPDX-License-Identifier: MIT
#include "tool/config/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <set>

namespace khop::config {
namespace {

constexpr uint64_t kMaxSize = 64 << 10;
constexpr uint32_t kMaxWatchdog = 3600;

// One key: how its value is taken in. `wanted` tells what it may be, for messages.
struct Key {
  std::string_view name;
  std::string_view wanted;
  bool (*take)(Config& config, std::string_view value);
};

bool TakeYesOrNo(std::string_view value, bool& to) {
  to = value == "yes";
  return to || value == "no";
}

template <size_t N>
bool TakeOneOf(const std::array<std::string_view, N>& words, std::string_view value,
               std::string& to) {
  to = value;
  return std::ranges::find(words, value) != words.end();
}

bool TakePath(std::string_view value, std::string& to) {
  to = value;
  return value.starts_with('/');
}

constexpr std::array<std::string_view, 6> kRoutes = {"auto",   "in-place", "reserved",
                                                     "gather", "kernel",   "file"};
constexpr std::array<std::string_view, 3> kMmu = {"auto", "on", "off"};
constexpr std::array<std::string_view, 4> kVerify = {"sha256", "crc32c", "none", "early"};

constexpr std::string_view kPathWanted = "an absolute path";
constexpr std::string_view kYesOrNo = "yes or no";

constexpr std::array<Key, 13> kKeys = {{
    {"kernel", kPathWanted, [](Config& c, std::string_view v) { return TakePath(v, c.kernel); }},
    {"initrd", kPathWanted,
     [](Config& c, std::string_view v) { return TakePath(v, c.initrds.emplace_back()); }},
    {"entry", "the ID of a boot entry, or default",
     [](Config& c, std::string_view v) {
       c.entry = v;
       return !v.empty();
     }},
    {"cmdline", "a command line",
     [](Config& c, std::string_view v) {
       c.command_line = v;
       return true;
     }},
    {"append", "what a command line gets at its end",
     [](Config& c, std::string_view v) {
       c.append = v;
       return true;
     }},
    {"dtb", kPathWanted, [](Config& c, std::string_view v) { return TakePath(v, c.dtb); }},
    {"route", "auto, in-place, reserved, gather, kernel or file",
     [](Config& c, std::string_view v) { return TakeOneOf(kRoutes, v, c.route); }},
    {"mmu", "auto, on or off",
     [](Config& c, std::string_view v) { return TakeOneOf(kMmu, v, c.mmu); }},
    {"verify", "sha256, crc32c, none or early",
     [](Config& c, std::string_view v) { return TakeOneOf(kVerify, v, c.verify); }},
    {"preload", kYesOrNo, [](Config& c, std::string_view v) { return TakeYesOrNo(v, c.preload); }},
    {"initramfs", kYesOrNo,
     [](Config& c, std::string_view v) { return TakeYesOrNo(v, c.initramfs); }},
    {"park-cpus", kYesOrNo,
     [](Config& c, std::string_view v) { return TakeYesOrNo(v, c.park_cpus); }},
    {"watchdog", "seconds, 0 (none) to 3600",
     [](Config& c, std::string_view v) {
       const auto [rest, error] = std::from_chars(v.data(), v.data() + v.size(), c.watchdog);
       return error == std::errc() && rest == v.data() + v.size() && c.watchdog <= kMaxWatchdog;
     }},
}};

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::unexpected<Failure> BadLine(int number, std::string_view why, std::string_view todo) {
  return Fail(ExitCode::kBadConfig, std::string(kPath) + " line " + std::to_string(number), why,
              todo);
}

std::string AllKeys() {
  std::string all;
  for (const Key& key : kKeys) {
    if (!all.empty()) all += ", ";
    all += key.name;
  }
  return all;
}

}  // namespace

Result<Config> Parse(std::string_view text) {
  Config config;
  std::set<std::string_view> seen;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return BadLine(number, "there is no '=' in it", "write KEY = VALUE, or # before a comment");
    }
    const std::string_view name = Trim(line.substr(0, equals));
    const std::string_view value = Trim(line.substr(equals + 1));
    const auto* const key = std::ranges::find(kKeys, name, &Key::name);
    if (key == kKeys.end()) {
      return BadLine(number, "there is no key \"" + std::string(name) + "\"",
                     "allowed are " + AllKeys());
    }
    if (!seen.insert(name).second && name != "initrd") {
      return BadLine(number, std::string(name) + " is there for the second time", "remove one");
    }
    if (!key->take(config, value)) {
      return BadLine(number, std::string(name) + " cannot be \"" + std::string(value) + "\"",
                     "give " + std::string(key->wanted));
    }
  }
  if (!config.kernel.empty() && !config.entry.empty()) {
    return Fail(ExitCode::kBadConfig, kPath, "it has both kernel and entry", "remove one");
  }
  if (config.kernel.empty() && !config.initrds.empty()) {
    return Fail(ExitCode::kBadConfig, kPath, "it has an initrd and no kernel", "add kernel =");
  }
  return config;
}

Result<Config> Read(system::System& system) {
  const auto text = system::ReadFile(system, kPath, kMaxSize);
  if (text) return Parse(*text);
  if (text.error().value == ENOENT) return Config{};
  return FailErrno(ExitCode::kBadConfig, kPath, text.error().value);
}

}  // namespace khop::config
