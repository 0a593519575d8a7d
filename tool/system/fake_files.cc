// SPDX-License-Identifier: MIT
// FakeSystem's files, /proc and /sys among them.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

constexpr const char* kHuge = "/sys/kernel/mm/hugepages";
constexpr const char* kPool = "/sys/kernel/mm/hugepages/hugepages-";
constexpr const char* kPagemap = "/proc/self/pagemap";
constexpr const char* kPageFlags = "/proc/kpageflags";
constexpr const char* kRun = "/run/";

// Of a path in a pool's directory.
uint64_t PoolSize(const std::string& path) {
  constexpr std::string_view kName = "/hugepages-";
  const size_t at = path.find(kName);
  return at == std::string::npos
             ? 0
             : std::strtoull(path.c_str() + at + kName.size(), nullptr, 10) * 1024;
}

// Of a path in a node's directory; -1 for others.
int NodeOf(const std::string& path) {
  constexpr std::string_view kNode = "/sys/devices/system/node/node";
  return path.starts_with(kNode) ? std::atoi(path.c_str() + kNode.size()) : -1;
}

}  // namespace

bool FakeSystem::IsReadOnly(const std::string& path) const {
  return run_is_read_only && path.starts_with(kRun);
}

uint64_t FakeSystem::RoomIn(const std::string& path) const {
  if (!path.starts_with(kRun)) return UINT64_MAX;
  uint64_t used = 0;
  for (const auto& [name, file] : files_) {
    if (name.starts_with(kRun)) used += file.text.size();
  }
  return run_size > used ? run_size - used : 0;
}

std::string FakeSystem::PathOf(int fd) const {
  const auto open = open_.find(fd);
  return open == open_.end() ? "" : open->second.path;
}

bool FakeSystem::IsPool(const std::string& path) const {
  return (path.starts_with(kPool) || nodes.contains(NodeOf(path))) &&
         pools.contains(PoolSize(path));
}

std::string FakeSystem::PoolText(const std::string& path) const {
  const uint64_t size = PoolSize(path);
  if (const int node = NodeOf(path); node >= 0) {
    std::vector<uint64_t> here = Held(size);
    here.insert(here.end(), pools.at(size).pooled.begin(), pools.at(size).pooled.end());
    return std::to_string(std::ranges::count_if(
               here, [&](uint64_t page) { return nodes.at(node).Contains(PhysAddr{page}); })) +
           "\n";
  }
  const uint64_t value = path.ends_with("/nr_hugepages")     ? pool_total(size)
                         : path.ends_with("/free_hugepages") ? pool_free(size)
                                                             : pool_surplus(size);
  return std::to_string(value) + "\n";
}

bool FakeSystem::IsMade(const std::string& path) const {
  return IsPool(path) || path == "/sys/kernel/kexec_loaded" ||
         path == "/sys/kernel/kexec_crash_loaded";
}

std::string FakeSystem::Contents(const std::string& path) {
  if (IsPool(path)) return PoolText(path);
  if (path == "/sys/kernel/kexec_loaded") return loaded ? "1\n" : "0\n";
  if (path == "/sys/kernel/kexec_crash_loaded") return crash ? "1\n" : "0\n";
  return files_[path].text;
}

SysResult<int> FakeSystem::Open(const std::string& path, OpenMode mode) {
  if (const int error = Trouble("Open", path)) return Err(error);
  if (mode != OpenMode::kRead && IsReadOnly(path)) return Err(EROFS);
  if (IsPool(path) && !files_.contains(path)) SetFile(path, "");
  auto found = files_.find(path);
  const bool create = mode == OpenMode::kCreate || mode == OpenMode::kCreateOrKeep;
  if (found == files_.end()) {
    if (!create) return Err(ENOENT);
    SetFile(path, "");
    found = files_.find(path);
  }
  if (found->second.open_error != 0) return Err(found->second.open_error);
  if (create && found->second.info.is_link) return Err(ELOOP);
  if (mode == OpenMode::kCreate) found->second.text.clear();
  open_[next_fd_] = {.path = path, .offset = 0, .write = mode != OpenMode::kRead};
  return next_fd_++;
}

void FakeSystem::Close(int fd) { open_.erase(fd); }

SysResult<FileInfo> FakeSystem::Stat(int fd) {
  if (const int error = Trouble("Stat", PathOf(fd))) return Err(error);
  FileInfo info = files_[open_[fd].path].info;
  info.size = files_[open_[fd].path].text.size();
  return info;
}

SysResult<FileInfo> FakeSystem::Lstat(const std::string& path) {
  if (const int error = Trouble("Lstat", path)) return Err(error);
  const auto found = files_.find(path);
  if (found == files_.end()) return Err(ENOENT);
  return found->second.info;
}

SysResult<size_t> FakeSystem::Read(int fd, std::span<std::byte> buffer) {
  auto& open = open_[fd];
  const auto got = ReadAt(fd, buffer, open.offset);
  if (got) open.offset += *got;
  return got;
}

SysResult<size_t> FakeSystem::ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) {
  if (const int error = Trouble("ReadAt", PathOf(fd))) return Err(error);
  const auto& open = open_[fd];
  if (open.path == kPagemap) return ReadPagemap(buffer, offset);
  if (open.path == kPageFlags) {
    const uint64_t end = (offset + buffer.size()) / sizeof(uint64_t) * page_size;
    page_flags_read_to = std::max(page_flags_read_to, end);
    return ReadPageFlags(buffer, offset);
  }
  if (open.path == "/proc/kcore" && offset >= kKcoreMemory) {
    return ReadReserved(buffer, offset - kKcoreMemory);
  }
  // Large files are not copied for each read.
  const std::string made = IsMade(open.path) ? Contents(open.path) : "";
  const std::string& text = IsMade(open.path) ? made : files_[open.path].text;
  if (offset >= text.size()) return size_t{0};
  const size_t size = std::min<size_t>(buffer.size(), text.size() - offset);
  memcpy(buffer.data(), text.data() + offset, size);
  return size;
}

SysResult<size_t> FakeSystem::ReadPagemap(std::span<std::byte> buffer, uint64_t offset) const {
  if (buffer.size() % sizeof(uint64_t) != 0) return Err(EINVAL);
  uint64_t address = offset / sizeof(uint64_t) * page_size;
  for (size_t at = 0; at < buffer.size(); at += sizeof(uint64_t), address += page_size) {
    uint64_t entry = 0;
    for (const auto& [id, segment] : segments_) {
      const auto start = reinterpret_cast<uint64_t>(segment.memory);
      if (!segment.mapped || address < start || address >= start + segment.size) continue;
      const uint64_t page = segment.pages[(address - start) / segment.page_size];
      if (page == 0) continue;
      entry = (page + (address - start) % segment.page_size) / page_size | uint64_t{1} << 63;
    }
    memcpy(buffer.data() + at, &entry, sizeof(entry));
  }
  return buffer.size();
}

SysResult<size_t> FakeSystem::ReadPageFlags(std::span<std::byte> buffer, uint64_t offset) const {
  constexpr uint64_t kLru = 1 << 5;
  constexpr uint64_t kBuddy = 1 << 10;
  constexpr uint64_t kHugePage = 1 << 17;
  constexpr uint64_t kUnevictable = 1 << 18;
  constexpr uint64_t kReserved = uint64_t{1} << 32;
  if (buffer.size() % sizeof(uint64_t) != 0) return Err(EINVAL);
  std::map<uint64_t, uint64_t> flags = page_flags;
  for (const auto& [id, segment] : segments_) {
    for (const uint64_t page : segment.pages) {
      if (page == 0) continue;
      for (uint64_t at = 0; at < segment.page_size; at += page_size) {
        flags[page + at] = segment.page_size == page_size ? kLru | kUnevictable : kHugePage;
      }
    }
  }
  if (loaded) {
    for (const uint64_t page : kexec_pages) flags[page] = kReserved;
  }
  uint64_t address = offset / sizeof(uint64_t) * page_size;
  for (size_t at = 0; at < buffer.size(); at += sizeof(uint64_t), address += page_size) {
    const auto found = flags.find(address);
    const uint64_t value = found == flags.end() ? kBuddy : found->second;
    memcpy(buffer.data() + at, &value, sizeof(value));
  }
  return buffer.size();
}

SysResult<size_t> FakeSystem::Write(int fd, std::span<const std::byte> data) {
  if (const int error = Trouble("Write", PathOf(fd))) return Err(error);
  const auto& open = open_[fd];
  if (!open.write) return Err(EBADF);
  if (data.size() > RoomIn(open.path)) return Err(ENOSPC);
  const std::string text(reinterpret_cast<const char*>(data.data()), data.size());
  if (IsPool(open.path)) {
    const uint64_t size = PoolSize(open.path);
    uint64_t count = std::strtoull(text.c_str(), nullptr, 10);
    const int node = NodeOf(open.path);
    // That of a node is what it is to have, and the others' stay.
    if (node >= 0) {
      count += pool_total(size) - std::strtoull(PoolText(open.path).c_str(), nullptr, 10);
    }
    SetPool(count, size, node);
  } else if (open.path.starts_with("/proc/sys/") || open.path.starts_with("/sys/")) {
    files_[open.path].text = text;
  } else {
    files_[open.path].text += text;
  }
  return data.size();
}

SysResult<void> FakeSystem::Rename(const std::string& from, const std::string& to) {
  if (const int error = Trouble("Rename", to)) return Err(error);
  if (IsReadOnly(to)) return Err(EROFS);
  const auto found = files_.find(from);
  if (found == files_.end()) return Err(ENOENT);
  files_[to] = found->second;
  files_.erase(from);
  if (on_rename) on_rename();
  return {};
}

SysResult<void> FakeSystem::Unlink(const std::string& path) {
  if (const int error = Trouble("Unlink", path)) return Err(error);
  if (IsReadOnly(path)) return Err(EROFS);
  if (files_.erase(path) == 0) return Err(ENOENT);
  return {};
}

SysResult<void> FakeSystem::MakeDirectory(const std::string& path) {
  if (const int error = Trouble("MakeDirectory", path)) return Err(error);
  if (files_.contains(path)) return Err(EEXIST);
  if (IsReadOnly(path)) return Err(EROFS);
  files_[path].info = {.is_directory = true, .mode = 0700};
  return {};
}

SysResult<std::string> FakeSystem::ReadLink(const std::string& path) {
  if (const int error = Trouble("ReadLink", path)) return Err(error);
  const auto found = files_.find(path);
  if (found == files_.end()) return Err(ENOENT);
  return found->second.link;
}

SysResult<std::vector<std::string>> FakeSystem::ListDirectory(const std::string& path) {
  if (const int error = Trouble("ListDirectory", path)) return Err(error);
  std::vector<std::string> names;
  if (path == kHuge) {
    for (const auto& [size, pool] : pools) {
      names.push_back("hugepages-" + std::to_string(size / 1024) + "kB");
    }
    return names;
  }
  const std::string prefix = path + "/";
  for (const auto& [name, file] : files_) {
    if (!name.starts_with(prefix)) continue;
    std::string entry = name.substr(prefix.size());
    entry.resize(std::min(entry.find('/'), entry.size()));
    if (names.empty() || names.back() != entry) names.push_back(std::move(entry));
  }
  if (names.empty()) return Err(ENOENT);
  return names;
}

SysResult<void> FakeSystem::Lock(int /*fd*/) {
  if (const int error = Trouble("Lock")) return Err(error);
  if (lock_held) return Err(EWOULDBLOCK);
  return {};
}

}  // namespace khop::system
