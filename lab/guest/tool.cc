// SPDX-License-Identifier: MIT
// What the scenarios need in a guest and busybox does not have.
//
// - flip ADDRESS MASK: flips bits of one byte of physical memory that lies in a SysV shared memory
//   segment, as a stray write of another root process into a loaded payload would
// - rmshm: removes all SysV shared memory segments (ipcrm --all=shm) and prints them like lsshm
// - lsshm: prints "KEY SIZE" of each
// - nobody COMMAND...: runs a command as user 65534, without capabilities
// - lock FILE: takes an exclusive flock(2) and keeps it in the background
// - holes FILE: writes the running kernel's device tree with a reserved page in every 16 MiB of
//   memory, so that no run of free memory is longer than that
// - fragment KIB: takes a page that cannot be moved out of nearly every aligned block of so many
// KiB
//   of free memory, and keeps them in the background
// - firsthand FILE: writes the running kernel's device tree without what hops put there: no
//   /memreserve/ and no khop,from
// - reservations: prints "ADDRESS SIZE" of each /memreserve/ entry of the running kernel's device
// tree
// - kexec load|unload: loads an image that is not khop's (it would loop for ever), or unloads any
// - crash load|unload: the same of the crash image
// - inject kill|ERRNO FIRST STEP COMMAND...: see inject.h
// - name FILE MODEL: writes the running kernel's device tree with another model
// - attribute FILE NAME VALUE: gives a file the extended attribute that the file VALUE holds
// - trust FILE: makes the certificate FILE (DER) one that IMA's signatures are checked with,
//   where no trusted keyring is asked for
// - denied: reboots into what is loaded, with the faults of fail_page_alloc for this task alone
// - reboot, zero, count COMMAND..., peak COMMAND..., split COMMAND...: see measure.h
#include <fcntl.h>
#include <libfdt.h>
#include <linux/keyctl.h>
#include <linux/reboot.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "lab/guest/foreign_kexec.h"
#include "lab/guest/fragment.h"
#include "lab/guest/inject.h"
#include "lab/guest/measure.h"

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
    if (reinterpret_cast<intptr_t>(attached) == -1 || shmctl(id, IPC_STAT, &info) != 0) {
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

std::vector<char> RunningTree() {
  std::ifstream in("/sys/firmware/fdt", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int PrintReservations() {
  const std::vector<char> tree = RunningTree();
  if (tree.empty()) return Complain("/sys/firmware/fdt");
  uint64_t address = 0;
  uint64_t size = 0;
  for (int i = 0; i < fdt_num_mem_rsv(tree.data()); ++i) {
    fdt_get_mem_rsv(tree.data(), i, &address, &size);
    printf("0x%llx 0x%llx\n", static_cast<unsigned long long>(address),
           static_cast<unsigned long long>(size));
  }
  return 0;
}

// Writes the running kernel's device tree to `path`, after `edit` (0, or libfdt's error).
template <typename Edit>
int WriteTree(const char* path, Edit edit) {
  const std::vector<char> tree = RunningTree();
  std::vector<char> larger(tree.size() + 4096);
  if (tree.empty() ||
      fdt_open_into(tree.data(), larger.data(), static_cast<int>(larger.size())) != 0) {
    return Complain("/sys/firmware/fdt");
  }
  if (const int error = edit(larger.data()); error != 0) {
    fprintf(stderr, "khop-guest-tool: %s\n", fdt_strerror(error));
    return 1;
  }
  std::ofstream out(path, std::ios::binary);
  out.write(larger.data(), static_cast<std::streamsize>(larger.size()));
  out.close();
  return out.good() ? 0 : Complain(path);
}

// A /memreserve/ of a page in every 16 MiB of the first GiB of the memory of QEMU's virt board.
int ReserveHoles(void* tree) {
  constexpr uint64_t kMemory = 0x40000000;
  int error = 0;
  for (uint64_t offset = 0; offset < 1024 * kMib && error == 0; offset += 16 * kMib) {
    error = fdt_add_mem_rsv(tree, kMemory + offset, PageSize());
  }
  return error;
}

int Lock(const char* path) {
  const int fd = open(path, O_RDWR | O_CREAT, 0600);
  return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : Complain(path);
}

int SetAttribute(const char* file, const char* name, const char* value_file) {
  std::ifstream in(value_file, std::ios::binary);
  const std::string value{std::istreambuf_iterator<char>(in), {}};
  if (value.empty()) return Complain(value_file);
  return setxattr(file, name, value.data(), value.size(), 0) == 0 ? 0 : Complain(name);
}

int Trust(const char* file) {
  std::ifstream in(file, std::ios::binary);
  const std::string certificate{std::istreambuf_iterator<char>(in), {}};
  const auto ring = syscall(SYS_add_key, "keyring", "_ima", nullptr, 0, KEY_SPEC_USER_KEYRING);
  if (ring < 0) return Complain("_ima");
  const auto key = syscall(SYS_add_key, "asymmetric", "", certificate.data(), certificate.size(),
                           static_cast<int>(ring));
  return key < 0 ? Complain(file) : 0;
}

int RebootWithoutMemory() {
  std::ofstream("/proc/self/make-it-fail") << "1";
  syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, nullptr);
  return Complain("reboot");
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
  if (verb == "fragment" && argc == 3) {
    return InBackground([&] { return Fragment(strtoul(argv[2], nullptr, 0) * 1024); });
  }
  if (verb == "holes" && argc == 3) {
    return WriteTree(argv[2], ReserveHoles);
  }
  if (verb == "firsthand" && argc == 3) {
    return WriteTree(argv[2], [](void* tree) {
      while (fdt_num_mem_rsv(tree) > 0) {
        if (const int error = fdt_del_mem_rsv(tree, 0); error != 0) return error;
      }
      return fdt_delprop(tree, fdt_path_offset(tree, "/chosen"), "khop,from");
    });
  }
  if (verb == "kexec" && argc == 3) {
    return ForeignKexec(std::string_view(argv[2]) == "load");
  }
  if (verb == "crash" && argc == 3) {
    return ForeignCrash(std::string_view(argv[2]) == "load");
  }
  if (verb == "inject" && argc > 5) {
    return Inject(argv + 2);
  }
  if (verb == "reservations" && argc == 2) {
    return PrintReservations();
  }
  if (verb == "name" && argc == 4) {
    return WriteTree(argv[2], [&](void* tree) {
      return fdt_setprop(tree, 0, "model", argv[3], static_cast<int>(strlen(argv[3])) + 1);
    });
  }
  if (verb == "attribute" && argc == 5) {
    return SetAttribute(argv[2], argv[3], argv[4]);
  }
  if (verb == "trust" && argc == 3) {
    return Trust(argv[2]);
  }
  if (verb == "denied" && argc == 2) {
    return RebootWithoutMemory();
  }
  if (verb == "reboot" && argc == 2) {
    return khop::lab::RebootAtACount();
  }
  if (verb == "zero" && argc == 2) {
    return khop::lab::PrintZero();
  }
  if (verb == "count" && argc > 2) {
    return khop::lab::CountCommand(argv + 2);
  }
  if (verb == "peak" && argc > 2) {
    return khop::lab::WatchMemory(argv + 2);
  }
  if (verb == "split" && argc > 2) {
    return khop::lab::SplitCommand(argv + 2);
  }
  fprintf(stderr, "usage: see lab/guest/tool.cc\n");
  return 2;
}
