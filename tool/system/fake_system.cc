// SPDX-License-Identifier: MIT
#include "tool/system/fake_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace khop::system {

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
  SetFile("/proc/self/pagemap", "");
  SetFile("/proc/kpageflags", "");
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
  if (!dead()) cleaned[address] = std::max(cleaned[address], size);
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
