// SPDX-License-Identifier: MIT
#include "tool/capture/captured_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace khop::capture {

using system::Errno;
using system::SysResult;

CapturedSystem::CapturedSystem(system::System& host, Capture capture)
    : ReadOnlySystem(host), capture_(std::move(capture)) {}

Errno CapturedSystem::ErrorOf(const std::string& path) const {
  const auto error = capture_.errors.find(path);
  return {error == capture_.errors.end() ? ENOENT : error->second};
}

SysResult<const std::string*> CapturedSystem::Contents(const std::string& path) {
  const auto file = capture_.files.find(path);
  if (file == capture_.files.end()) return std::unexpected(ErrorOf(path));
  return &file->second;
}

// The flags of each page, made up of the runs. What is in no run was not looked at.
SysResult<size_t> CapturedSystem::PageFlags(std::span<std::byte> buffer, uint64_t offset) {
  if (capture_.errors.contains(kPageFlagsPath) || capture_.pages.empty()) {
    return std::unexpected(ErrorOf(kPageFlagsPath));
  }
  const uint64_t page = capture_.page_size;
  const size_t count = buffer.size() / sizeof(uint64_t);
  uint64_t frame = offset / sizeof(uint64_t);
  auto run = std::ranges::upper_bound(capture_.pages, frame, {}, [&](const system::PageRun& r) {
    return r.range.end().value / page - 1;
  });
  // upper_bound finds the first run that ends beyond the frame; a run that ends with it counts too.
  if (run != capture_.pages.begin() && std::prev(run)->range.end().value / page > frame) --run;
  for (size_t i = 0; i < count; ++i, ++frame) {
    while (run != capture_.pages.end() && run->range.end().value / page <= frame) ++run;
    const bool known = run != capture_.pages.end() && run->range.start.value / page <= frame;
    const uint64_t flags = system::FlagsOf(known ? run->use : system::PageUse::kBusy);
    memcpy(&buffer[i * sizeof(flags)], &flags, sizeof(flags));
  }
  return count * sizeof(uint64_t);
}

SysResult<system::FileInfo> CapturedSystem::Lstat(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().Lstat(path);
  const auto info = capture_.infos.find(path);
  if (info == capture_.infos.end()) return std::unexpected(ErrorOf(path));
  return info->second;
}

SysResult<std::string> CapturedSystem::ReadLink(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().ReadLink(path);
  const auto link = capture_.links.find(path);
  if (link == capture_.links.end()) return std::unexpected(ErrorOf(path));
  return link->second;
}

SysResult<std::vector<std::string>> CapturedSystem::ListDirectory(const std::string& path) {
  if (!IsOfTheMachine(path)) return host().ListDirectory(path);
  const auto directory = capture_.directories.find(path);
  if (directory == capture_.directories.end()) return std::unexpected(ErrorOf(path));
  return directory->second;
}

Errno CapturedSystem::KexecProbe() { return {capture_.kexec_probe.value_or(EPERM)}; }

Errno CapturedSystem::KexecFileProbe(uint32_t flags) {
  // Which flags a kernel knows is not captured.
  return {flags == 0 ? capture_.kexec_file_probe.value_or(EPERM) : EINVAL};
}

SysResult<std::string> CapturedSystem::KernelLog() {
  if (!capture_.kernel_log) return std::unexpected(Errno{EPERM});
  return *capture_.kernel_log;
}

}  // namespace khop::capture
