// SPDX-License-Identifier: MIT
#include "lab/guest/foreign_kexec.h"

#include <linux/kexec.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

namespace {

// The last 64 KiB of the first range of this name: any will do.
uint64_t SomePage(const std::string& name) {
  std::ifstream iomem("/proc/iomem");
  std::string line;
  while (std::getline(iomem, line)) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (line.ends_with(" : " + name) &&
        sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &start, &end) == 2) {
      return (end + 1 - 65536) & ~uint64_t{65535};
    }
  }
  return 0;
}

int Load(bool load, const char* where, unsigned long flags) {
  const uint32_t loop = 0x14000000;  // b .
  const uint64_t page = SomePage(where);
  const kexec_segment segment = {.buf = &loop,
                                 .bufsz = sizeof(loop),
                                 // NOLINTNEXTLINE(performance-no-int-to-ptr)
                                 .mem = reinterpret_cast<const void*>(page),
                                 .memsz = 65536};
  if (syscall(SYS_kexec_load, page, load ? 1 : 0, &segment, KEXEC_ARCH_DEFAULT | flags) == 0) {
    return 0;
  }
  fprintf(stderr, "kexec_load: %s\n", strerror(errno));
  return 1;
}

}  // namespace

int ForeignKexec(bool load) { return Load(load, "System RAM", 0); }

int ForeignCrash(bool load) { return Load(load, "Crash kernel", KEXEC_ON_CRASH); }
