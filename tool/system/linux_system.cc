// SPDX-License-Identifier: MIT
#include "tool/system/linux_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/mempolicy.h>
#include <linux/watchdog.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "tool/system/el0.h"

namespace khop::system {
namespace {

// From linux/reboot.h, whose other names collide with sys/reboot.h.
constexpr int kRebootKexec = 0x45584543;
// From linux/shm.h: log2 of the huge page size in bits 26 and up of shmget's flags.
constexpr int kShmHugeShift = 26;
constexpr size_t kMaxSegments = 16;  // KEXEC_SEGMENT_MAX

std::unexpected<Errno> LastError() { return std::unexpected(Errno{errno}); }

template <typename Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

template <typename Call>
SysResult<void> Check(Call call) {
  if (Retry(call) < 0) return LastError();
  return {};
}

FileInfo ToFileInfo(const struct stat& st) {
  return {.size = static_cast<uint64_t>(st.st_size),
          .is_regular = S_ISREG(st.st_mode),
          .is_directory = S_ISDIR(st.st_mode),
          .is_link = S_ISLNK(st.st_mode),
          .mode = st.st_mode & 07777U,
          .uid = st.st_uid,
          .device = st.st_dev,
          .inode = st.st_ino};
}

}  // namespace

SysResult<int> LinuxSystem::Open(const std::string& path, OpenMode mode) {
  int flags = O_CLOEXEC;
  switch (mode) {
    case OpenMode::kRead:
      flags |= O_RDONLY | O_NONBLOCK;  // a FIFO would hold khop up until somebody writes to it
      break;
    case OpenMode::kWrite:
      flags |= O_WRONLY;
      break;
    case OpenMode::kCreate:
      flags |= O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
      break;
    case OpenMode::kCreateOrKeep:
      flags |= O_RDWR | O_CREAT | O_NOFOLLOW;
      break;
  }
  const int fd = Retry([&] { return open(path.c_str(), flags, 0600); });
  if (fd < 0) return LastError();
  return fd;
}

void LinuxSystem::Close(int fd) { close(fd); }

SysResult<FileInfo> LinuxSystem::Stat(int fd) {
  struct stat st = {};
  if (Retry([&] { return fstat(fd, &st); }) < 0) return LastError();
  return ToFileInfo(st);
}

SysResult<FileInfo> LinuxSystem::Lstat(const std::string& path) {
  struct stat st = {};
  if (Retry([&] { return lstat(path.c_str(), &st); }) < 0) return LastError();
  return ToFileInfo(st);
}

SysResult<size_t> LinuxSystem::Read(int fd, std::span<std::byte> buffer) {
  const ssize_t got = Retry([&] { return read(fd, buffer.data(), buffer.size()); });
  if (got < 0) return LastError();
  return static_cast<size_t>(got);
}

SysResult<size_t> LinuxSystem::ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) {
  const ssize_t got =
      Retry([&] { return pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset)); });
  if (got < 0) return LastError();
  return static_cast<size_t>(got);
}

void LinuxSystem::DropFromCache(int fd) { (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }

SysResult<size_t> LinuxSystem::Write(int fd, std::span<const std::byte> data) {
  const ssize_t put = Retry([&] { return write(fd, data.data(), data.size()); });
  if (put < 0) return LastError();
  return static_cast<size_t>(put);
}

SysResult<void> LinuxSystem::Rename(const std::string& from, const std::string& to) {
  return Check([&] { return rename(from.c_str(), to.c_str()); });
}

SysResult<void> LinuxSystem::Unlink(const std::string& path) {
  return Check([&] { return unlink(path.c_str()); });
}

SysResult<void> LinuxSystem::MakeDirectory(const std::string& path) {
  return Check([&] { return mkdir(path.c_str(), 0700); });
}

SysResult<std::string> LinuxSystem::ReadLink(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t size = Retry([&] { return readlink(path.c_str(), target.data(), target.size()); });
  if (size < 0) return LastError();
  return std::string(target.data(), static_cast<size_t>(size));
}

SysResult<void> LinuxSystem::Lock(int fd) {
  return Check([&] { return flock(fd, LOCK_EX | LOCK_NB); });
}

SysResult<std::vector<std::string>> LinuxSystem::ListDirectory(const std::string& path) {
  DIR* directory = nullptr;
  const auto open = [&] { return (directory = opendir(path.c_str())) == nullptr ? -1 : 0; };
  if (Retry(open) < 0) return LastError();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* const entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  const int error = errno;
  closedir(directory);
  if (error != 0) return std::unexpected(Errno{error});
  return names;
}

SysResult<int> LinuxSystem::ShmCreate(int key, uint64_t size, uint64_t page_size) {
  int flags = IPC_CREAT | IPC_EXCL | 0600;
  if (page_size != PageSize()) flags |= SHM_HUGETLB | std::countr_zero(page_size) << kShmHugeShift;
  const int id = Retry([&] { return shmget(key, size, flags); });
  if (id < 0) return LastError();
  return id;
}

SysResult<void> LinuxSystem::ShmLock(int id) {
  return Check([&] { return shmctl(id, SHM_LOCK, nullptr); });
}

SysResult<ShmInfo> LinuxSystem::ShmFind(int key) {
  const int id = Retry([&] { return shmget(key, 0, 0); });
  if (id < 0) return LastError();
  shmid_ds ds = {};
  if (Retry([&] { return shmctl(id, IPC_STAT, &ds); }) < 0) return LastError();
  return ShmInfo{.id = id,
                 .size = ds.shm_segsz,
                 .creator_uid = ds.shm_perm.cuid,
                 .doomed = (ds.shm_perm.mode & SHM_DEST) != 0};
}

SysResult<std::byte*> LinuxSystem::ShmAttach(int id) {
  const auto address = Retry([&] { return reinterpret_cast<intptr_t>(shmat(id, nullptr, 0)); });
  if (address < 0) return LastError();
  // NOLINTNEXTLINE(performance-no-int-to-ptr): it was one
  auto* const memory = reinterpret_cast<std::byte*>(address);
  // Not for the children that unpack images. Should it fail, they have no use for it either.
  struct shmid_ds info = {};
  if (shmctl(id, IPC_STAT, &info) == 0) madvise(memory, info.shm_segsz, MADV_DONTFORK);
  return memory;
}

SysResult<void> LinuxSystem::ShmDetach(std::byte* address) {
  return Check([&] { return shmdt(address); });
}

SysResult<void> LinuxSystem::ShmRemove(int id) {
  return Check([&] { return shmctl(id, IPC_RMID, nullptr); });
}

SysResult<void> LinuxSystem::Populate(std::byte* address, uint64_t size) {
  const auto locked = Check([&] { return mlock(address, size); });
  // MADV_REMOVE refuses locked mappings of base pages. Those are held by SHM_LOCK, not by this.
  (void)munlock(address, size);
  return locked;
}

SysResult<void> LinuxSystem::TakeMemory(uint64_t size) {
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::unexpected(Errno{errno});
  (void)madvise(memory, size, MADV_NOHUGEPAGE);
  for (uint64_t at = 0; at < size; at += PageSize()) static_cast<volatile char*>(memory)[at] = 1;
  return {};
}

SysResult<void> LinuxSystem::Punch(std::byte* address, uint64_t size) {
  return Check([&] { return madvise(address, size, MADV_REMOVE); });
}

SysResult<void> LinuxSystem::PreferNode(int node) {
  constexpr size_t kBits = sizeof(uint64_t) * 8;
  std::array<uint64_t, 1024 / kBits> mask = {};  // CONFIG_NODES_SHIFT is at most 10
  const auto bit = static_cast<size_t>(node);
  if (node < 0 || bit / kBits >= mask.size()) return std::unexpected(Errno{EINVAL});
  mask[bit / kBits] = uint64_t{1} << bit % kBits;
  // The kernel takes one off the number of bits.
  return Check([&] {
    return syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask.data(), mask.size() * kBits + 1);
  });
}

namespace {

SysResult<void> RawKexecLoad(PhysAddr entry, std::span<const KexecSegment> segments,
                             unsigned long flags) {  // NOLINT(google-runtime-int): as declared
  if (segments.size() > kMaxSegments) return std::unexpected(Errno{EINVAL});
  std::array<kexec_segment, kMaxSegments> raw = {};
  for (size_t i = 0; i < segments.size(); ++i) {
    raw[i] = {.buf = segments[i].buffer.data(),
              .bufsz = segments[i].buffer.size(),
              // NOLINTNEXTLINE(performance-no-int-to-ptr): the system call's own type
              .mem = reinterpret_cast<const void*>(segments[i].destination.value),
              .memsz = segments[i].size};
  }
  // No flag but the architecture's 0: an unknown one makes some kernels refuse (EINVAL).
  return Check([&] {
    return syscall(SYS_kexec_load, entry.value, segments.size(), raw.data(),
                   KEXEC_ARCH_DEFAULT | flags);
  });
}

}  // namespace

SysResult<void> LinuxSystem::KexecLoad(PhysAddr entry, std::span<const KexecSegment> segments) {
  return RawKexecLoad(entry, segments, 0);
}

SysResult<void> LinuxSystem::KexecLoadCrash(PhysAddr entry,
                                            std::span<const KexecSegment> segments) {
  return RawKexecLoad(entry, segments, KEXEC_ON_CRASH);
}

Errno LinuxSystem::KexecProbe() {
  const std::array<kexec_segment, kMaxSegments + 1> raw = {};
  const int64_t result = Retry(
      [&] { return syscall(SYS_kexec_load, 0UL, raw.size(), raw.data(), KEXEC_ARCH_DEFAULT); });
  return {result < 0 ? errno : EINVAL};
}

SysResult<void> LinuxSystem::KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                           uint32_t flags) {
  // The length counts the final NUL.
  return Check([&] {
    return syscall(SYS_kexec_file_load, kernel, initrd, command_line.size() + 1,
                   command_line.c_str(),
                   static_cast<unsigned long>(flags));  // NOLINT(google-runtime-int): as declared
  });
}

Errno LinuxSystem::KexecFileProbe(uint32_t flags) {
  const int64_t result = Retry([&] {
    return syscall(SYS_kexec_file_load, -1, -1, 0UL, nullptr,
                   static_cast<unsigned long>(flags));  // NOLINT(google-runtime-int): as declared
  });
  return {result < 0 ? errno : EBADF};
}

SysResult<void> LinuxSystem::Reboot(RebootMode mode) {
  switch (mode) {
    case RebootMode::kKexec:
      return Check([] { return reboot(kRebootKexec); });
  }
  return std::unexpected(Errno{EINVAL});
}

void LinuxSystem::Sync() { sync(); }

SysResult<void> LinuxSystem::TakeInterfacesDown() {
  const int fd = Retry([] { return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
  if (fd < 0) return LastError();
  SysResult<void> done;
  struct if_nameindex* const all = if_nameindex();
  if (all == nullptr) done = LastError();
  for (const struct if_nameindex* one = all; one != nullptr && one->if_index != 0; ++one) {
    ifreq request = {};
    std::string_view(one->if_name).copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    if (const auto got = Check([&] { return ioctl(fd, SIOCGIFFLAGS, &request); }); !got) {
      done = got;
      continue;
    }
    if ((request.ifr_flags & IFF_LOOPBACK) != 0 || (request.ifr_flags & IFF_UP) == 0) continue;
    request.ifr_flags =
        static_cast<short>(request.ifr_flags & ~IFF_UP);  // NOLINT(google-runtime-int): as declared
    if (const auto set = Check([&] { return ioctl(fd, SIOCSIFFLAGS, &request); }); !set) done = set;
  }
  if (all != nullptr) if_freenameindex(all);
  close(fd);
  return done;
}

SysResult<uint32_t> LinuxSystem::WatchdogOptions(int fd) {
  watchdog_info info = {};
  if (Retry([&] { return ioctl(fd, WDIOC_GETSUPPORT, &info); }) < 0) return LastError();
  return info.options;
}

SysResult<void> LinuxSystem::SetWatchdogTimeout(int fd, uint32_t seconds) {
  int value = static_cast<int>(seconds);
  return Check([&] { return ioctl(fd, WDIOC_SETTIMEOUT, &value); });
}

SysResult<int> LinuxSystem::Run(const std::vector<std::string>& argv) {
  std::vector<char*> raw;
  raw.reserve(argv.size() + 1);
  for (const std::string& arg : argv) raw.push_back(const_cast<char*>(arg.c_str()));
  raw.push_back(nullptr);
  pid_t child = -1;
  if (const int error = posix_spawnp(&child, raw[0], nullptr, nullptr, raw.data(), environ);
      error != 0) {
    return std::unexpected(Errno{error});
  }
  int status = 0;
  if (Retry([&] { return waitpid(child, &status, 0); }) < 0) return LastError();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string LinuxSystem::Machine() {
  utsname name = {};
  return uname(&name) == 0 ? name.machine : "";
}

std::string LinuxSystem::KernelRelease() {
  utsname name = {};
  return uname(&name) == 0 ? name.release : "";
}

uint32_t LinuxSystem::EffectiveUid() { return geteuid(); }

uint64_t LinuxSystem::PageSize() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

SysResult<void> LinuxSystem::Random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = Retry([&] { return getrandom(out.data(), out.size(), 0); });
    if (got < 0) return LastError();
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

uint64_t LinuxSystem::Counter() { return el0::Counter(); }

uint32_t LinuxSystem::DataCacheLine() { return el0::DataCacheLine(); }

void LinuxSystem::CleanToPoc(const std::byte* address, uint64_t size) {
  el0::CleanToPoc(address, size);
}

void LinuxSystem::Wipe(std::span<std::byte> bytes) { explicit_bzero(bytes.data(), bytes.size()); }

SysResult<std::string> LinuxSystem::KernelLog() {
  constexpr size_t kEnough = size_t{1} << 28;  // somebody may write faster than this reads
  const int fd = Retry([] { return open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC); });
  if (fd < 0) return LastError();
  std::string log;
  std::array<char, 8192> record;  // no record is larger (CONSOLE_EXT_LOG_MAX)
  for (ssize_t got = 1; got > 0 && log.size() < kEnough;) {
    got = Retry([&] { return read(fd, record.data(), record.size()); });
    if (got > 0) log.append(record.data(), static_cast<size_t>(got));
    if (got < 0 && errno == EPIPE) got = 1;  // records have dropped out meanwhile
  }
  close(fd);
  return log;
}

SysResult<void> LinuxSystem::ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) {
  // O_SYNC: as device memory, never by a cacheable alias.
  const int fd = Retry([] { return open("/dev/mem", O_RDONLY | O_SYNC | O_CLOEXEC); });
  if (fd < 0) return LastError();
  const uint64_t offset = address.value % PageSize();
  const size_t size = offset + out.size();
  void* const mapped =
      mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(address.value - offset));
  const Errno error{errno};
  close(fd);
  if (mapped == MAP_FAILED) return std::unexpected(error);
  // Device memory takes no unaligned or wider accesses, which memcpy would make.
  const auto* const words =
      reinterpret_cast<const volatile uint32_t*>(static_cast<std::byte*>(mapped) + offset);
  for (size_t i = 0; i < out.size() / sizeof(uint32_t); ++i) {
    const uint32_t word = words[i];
    memcpy(&out[i * sizeof(word)], &word, sizeof(word));
  }
  munmap(mapped, size);
  return {};
}

uint64_t LinuxSystem::Hwcap() { return getauxval(AT_HWCAP); }

unsigned LinuxSystem::CpuCount() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  // Machines with more than 1024 CPUs do not fit: they have enough all the same.
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
  return std::max(static_cast<unsigned>(CPU_COUNT(&cpus)), 1U);
}

}  // namespace khop::system
