// SPDX-License-Identifier: MIT
// The one seam between khop and the machine: everything that khop asks of the running kernel or the
// CPU goes through this class. LinuxSystem does it, FakeSystem pretends (and fails on demand).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"

namespace khop::system {

// An errno value; never 0.
struct Errno {
  int value;
  friend bool operator==(Errno, Errno) = default;
};

template <typename T>
using SysResult = std::expected<T, Errno>;

enum class OpenMode : uint8_t {
  kRead,
  kWrite,         // an existing file: sysfs, procfs
  kCreate,        // truncated or made, mode 0600, never through a symbolic link
  kCreateOrKeep,  // as kCreate, contents kept: lock files
};

struct FileInfo {
  uint64_t size = 0;
  bool is_regular = false;
  bool is_directory = false;
  bool is_link = false;  // Lstat only
  uint32_t mode = 0;     // permission bits
  uint32_t uid = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  friend bool operator==(const FileInfo&, const FileInfo&) = default;
};

struct ShmInfo {
  int id = -1;
  uint64_t size = 0;
  uint32_t creator_uid = 0;
  bool doomed = false;  // marked for removal, kept alive by attachments only
};

// One segment as kexec_load(2) takes it.
struct KexecSegment {
  std::span<const std::byte> buffer;
  PhysAddr destination;  // page-aligned
  uint64_t size;         // page-aligned, >= buffer.size()
};

// Flags of kexec_file_load(2), as in the kernel's UAPI.
enum KexecFileFlag : uint32_t {
  kKexecFileUnload = 1,
  kKexecFileNoInitramfs = 4,
  kKexecFileNoCma = 16,  // Linux 6.17
};

enum class RebootMode : uint8_t { kKexec };

// What one CPU of the machine does with memory that no cache holds, bytes a second; 0: not known.
struct Speeds {
  uint64_t copy = 0;   // from one place to another
  uint64_t clean = 0;  // dirty lines to the point of coherency
  uint64_t sha256 = 0;
  uint64_t crc32c = 0;
  friend bool operator==(const Speeds&, const Speeds&) = default;
};

// Calls fail with the errno of the system call behind them. EINTR never comes out.
class System {
 public:
  virtual ~System() = default;

  // Files. Descriptors are close-on-exec.
  virtual SysResult<int> Open(const std::string& path, OpenMode mode) = 0;
  virtual void Close(int fd) = 0;
  virtual SysResult<FileInfo> Stat(int fd) = 0;
  virtual SysResult<FileInfo> Lstat(const std::string& path) = 0;
  // May return fewer bytes than asked for; 0 at the end.
  virtual SysResult<size_t> Read(int fd, std::span<std::byte> buffer) = 0;
  virtual SysResult<size_t> ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) = 0;
  // What the page cache has of the file, and nobody uses, is free memory again.
  virtual void DropFromCache(int fd) = 0;
  virtual SysResult<size_t> Write(int fd, std::span<const std::byte> data) = 0;
  virtual SysResult<void> Rename(const std::string& from, const std::string& to) = 0;
  virtual SysResult<void> Unlink(const std::string& path) = 0;
  virtual SysResult<void> MakeDirectory(const std::string& path) = 0;  // mode 0700
  virtual SysResult<std::string> ReadLink(const std::string& path) = 0;
  // Takes the exclusive advisory lock without waiting; EWOULDBLOCK if another process holds it.
  virtual SysResult<void> Lock(int fd) = 0;

  // The names in a directory, "." and ".." excepted, in any order.
  virtual SysResult<std::vector<std::string>> ListDirectory(const std::string& path) = 0;

  // SysV shared memory, mode 0600, of hugetlb pages of `page_size` bytes; of the kernel's own pages
  // if that is PageSize(). Create fails with EEXIST for a known key.
  virtual SysResult<int> ShmCreate(int key, uint64_t size, uint64_t page_size) = 0;
  // Keeps the pages that come from now on out of swap and of the LRU lists (SHM_LOCK).
  virtual SysResult<void> ShmLock(int id) = 0;
  // ENOENT if there is none with this key.
  virtual SysResult<ShmInfo> ShmFind(int key) = 0;
  virtual SysResult<std::byte*> ShmAttach(int id) = 0;
  virtual SysResult<void> ShmDetach(std::byte* address) = 0;
  virtual SysResult<void> ShmRemove(int id) = 0;
  // Faults all pages in (mlock: unlike a touch it reports what it cannot have, with no SIGBUS).
  // The mapping does not stay locked: Punch() would fail.
  virtual SysResult<void> Populate(std::byte* address, uint64_t size) = 0;
  // Takes so many bytes of base pages, wherever they are, until this process ends.
  virtual SysResult<void> TakeMemory(uint64_t size) = 0;
  // Gives pages of a shared segment back for good (MADV_REMOVE).
  virtual SysResult<void> Punch(std::byte* address, uint64_t size) = 0;

  // From now on the memory that this process takes comes from this node, and from others only when
  // that has none (set_mempolicy(2), MPOL_PREFERRED).
  virtual SysResult<void> PreferNode(int node) = 0;

  // No segments: unload.
  virtual SysResult<void> KexecLoad(PhysAddr entry, std::span<const KexecSegment> segments) = 0;
  // The same for the image that a panic starts (KEXEC_ON_CRASH): the segments lie in the crash
  // reservation and are copied there at once. The image before is lost first, whatever comes.
  virtual SysResult<void> KexecLoadCrash(PhysAddr entry,
                                         std::span<const KexecSegment> segments) = 0;
  // kexec_load with a segment count that no kernel accepts. EINVAL: kexec_load is there and this
  // process may use it; ENOSYS, EPERM: it is not. Counts against kexec_load_limit_reboot.
  virtual Errno KexecProbe() = 0;
  // kexec_file_load; descriptors that the flags make needless may be -1.
  virtual SysResult<void> KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                        uint32_t flags) = 0;
  // kexec_file_load of descriptors that are none. EBADF: it is there, this process may use it, and
  // it knows the flags; EINVAL: it does not know the flags; ENOSYS, EPERM: it is not. Counts too.
  virtual Errno KexecFileProbe(uint32_t flags) = 0;
  virtual SysResult<void> Reboot(RebootMode mode) = 0;
  virtual void Sync() = 0;
  // Takes all network interfaces down but the loopback; the error of the last one that would not.
  virtual SysResult<void> TakeInterfacesDown() = 0;

  // Of an open watchdog: what it can do (WDIOF_*), and after how many seconds it resets.
  virtual SysResult<uint32_t> WatchdogOptions(int fd) = 0;
  virtual SysResult<void> SetWatchdogTimeout(int fd, uint32_t seconds) = 0;

  // Runs a program and waits: its exit status, or 128 + signal. argv[0] is searched in PATH.
  virtual SysResult<int> Run(const std::vector<std::string>& argv) = 0;

  virtual std::string Machine() = 0;        // uname -m
  virtual std::string KernelRelease() = 0;  // uname -r
  virtual uint32_t EffectiveUid() = 0;
  virtual uint64_t PageSize() = 0;
  virtual SysResult<void> Random(std::span<std::byte> out) = 0;
  // The virtual counter, read in order after everything before it; 0 where there is none.
  virtual uint64_t Counter() = 0;
  virtual uint32_t DataCacheLine() = 0;  // smallest, bytes: CTR_EL0.DminLine
  // Cleans and invalidates [address, address + size) to the point of coherency.
  virtual void CleanToPoc(const std::byte* address, uint64_t size) = 0;
  // Overwrites them with zeros, whatever the compiler thinks of that.
  virtual void Wipe(std::span<std::byte> bytes) = 0;
  // The records of /dev/kmsg that the kernel still has, as it gives them.
  virtual SysResult<std::string> KernelLog() = 0;
  // Bytes of physical memory that the kernel does not use as RAM (/dev/mem), read in words of 4
  // bytes. `address` and the size of `out` are multiples of 4.
  virtual SysResult<void> ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) = 0;
  // HWCAP bits of the running kernel's CPUs, AT_HWCAP.
  virtual uint64_t Hwcap() = 0;
  // CPUs that this process may run on, at least 1.
  virtual unsigned CpuCount() = 0;
  // Measured now, in a fifth of a second or so.
  virtual Speeds MeasureSpeeds() = 0;
};

// A descriptor closed at the end of its scope.
class File {
 public:
  File() = default;
  File(System& system, int fd) : system_(&system), fd_(fd) {}
  File(File&& other) noexcept : system_(other.system_), fd_(other.Release()) {}
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { Reset(); }

  static SysResult<File> Open(System& system, const std::string& path, OpenMode mode);
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int Release();
  void Reset();

 private:
  System* system_ = nullptr;
  int fd_ = -1;
};

// The whole file, at most `limit` bytes (EFBIG beyond).
SysResult<std::string> ReadFile(System& system, const std::string& path, uint64_t limit = 1 << 20);
// A file that holds one number.
SysResult<uint64_t> ReadNumber(System& system, const std::string& path);
// Writes `text` in one go to an existing file (sysfs, procfs).
SysResult<void> WriteFile(System& system, const std::string& path, std::string_view text);
// Fills `buffer` from `offset` on; fewer bytes only at the end of the file.
SysResult<size_t> ReadFully(System& system, int fd, std::span<std::byte> buffer, uint64_t offset);
// What ReplaceFile() writes first has this at the end of its name.
inline constexpr const char* kFresh = ".new";
// Replaces `path` by a file with these bytes, or leaves it as it was. Owner-only.
SysResult<void> ReplaceFile(System& system, const std::string& path,
                            std::span<const std::byte> data);

// strerror() without its static buffer.
std::string Describe(Errno error);

}  // namespace khop::system
