// SPDX-License-Identifier: MIT
// What the scenarios need in a guest and busybox does not have.
//
// - flip ADDRESS MASK: flips bits of one byte of physical memory that lies in a SysV shared memory
//   segment, as a stray write of another root process into a loaded payload would
// - rmshm: removes all SysV shared memory segments (ipcrm --all=shm) and prints them like lsshm
// - lsshm: prints "KEY SIZE" of each
// - nobody COMMAND...: runs a command as user 65534, without capabilities
// - lock FILE: takes an exclusive flock(2) and keeps it in the background
// - fragment MIB FILE...: takes all memory but some MIB in unmovable pages and frees every other,
//   so that no run of pages is left there; locks the files' pages, so that moving them into the
//   holes makes no run either (vm.compact_unevictable_allowed has to be 0); keeps it all in the
//   background
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

// The madvise that maps what is there (Linux 5.14); older headers do not name it.
constexpr int kMadvPopulateRead = 22;
constexpr uint64_t kPagePresent = uint64_t{1} << 63;
constexpr uint64_t kPageFrameMask = (uint64_t{1} << 55) - 1;  // proc_pid_pagemap(5)
constexpr size_t kMib = size_t{1} << 20;

size_t PageSize() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

int Complain(const char* what) {
  fprintf(stderr, "khop-guest-tool: %s: %s\n", what, strerror(errno));
  return 1;
}

// The physical address of a mapped byte; 0 if the page is not there.
uint64_t Physical(int pagemap, const unsigned char* address) {
  const auto virtual_address = reinterpret_cast<uintptr_t>(address);
  const size_t page = PageSize();
  uint64_t entry = 0;
  if (pread(pagemap, &entry, sizeof entry, static_cast<off_t>(virtual_address / page * 8)) !=
          static_cast<ssize_t>(sizeof entry) ||
      (entry & kPagePresent) == 0) {
    return 0;
  }
  return (entry & kPageFrameMask) * page + virtual_address % page;
}

std::vector<int> Segments() {
  std::vector<int> ids;
  std::ifstream list("/proc/sysvipc/shm");
  std::string line;
  std::getline(list, line);
  while (std::getline(list, line)) {
    int key = 0;
    int id = 0;
    if (sscanf(line.c_str(), "%d %d", &key, &id) == 2) {
      ids.push_back(id);
    }
  }
  return ids;
}

int Flip(uint64_t wanted, unsigned char mask) {
  const size_t page = PageSize();
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  for (const int id : Segments()) {
    shmid_ds info{};
    void* attached = shmat(id, nullptr, 0);
    if (attached == reinterpret_cast<void*>(-1) || shmctl(id, IPC_STAT, &info) != 0) {
      continue;
    }
    auto* memory = static_cast<unsigned char*>(attached);
    for (size_t offset = 0; offset < info.shm_segsz; offset += page) {
      // Page by page, so that a hole in the segment stops nothing but itself.
      if (madvise(memory + offset, page, kMadvPopulateRead) != 0) {
        continue;
      }
      if (Physical(pagemap, memory + offset) == (wanted & ~(uint64_t{page} - 1))) {
        unsigned char* const byte = memory + offset + wanted % page;
        const unsigned char before = *byte;
        *byte = before ^ mask;
        printf("0x%llx: %02x -> %02x\n", static_cast<unsigned long long>(wanted), before, *byte);
        return 0;
      }
    }
    shmdt(attached);
  }
  fprintf(stderr, "0x%llx lies in no SysV segment\n", static_cast<unsigned long long>(wanted));
  return 1;
}

int ListSegments(bool remove) {
  for (const int id : Segments()) {
    shmid_ds info{};
    if (shmctl(id, IPC_STAT, &info) != 0 || (remove && shmctl(id, IPC_RMID, nullptr) != 0)) {
      return Complain("shmctl");
    }
    printf("0x%x %zu\n", static_cast<unsigned>(info.shm_perm.__key), info.shm_segsz);
  }
  return 0;
}

int AsNobody(char** command) {
  if (setgid(65534) != 0 || setuid(65534) != 0) {
    return Complain("setuid");
  }
  execvp(command[0], command);
  return Complain(command[0]);
}

// Does `work` in a background process that stays if it returned 0; returns when it is done.
template <typename Work>
int InBackground(Work work) {
  int done[2];
  if (pipe(done) != 0) {
    return Complain("pipe");
  }
  const pid_t pid = fork();
  if (pid == 0) {
    close(done[0]);
    const int code = work();
    const auto byte = static_cast<char>(code);
    if (write(done[1], &byte, 1) != 1 || code != 0) {
      _exit(1);
    }
    close(done[1]);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
      close(fd);
    }
    for (;;) {
      pause();
    }
  }
  close(done[1]);
  char code = 1;
  return pid > 0 && read(done[0], &code, 1) == 1 ? code : 1;
}

// What unmovable allocations can have: not what lies in CMA.
size_t UnmovableMib() {
  std::ifstream info("/proc/meminfo");
  std::string key;
  size_t kib = 0;
  size_t available = 0;
  size_t cma = 0;
  std::string rest;
  while (info >> key >> kib && std::getline(info, rest)) {
    if (key == "MemAvailable:") {
      available = kib;
    } else if (key == "CmaFree:") {
      cma = kib;
    }
  }
  return (available - std::min(available, cma)) / 1024;
}

int LockFile(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
  if (size <= 0) {
    return Complain(path);
  }
  const auto length = static_cast<size_t>(size);
  void* memory = mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, 0);
  return memory != MAP_FAILED && mlock(memory, length) == 0 ? 0 : Complain(path);
}

// Pages of pipes are not movable. Two sets of pipes are filled in turn, a page each; then one set
// goes.
int Fragment(size_t leave_mib, const std::vector<const char*>& files) {
  const rlimit descriptors{.rlim_cur = 1 << 16, .rlim_max = 1 << 16};
  setrlimit(RLIMIT_NOFILE, &descriptors);
  for (const char* file : files) {
    if (LockFile(file) != 0) {
      return 1;
    }
  }
  const std::vector<char> page(PageSize(), 'f');
  std::vector<int> freed;
  while (UnmovableMib() > leave_mib) {
    int kept_pipe[2];
    int freed_pipe[2];
    if (pipe2(kept_pipe, O_NONBLOCK | O_CLOEXEC) != 0 ||
        pipe2(freed_pipe, O_NONBLOCK | O_CLOEXEC) != 0 ||
        fcntl(kept_pipe[1], F_SETPIPE_SZ, kMib) < 0 ||
        fcntl(freed_pipe[1], F_SETPIPE_SZ, kMib) < 0) {
      return Complain("pipe");
    }
    for (size_t i = 0; i < kMib / page.size(); ++i) {
      if (write(kept_pipe[1], page.data(), page.size()) < 0 ||
          write(freed_pipe[1], page.data(), page.size()) < 0) {
        return Complain("write");
      }
    }
    freed.insert(freed.end(), freed_pipe, freed_pipe + 2);
  }
  for (const int fd : freed) {
    close(fd);
  }
  return 0;
}

int Lock(const char* path) {
  const int fd = open(path, O_RDWR | O_CREAT, 0600);
  return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : Complain(path);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "flip" && argc == 4) {
    return Flip(strtoull(argv[2], nullptr, 0),
                static_cast<unsigned char>(strtoul(argv[3], nullptr, 0)));
  }
  if ((verb == "rmshm" || verb == "lsshm") && argc == 2) {
    return ListSegments(verb == "rmshm");
  }
  if (verb == "nobody" && argc > 2) {
    return AsNobody(argv + 2);
  }
  if (verb == "lock" && argc == 3) {
    return InBackground([&] { return Lock(argv[2]); });
  }
  if (verb == "fragment" && argc > 2) {
    return InBackground([&] {
      return Fragment(strtoul(argv[2], nullptr, 0),
                      std::vector<const char*>(argv + 3, argv + argc));
    });
  }
  fprintf(stderr, "usage: see lab/guest/tool.cc\n");
  return 2;
}
