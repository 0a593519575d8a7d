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

// The last page of the first System RAM: any will do.
uint64_t SomePage() {
  std::ifstream iomem("/proc/iomem");
  std::string line;
  while (std::getline(iomem, line)) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (line.ends_with(" : System RAM") &&
        sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &start, &end) == 2) {
      return (end + 1 - 65536) & ~uint64_t{65535};
    }
  }
  return 0;
}

}  // namespace

int ForeignKexec(bool load) {
  const uint32_t loop = 0x14000000;  // b .
  const uint64_t page = SomePage();
  const kexec_segment segment = {.buf = &loop,
                                 .bufsz = sizeof(loop),
                                 // NOLINTNEXTLINE(performance-no-int-to-ptr)
                                 .mem = reinterpret_cast<const void*>(page),
                                 .memsz = 65536};
  if (syscall(SYS_kexec_load, page, load ? 1 : 0, &segment, KEXEC_ARCH_DEFAULT) == 0) return 0;
  fprintf(stderr, "kexec_load: %s\n", strerror(errno));
  return 1;
}
