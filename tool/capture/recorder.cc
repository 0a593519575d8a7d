// SPDX-License-Identifier: MIT
#include "tool/capture/recorder.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "tool/devicetree/seeds.h"
#include "tool/system/memory_map.h"

namespace khop::capture {

using system::Errno;
using system::SysResult;

namespace {

constexpr uint64_t kMaxFile = 16U << 20;
constexpr const char* kTree = "/sys/firmware/fdt";

// Of a kernel's configuration the lines that doctor looks at.
std::string RelevantConfig(std::string_view config) {
  std::string kept;
  while (!config.empty()) {
    const size_t end = std::min(config.find('\n'), config.size());
    const std::string_view line = config.substr(0, end);
    config.remove_prefix(std::min(end + 1, config.size()));
    if (line.contains("KEXEC")) kept += std::string(line) + "\n";
  }
  return kept;
}

}  // namespace

Recorder::Recorder(system::System& live) : ReadOnlySystem(live) {
  capture_.machine = live.Machine();
  capture_.release = live.KernelRelease();
  capture_.uid = live.EffectiveUid();
  capture_.page_size = live.PageSize();
  capture_.data_cache_line = live.DataCacheLine();
  capture_.hwcap = live.Hwcap();
}

template <typename T>
SysResult<T> Recorder::Note(const std::string& path, SysResult<T> answer,
                            std::map<std::string, T>& notes) {
  if (answer) {
    notes[path] = *answer;
    // One name, one answer: a directory that can be listed is there.
    capture_.errors.erase(path);
  } else if (!capture_.files.contains(path) && !capture_.infos.contains(path) &&
             !capture_.directories.contains(path) && answer.error().value != ENOENT) {
    capture_.errors[path] = answer.error().value;
  }
  return answer;
}

SysResult<const std::string*> Recorder::Contents(const std::string& path) {
  if (const auto made = made_.find(path); made != made_.end()) return &made->second;
  const auto known = capture_.files.find(path);
  if (known != capture_.files.end()) return &known->second;
  auto text = system::ReadFile(host(), path, kMaxFile);
  if (text && path == kTree) {
    // A tree that cannot be read for its seeds is not kept: they could be anywhere.
    if (!devicetree::WipeSeeds(std::as_writable_bytes(std::span(*text)))) text->clear();
  }
  if (text && path.ends_with("-seed")) text->clear();
  if (text && path.starts_with(kConfig)) *text = RelevantConfig(*text);
  const auto noted = Note(path, std::move(text), capture_.files);
  if (!noted) return std::unexpected(noted.error());
  return &capture_.files[path];
}

SysResult<size_t> Recorder::PageFlags(std::span<std::byte> buffer, uint64_t offset) {
  const auto file = system::File::Open(host(), kPageFlagsPath, system::OpenMode::kRead);
  if (!file) {
    capture_.errors[kPageFlagsPath] = file.error().value;
    return std::unexpected(file.error());
  }
  return buffer.empty() ? size_t{0} : host().ReadAt(file->fd(), buffer, offset);
}

void Recorder::RecordPages() {
  const auto map = system::ReadMemoryMap(*this);
  if (!map) return;
  auto runs = system::ReadPageUse(host(), system::FirstOf(map->ram, system::kMostPagesSeen));
  if (runs) capture_.pages = *std::move(runs);
}

SysResult<system::FileInfo> Recorder::Lstat(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().Lstat(path);
  return Note(path, host().Lstat(path), capture_.infos);
}

SysResult<std::string> Recorder::ReadLink(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().ReadLink(path);
  return Note(path, host().ReadLink(path), capture_.links);
}

SysResult<std::vector<std::string>> Recorder::ListDirectory(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().ListDirectory(path);
  auto names = host().ListDirectory(path);
  if (names) std::ranges::sort(*names);
  return Note(path, std::move(names), capture_.directories);
}

Errno Recorder::KexecProbe() {
  const Errno probe = host().KexecProbe();
  capture_.kexec_probe = probe.value;
  return probe;
}

Errno Recorder::KexecFileProbe(uint32_t flags) {
  const Errno probe = host().KexecFileProbe(flags);
  if (flags == 0) capture_.kexec_file_probe = probe.value;
  return probe;
}

SysResult<std::string> Recorder::KernelLog() {
  auto log = host().KernelLog();
  if (log) capture_.kernel_log = RelevantLog(*log);
  return log;
}

system::Speeds Recorder::MeasureSpeeds() {
  if (capture_.speeds == system::Speeds{}) capture_.speeds = host().MeasureSpeeds();
  return capture_.speeds;
}

Capture Recorder::Take() { return std::move(capture_); }

std::string RelevantLog(std::string_view log) {
  // What the readers of the log look for: gic_tables.cc, kexec_state.cc, doctor and report.
  static constexpr std::array<std::string_view, 9> kWords = {
      "GICv3", "kexec", "ockdown",         "locked down", "CPU features: detected: Protected KVM",
      "kvm [", "psci:", "as init process", "ramoops"};
  std::string kept;
  bool first = true;
  while (!log.empty()) {
    const size_t end = std::min(log.find('\n'), log.size());
    const std::string_view line = log.substr(0, end);
    log.remove_prefix(std::min(end + 1, log.size()));
    // The kernel's own records: facility 0, hence a priority of one digit below 8.
    const bool own = line.size() > 1 && line[0] >= '0' && line[0] <= '7' && line[1] == ',';
    const bool wanted =
        first || std::ranges::any_of(kWords, [&](std::string_view w) { return line.contains(w); });
    if (own && wanted) kept += std::string(line) + "\n";
    first = first && !own;
  }
  return kept;
}

}  // namespace khop::capture
