// SPDX-License-Identifier: MIT
// Pages that a pipe holds a reference to (vmsplice(2)) cannot be migrated, unlike locked ones,
// which compaction moves.
#include "lab/guest/fragment.h"

#include <fcntl.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr size_t kMib = size_t{1} << 20;
constexpr int kPipeBytes = 1 << 20;

// Bytes, from /proc/meminfo.
size_t MemInfo(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) {
      return std::stoul(line.substr(name.size() + 1)) * 1024;
    }
  }
  return 0;
}

// Holds single pages for as long as this process lives.
class PageHolder {
 public:
  explicit PageHolder(size_t page) : page_(page) {}
  bool Hold(void* address) {
    if (left_ == 0) {
      int ends[2];
      if (pipe(ends) != 0) return false;
      const int bytes = fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
      if (bytes < 0) return false;
      pipe_ = ends[1];
      left_ = static_cast<size_t>(bytes) / page_;
    }
    const iovec part = {address, page_};
    if (vmsplice(pipe_, &part, 1, SPLICE_F_NONBLOCK) != static_cast<ssize_t>(page_)) return false;
    --left_;
    return true;
  }

 private:
  size_t page_;
  int pipe_ = -1;
  size_t left_ = 0;
};

// What is still whole in spite of all: 2 MiB pages, kept as long as this process lives. How many.
size_t TakeHugePages() {
  constexpr size_t kHuge = 2 * kMib;
  const std::string pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
  std::ofstream(pool) << 64;
  size_t pages = 0;
  std::ifstream(pool) >> pages;
  if (pages != 0) {
    void* const memory =
        mmap(nullptr, pages * kHuge, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
    if (memory == MAP_FAILED) pages = 0;
    for (size_t i = 0; i < pages; ++i) static_cast<volatile char*>(memory)[i * kHuge] = 1;
  }
  std::ofstream(pool) << 0;
  return pages;
}

}  // namespace

int Fragment(size_t block) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const rlimit files = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &files);
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  PageHolder holder(page);
  std::set<uint64_t> held;  // numbers of the blocks that have a page held
  // Again and again, for each time a little is left for the rest of the system.
  for (int round = 0; round < 3; ++round) {
    // CMA memory is free for pages that can be moved only.
    const size_t free = MemInfo("MemFree") - MemInfo("CmaFree");
    const size_t spare = (round == 0 ? 64 : 40) * kMib;
    if (free <= spare + 2 * kMib) break;
    const size_t size = (free - spare) / page * page;
    void* const memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      perror("khop-guest-tool: mmap");
      return 1;
    }
    madvise(memory, size, MADV_NOHUGEPAGE);
    auto* const bytes = static_cast<volatile unsigned char*>(memory);
    std::vector<uint64_t> entries(size / page);
    for (size_t i = 0; i < entries.size(); ++i) bytes[i * page] = 1;
    const auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(memory) / page * 8);
    if (pread(pagemap, entries.data(), entries.size() * 8, at) !=
        static_cast<ssize_t>(entries.size() * 8)) {
      perror("khop-guest-tool: pagemap");
      return 1;
    }
    for (size_t i = 0; i < entries.size(); ++i) {
      const uint64_t frame = entries[i] & ((uint64_t{1} << 55) - 1);
      if (frame == 0 || !held.insert(frame * page / block).second) continue;
      if (!holder.Hold(static_cast<unsigned char*>(memory) + i * page)) {
        perror("khop-guest-tool: vmsplice");
        return 1;
      }
    }
    munmap(memory, size);
  }
  const size_t whole = TakeHugePages();
  printf("%zu blocks of %zu KiB have a page that cannot move; took %zu that were whole\n",
         held.size(), block / 1024, whole);
  fflush(stdout);
  return 0;
}
