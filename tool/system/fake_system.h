// SPDX-License-Identifier: MIT
// A machine for tests: files in memory, huge and base pages at chosen physical addresses, SysV
// segments, page flags, a kexec that takes anything sound. Any call can be made to fail, or to be
// the last that the process did (as a SIGKILL there would).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tool/system/system.h"

namespace khop::system {

class FakeSystem final : public System {
 public:
  // An arm64 machine with 4 KiB pages where khop may do everything; nothing loaded, empty pool.
  FakeSystem();
  ~FakeSystem() override;

  // --- What a test sets and looks at.
  struct FakeFile {
    std::string text;
    FileInfo info;
    int open_error = 0;
    std::string link;  // of symbolic links
  };
  void SetFile(const std::string& path, std::string text);
  void Remove(const std::string& path) { files_.erase(path); }
  FakeFile* Find(const std::string& path);
  const std::map<std::string, FakeFile>& files() const { return files_; }

  // hugetlb pages of one size. A test may add sizes; 2 MiB are always there.
  struct Pool {
    std::vector<uint64_t> free;    // that the kernel could have, in the order of handing out
    uint64_t persistent = 0;       // an administrator's; they come from `free` too
    std::vector<uint64_t> pooled;  // in the pool and free
  };
  static constexpr uint64_t kDefaultHuge = uint64_t{2} << 20;
  std::map<uint64_t, Pool> pools;                                // by page size
  std::vector<uint64_t>& free_pages = pools[kDefaultHuge].free;  // of 2 MiB
  uint64_t& pool_persistent = pools[kDefaultHuge].persistent;    // of 2 MiB
  // Base pages that the kernel has free, in the order of handing out.
  std::vector<uint64_t> base_pages;
  // The memory of the machine's nodes, if it has more than one (SetNodes), and the one preferred.
  std::map<int, PhysRange> nodes;
  int preferred_node = -1;
  // Nodes with this memory, in sysfs too; CPU 0 is of `boot_node`.
  void SetNodes(std::map<int, PhysRange> memory, int boot_node);
  uint64_t pool_surplus(uint64_t huge = kDefaultHuge) const;
  uint64_t pool_total(uint64_t huge = kDefaultHuge) const;
  uint64_t pool_free(uint64_t huge = kDefaultHuge) const { return pools.at(huge).pooled.size(); }
  size_t segment_count() const { return segments_.size(); }
  uint64_t PagesInUse(uint64_t huge = kDefaultHuge) const;
  void SetPool(uint64_t persistent, uint64_t huge = kDefaultHuge, int node = -1);
  // What /proc/kpageflags says of pages that are in no segment; the others are free.
  std::map<uint64_t, uint64_t> page_flags;
  uint64_t page_flags_read_to = 0;  // the end of the memory that was asked about
  // Pages that are the kernel's own while an image is loaded.
  std::vector<uint64_t> kexec_pages;
  // Base pages that came while their segment was not locked, or could be compacted.
  int loose_pages = 0;
  void SetSegmentOwner(int key, uint32_t uid);
  // As ipcrm does.
  void RemoveSegment(int key);
  // Moves a page in use to another physical address.
  void Migrate(uint64_t from, uint64_t to);
  // The addresses of the pages of one size that segments hold.
  std::vector<uint64_t> Held(uint64_t unit) const;
  // The bytes at a physical address in use; null if there are none.
  std::byte* PhysicalBytes(uint64_t address);

  struct LoadedImage {
    uint64_t entry = 0;
    uint64_t destination = 0;
    uint64_t size = 0;
    std::vector<std::byte> bytes;
    // All of a kexec_load with several; the first is described above.
    std::map<uint64_t, std::vector<std::byte>> segments;  // by destination
    // Of a kexec_file_load.
    std::string kernel_file;
    std::string initrd_file;
    std::string command_line;
    uint32_t file_flags = 0;
  };
  std::unique_ptr<LoadedImage> loaded;
  // What a panic would start. Its segments' bytes are in `reserved_memory`, by page; they stay
  // there when it is unloaded.
  struct CrashImage {
    uint64_t entry = 0;
    std::vector<PhysRange> segments;
  };
  std::unique_ptr<CrashImage> crash;
  std::map<uint64_t, std::vector<std::byte>> reserved_memory;
  // Where /proc/kcore, if the test sets it, has physical address 0: it reads as what is there.
  static constexpr uint64_t kKcoreMemory = uint64_t{1} << 40;
  // Adds a range to what crashkernel= reserved.
  void Reserve(PhysRange range);
  int crash_error = 0;  // what every crash load fails with, once the image before is lost
  int kexec_error = 0;  // what every kexec_load fails with
  // What every kexec_file_load fails with; as on Debian's kernels.
  int kexec_file_error = 38;          // ENOSYS
  uint32_t kexec_file_flags = 7;      // that it knows
  uint64_t kexec_limit = UINT64_MAX;  // larger images fail with ENOMEM
  int kexec_loads = 0;
  int reboots = 0;
  int syncs = 0;
  int interfaces_down = 0;  // how often they were taken down
  std::function<void()> on_rename;
  uint64_t taken_memory = 0;  // bytes, by TakeMemory
  std::vector<std::vector<std::string>> runs;
  uint32_t watchdog_options = 0x8180;  // as i6300esb has them
  uint32_t watchdog_timeout = 0;       // as it was set
  std::set<std::string> dropped_from_cache;
  int run_status = 0;
  std::string machine = "aarch64";
  uint32_t uid = 0;
  uint64_t page_size = 4096;
  uint64_t counter = 1000;
  unsigned cpu_count = 3;
  uint64_t hwcap = 0xc2;   // HWCAP_ASIMD, _SHA2, _CRC32
  bool lock_held = false;  // by another process
  std::string kernel_log = "5,0,0,-;Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n";
  std::map<const std::byte*, uint64_t> cleaned;
  Speeds speeds = {.copy = 2'000'000'000,
                   .clean = 4'000'000'000,
                   .sha256 = 500'000'000,
                   .crc32c = 1'000'000'000};
  std::map<uint64_t, std::string> device_memory;  // by address; the rest is no such memory (EPERM)

  // --- Trouble. Calls that change or read something outside the process are counted.
  int calls = 0;
  int fail_call = -1;  // this call fails with fail_error, and has no effect
  int fail_error = 5;  // EIO
  int die_call = -1;   // from this call on nothing has an effect: the process is dead
  std::string failed;  // the call that failed: its name, and what it was about
  // Called before each call with its name: what somebody else does meanwhile.
  std::function<void(std::string_view call)> meanwhile;
  uint64_t run_size = UINT64_MAX;  // bytes that fit under /run
  bool run_is_read_only = false;
  bool dead() const { return die_call >= 0 && calls > die_call; }
  // A new process on the same machine: no descriptors, no mappings, no locks.
  void NewProcess();

  // --- System.
  SysResult<int> Open(const std::string& path, OpenMode mode) override;
  void Close(int fd) override;
  SysResult<FileInfo> Stat(int fd) override;
  SysResult<FileInfo> Lstat(const std::string& path) override;
  SysResult<size_t> Read(int fd, std::span<std::byte> buffer) override;
  SysResult<size_t> ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) override;
  void DropFromCache(int fd) override { dropped_from_cache.insert(PathOf(fd)); }
  SysResult<size_t> Write(int fd, std::span<const std::byte> data) override;
  SysResult<void> Rename(const std::string& from, const std::string& to) override;
  SysResult<void> Unlink(const std::string& path) override;
  SysResult<void> MakeDirectory(const std::string& path) override;
  SysResult<std::string> ReadLink(const std::string& path) override;
  SysResult<void> Lock(int fd) override;
  SysResult<std::vector<std::string>> ListDirectory(const std::string& path) override;
  SysResult<int> ShmCreate(int key, uint64_t size, uint64_t page_size) override;
  SysResult<void> ShmLock(int id) override;
  SysResult<ShmInfo> ShmFind(int key) override;
  SysResult<std::byte*> ShmAttach(int id) override;
  SysResult<void> ShmDetach(std::byte* address) override;
  SysResult<void> ShmRemove(int id) override;
  SysResult<void> Populate(std::byte* address, uint64_t size) override;
  SysResult<void> TakeMemory(uint64_t size) override;
  SysResult<void> PreferNode(int node) override;
  SysResult<void> Punch(std::byte* address, uint64_t size) override;
  SysResult<void> KexecLoad(PhysAddr entry, std::span<const KexecSegment> segments) override;
  SysResult<void> KexecLoadCrash(PhysAddr entry, std::span<const KexecSegment> segments) override;
  Errno KexecProbe() override;
  SysResult<void> KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                uint32_t flags) override;
  Errno KexecFileProbe(uint32_t flags) override;
  SysResult<void> Reboot(RebootMode mode) override;
  void Sync() override { ++syncs; }
  SysResult<void> TakeInterfacesDown() override;
  SysResult<uint32_t> WatchdogOptions(int fd) override;
  SysResult<void> SetWatchdogTimeout(int fd, uint32_t seconds) override;
  SysResult<int> Run(const std::vector<std::string>& argv) override;
  std::string Machine() override { return machine; }
  std::string KernelRelease() override { return "6.1.0-fake"; }
  uint32_t EffectiveUid() override { return uid; }
  uint64_t PageSize() override { return page_size; }
  SysResult<void> Random(std::span<std::byte> out) override;
  uint64_t Counter() override { return counter; }
  uint32_t DataCacheLine() override { return 64; }
  void CleanToPoc(const std::byte* address, uint64_t size) override;
  void Wipe(std::span<std::byte> bytes) override;
  SysResult<std::string> KernelLog() override;
  SysResult<void> ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) override;
  uint64_t Hwcap() override { return hwcap; }
  unsigned CpuCount() override { return cpu_count; }
  Speeds MeasureSpeeds() override { return speeds; }

 private:
  struct Segment {
    int key = 0;
    uint64_t size = 0;
    uint64_t page_size = 0;
    uint32_t uid = 0;
    bool mapped = false;
    bool locked = false;
    std::byte* memory = nullptr;
    std::vector<uint64_t> pages;  // physical address of each; 0: not there
  };
  struct OpenFile {
    std::string path;
    uint64_t offset = 0;
    bool write = false;
  };

  static std::unexpected<Errno> Err(int value) { return std::unexpected(Errno{value}); }
  // Counts a call; the error that it is to fail with, or 0.
  int Trouble(std::string_view call, const std::string& about = "");
  // The page that comes next: of the preferred node, if there is one.
  uint64_t TakePage(std::vector<uint64_t>& from, int node) const;
  std::string PathOf(int fd) const;
  bool IsReadOnly(const std::string& path) const;
  // Bytes that still can be written to a file.
  uint64_t RoomIn(const std::string& path) const;
  bool IsPool(const std::string& path) const;
  bool IsMade(const std::string& path) const;
  std::string PoolText(const std::string& path) const;
  std::string Contents(const std::string& path);
  SysResult<size_t> ReadPagemap(std::span<std::byte> buffer, uint64_t offset) const;
  SysResult<size_t> ReadPageFlags(std::span<std::byte> buffer, uint64_t offset) const;
  size_t ReadReserved(std::span<std::byte> buffer, uint64_t address) const;
  const Segment* HolderOf(uint64_t address) const;
  Segment* SegmentAt(const std::byte* address);
  void FreePage(uint64_t& page, uint64_t size);
  void Destroy(std::map<int, Segment>::iterator segment);

  std::map<std::string, FakeFile> files_;
  std::map<int, OpenFile> open_;
  std::map<int, Segment> segments_;  // by id
  int next_fd_ = 3;
  int next_id_ = 100;
};

}  // namespace khop::system
