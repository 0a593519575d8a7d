// SPDX-License-Identifier: MIT
#include "tool/system/fake_system.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

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

std::unexpected<Errno> Err(int value) { return std::unexpected(Errno{value}); }

}  // namespace

FakeSystem::FakeSystem() {
  SetFile("/proc/iomem",
          "09000000-09000fff : pl011@9000000\n"
          "40000000-7fffffff : System RAM\n"
          "  40210000-41ffffff : Kernel code\n"
          "  42000000-423fffff : Kernel data\n"
          "  7c000000-7fffffff : reserved\n");
  SetFile("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable:     800000 kB\n");
  SetFile("/proc/cmdline", "BOOT_IMAGE=/vmlinuz console=ttyAMA0\n");
  SetFile("/proc/consoles", "ttyAMA0              -W- (EC   a)  204:64\n");
  SetFile("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
  SetFile("/proc/sys/kernel/shm_rmid_forced", "0\n");
  SetFile("/proc/sys/kernel/shmmax", "18446744073692774399\n");
  SetFile("/proc/sys/kernel/shmall", "18446744073692774399\n");
  SetFile("/proc/sys/kernel/kexec_load_disabled", "0\n");
  SetFile("/sys/kernel/kexec_loaded", "");
  SetFile("/sys/kernel/kexec_crash_loaded", "");
  SetFile("/proc/sys/vm/compact_unevictable_allowed", "1\n");
  SetFile(kPagemap, "");
  SetFile(kPageFlags, "");
  files_["/proc/self/ns/ipc"].link = "ipc:[4026531839]";
  files_["/proc/self"].info.is_directory = files_["/sys/kernel"].info.is_directory = true;
}

FakeSystem::~FakeSystem() {
  for (auto& [id, segment] : segments_) std::free(segment.memory);
}

void FakeSystem::SetFile(const std::string& path, std::string text) {
  FakeFile& file = files_[path];
  file.text = std::move(text);
  file.info.is_regular = true;
  file.info.mode = 0600;
}

FakeSystem::FakeFile* FakeSystem::Find(const std::string& path) {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}

uint64_t FakeSystem::PagesInUse(uint64_t huge) const {
  uint64_t count = 0;
  for (const auto& [id, segment] : segments_) {
    if (segment.page_size != huge) continue;
    count += static_cast<uint64_t>(
        std::ranges::count_if(segment.pages, [](uint64_t p) { return p != 0; }));
  }
  return count;
}

std::vector<uint64_t> FakeSystem::Held(uint64_t huge) const {
  std::vector<uint64_t> held;
  for (const auto& [id, segment] : segments_) {
    if (segment.page_size != huge) continue;
    std::ranges::copy_if(segment.pages, std::back_inserter(held),
                         [](uint64_t p) { return p != 0; });
  }
  return held;
}

uint64_t FakeSystem::pool_total(uint64_t huge) const { return pool_free(huge) + PagesInUse(huge); }

// As in the kernel: pages beyond the persistent number are surplus, and those are all in use.
uint64_t FakeSystem::pool_surplus(uint64_t huge) const {
  const uint64_t total = pool_total(huge);
  const uint64_t persistent = pools.at(huge).persistent;
  return total > persistent ? total - persistent : 0;
}

void FakeSystem::SetPool(uint64_t persistent, uint64_t huge, int node) {
  Pool& pool = pools[huge];
  while (pool_total(huge) < persistent && !pool.free.empty()) {
    if (node >= 0 && std::ranges::none_of(pool.free, [&](uint64_t page) {
          return nodes.at(node).Contains(PhysAddr{page});
        })) {
      break;
    }
    pool.pooled.push_back(TakePage(pool.free, node));
  }
  while (pool_total(huge) > persistent && !pool.pooled.empty()) {
    pool.free.push_back(pool.pooled.back());
    pool.pooled.pop_back();
  }
  pool.persistent = std::min(persistent, pool_total(huge));
}

void FakeSystem::FreePage(uint64_t& page, uint64_t size) {
  if (page == 0) return;
  if (size == page_size) {
    base_pages.push_back(std::exchange(page, 0));
    return;
  }
  // Decided while the page still counts as in use.
  const bool surplus = pool_surplus(size) > 0;
  (surplus ? pools[size].free : pools[size].pooled).push_back(std::exchange(page, 0));
}

void FakeSystem::Destroy(std::map<int, Segment>::iterator segment) {
  for (uint64_t& page : segment->second.pages) FreePage(page, segment->second.page_size);
  std::free(segment->second.memory);
  segments_.erase(segment);
}

void FakeSystem::RemoveSegment(int key) {
  for (auto it = segments_.begin(); it != segments_.end(); ++it) {
    if (it->second.key == key) return Destroy(it);
  }
}

void FakeSystem::Migrate(uint64_t from, uint64_t to) {
  for (auto& [id, segment] : segments_) std::ranges::replace(segment.pages, from, to);
}

std::byte* FakeSystem::PhysicalBytes(uint64_t address) {
  for (auto& [id, segment] : segments_) {
    const uint64_t base = AlignDown(address, segment.page_size);
    const auto page = std::ranges::find(segment.pages, base);
    if (base == 0 || page == segment.pages.end()) continue;
    const auto number = static_cast<uint64_t>(page - segment.pages.begin());
    return segment.memory + number * segment.page_size + (address - base);
  }
  return nullptr;
}

void FakeSystem::NewProcess() {
  open_.clear();
  for (auto& [id, segment] : segments_) segment.mapped = false;
  preferred_node = -1;
  die_call = fail_call = -1;
  calls = 0;
}

int FakeSystem::Trouble(std::string_view call, const std::string& about) {
  const int number = calls++;
  if (die_call >= 0 && number >= die_call) return EIO;
  if (meanwhile) {
    // What it calls is not told to it.
    const auto hook = std::exchange(meanwhile, nullptr);
    hook(call);
    meanwhile = hook;
  }
  if (number != fail_call) return 0;
  failed = std::string(call) + " " + about;
  return fail_error;
}

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

void FakeSystem::SetNodes(std::map<int, PhysRange> memory, int boot_node) {
  for (const auto& [node, unused] : nodes) {
    Remove("/sys/devices/system/cpu/cpu0/node" + std::to_string(node));
  }
  nodes = std::move(memory);
  SetFile("/sys/devices/system/node/has_memory", "0-" + std::to_string(nodes.size() - 1) + "\n");
  SetFile("/sys/devices/system/cpu/cpu0/node" + std::to_string(boot_node), "");
}

uint64_t FakeSystem::TakePage(std::vector<uint64_t>& from, int node) const {
  auto page = from.begin();
  if (nodes.contains(node)) {
    page = std::ranges::find_if(
        from, [&](uint64_t address) { return nodes.at(node).Contains(PhysAddr{address}); });
    if (page == from.end()) page = from.begin();
  }
  const uint64_t taken = *page;
  from.erase(page);
  return taken;
}

SysResult<void> FakeSystem::PreferNode(int node) {
  if (const int error = Trouble("PreferNode")) return Err(error);
  preferred_node = node;
  return {};
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
  if (open.path == kPageFlags) return ReadPageFlags(buffer, offset);
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
    for (const uint64_t page : kexec_pages) flags[page] = 0;
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

SysResult<void> FakeSystem::KexecLoad(PhysAddr entry, std::span<const KexecSegment> segments) {
  if (const int error = Trouble("KexecLoad")) return Err(error);
  ++kexec_loads;
  if (kexec_error != 0) return Err(kexec_error);
  if (segments.empty()) {
    loaded.reset();
    return {};
  }
  if (segments.size() > 16) return Err(EINVAL);
  uint64_t total = 0;
  for (const KexecSegment& segment : segments) {
    const PhysRange range{segment.destination, segment.size};
    if (segment.destination.value % page_size != 0 || segment.size % page_size != 0) {
      return Err(EADDRNOTAVAIL);
    }
    if (segment.buffer.size() > segment.size) return Err(EINVAL);
    for (const KexecSegment& other : segments) {
      if (&other != &segment && range.Overlaps({other.destination, other.size})) return Err(EINVAL);
    }
    total += segment.size;
  }
  if (total > kexec_limit) return Err(ENOMEM);
  loaded = std::make_unique<LoadedImage>();
  loaded->entry = entry.value;
  loaded->destination = segments[0].destination.value;
  loaded->size = segments[0].size;
  loaded->bytes.assign(segments[0].buffer.begin(), segments[0].buffer.end());
  for (const KexecSegment& segment : segments) {
    loaded->segments[segment.destination.value].assign(segment.buffer.begin(),
                                                       segment.buffer.end());
  }
  return {};
}

SysResult<void> FakeSystem::KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                          uint32_t flags) {
  if (const int error = Trouble("KexecFileLoad")) return Err(error);
  if (kexec_file_error == ENOSYS) return Err(ENOSYS);
  if ((flags & ~kexec_file_flags) != 0) return Err(EINVAL);
  if ((flags & kKexecFileUnload) != 0) {
    loaded.reset();
    return {};
  }
  if (kexec_file_error != 0) return Err(kexec_file_error);
  if (!open_.contains(kernel)) return Err(EBADF);
  if ((flags & kKexecFileNoInitramfs) == 0 && !open_.contains(initrd)) return Err(EBADF);
  loaded = std::make_unique<LoadedImage>();
  loaded->kernel_file = PathOf(kernel);
  if ((flags & kKexecFileNoInitramfs) == 0) loaded->initrd_file = PathOf(initrd);
  loaded->command_line = command_line;
  loaded->file_flags = flags;
  return {};
}

Errno FakeSystem::KexecFileProbe(uint32_t flags) {
  if (const int error = Trouble("KexecFileProbe")) return {error};
  if (kexec_file_error == ENOSYS || kexec_file_error == EPERM) return {kexec_file_error};
  return {(flags & ~kexec_file_flags) != 0 ? EINVAL : EBADF};
}

Errno FakeSystem::KexecProbe() {
  if (const int error = Trouble("KexecProbe")) return {error};
  return {kexec_error != 0 ? kexec_error : EINVAL};
}

SysResult<void> FakeSystem::TakeInterfacesDown() {
  if (const int error = Trouble("TakeInterfacesDown"); error != 0) return Err(error);
  ++interfaces_down;
  return {};
}

SysResult<void> FakeSystem::Reboot(RebootMode /*mode*/) {
  if (const int error = Trouble("Reboot")) return Err(error);
  if (!loaded) return Err(EINVAL);
  ++reboots;
  return {};
}

SysResult<uint32_t> FakeSystem::WatchdogOptions(int /*fd*/) {
  if (const int error = Trouble("WatchdogOptions")) return Err(error);
  return watchdog_options;
}

SysResult<void> FakeSystem::SetWatchdogTimeout(int /*fd*/, uint32_t seconds) {
  if (const int error = Trouble("SetWatchdogTimeout")) return Err(error);
  watchdog_timeout = seconds;
  return {};
}

SysResult<int> FakeSystem::Run(const std::vector<std::string>& argv) {
  if (const int error = Trouble("Run")) return Err(error);
  runs.push_back(argv);
  return run_status;
}

SysResult<std::string> FakeSystem::KernelLog() {
  if (const int error = Trouble("KernelLog")) return Err(error);
  return kernel_log;
}

SysResult<void> FakeSystem::Random(std::span<std::byte> out) {
  if (const int error = Trouble("Random")) return Err(error);
  std::ranges::fill(out, std::byte{0x5a});
  return {};
}

void FakeSystem::CleanToPoc(const std::byte* address, uint64_t size) {
  if (!dead()) cleaned[address] = size;
}

void FakeSystem::Wipe(std::span<std::byte> bytes) {
  if (!dead()) std::ranges::fill(bytes, std::byte{0});
}

SysResult<void> FakeSystem::ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) {
  if (const int error = Trouble("ReadDeviceMemory")) return Err(error);
  const auto found = device_memory.find(address.value);
  if (found == device_memory.end() || found->second.size() < out.size()) return Err(EPERM);
  std::ranges::copy(std::as_bytes(std::span(found->second)).first(out.size()), out.begin());
  return {};
}

}  // namespace khop::system
