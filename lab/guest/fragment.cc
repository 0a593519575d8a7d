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

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr size_t kMib = size_t{1} << 20;
constexpr size_t kHuge = 2 * kMib;
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

int Failed(const char* what) {
  fprintf(stderr, "khop-guest-tool: %s: %s\n", what, strerror(errno));
  return 1;
}

// Whether the kernel has transparent huge pages, of 2 MiB. If so it is told to give them where they
// are asked for, and not to move pages to make more of them.
bool UseTransparentHugePages() {
  const std::string transparent = "/sys/kernel/mm/transparent_hugepage/";
  size_t size = 0;
  std::ifstream(transparent + "hpage_pmd_size") >> size;
  if (size != kHuge) return false;
  std::ofstream("/proc/sys/vm/compaction_proactiveness") << 0;
  std::ofstream(transparent + "enabled") << "madvise";
  std::ofstream(transparent + "defrag") << "never";
  return true;
}

// Bytes of free memory in aligned blocks of 2 MiB and more, from /proc/buddyinfo: of a line
// "Node 0, zone DMA 1 0 2 ...", the number of blocks of each order of pages.
size_t FreeHuge(size_t page) {
  std::ifstream file("/proc/buddyinfo");
  size_t bytes = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(line.find("zone")));
    std::string word;
    words >> word >> word;
    size_t size = page;
    for (size_t blocks = 0; words >> blocks; size *= 2) bytes += size < kHuge ? 0 : blocks * size;
  }
  return bytes;
}

unsigned char* Map(size_t size) {
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<unsigned char*>(memory);
}

// The entries of `pages` pages from `address` on; none on failure.
std::vector<uint64_t> PageMap(const void* address, size_t pages, size_t page) {
  std::vector<uint64_t> entries(pages);
  const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(address) / page * 8);
  if (pread(file, entries.data(), pages * 8, at) != static_cast<ssize_t>(pages * 8)) {
    entries.clear();
  }
  close(file);
  return entries;
}

// Memory that pages can be taken of: CMA memory is free for those only that can be moved.
size_t Free() { return MemInfo("MemFree") - MemInfo("CmaFree"); }

// The free memory that comes in pages of 2 MiB, but for some, mapped as such: one fault each and
// not 512.
std::span<unsigned char> MapHugePages(size_t page) {
  constexpr size_t kLeft = 96 * kMib;
  const size_t free = std::min(FreeHuge(page), Free());
  if (free <= kLeft) return {};
  const size_t size = (free - kLeft) / kHuge * kHuge;
  unsigned char* const memory = Map(size + kHuge);
  if (memory == nullptr) return {};
  madvise(memory, size + kHuge, MADV_HUGEPAGE);
  unsigned char* const start = memory + (kHuge - reinterpret_cast<uintptr_t>(memory) % kHuge);
  for (size_t at = 0; at < size; at += kHuge) start[at] = 1;
  return {start, size};
}

// Of every `block` of these one page is left, and `hold` called with it. The kernel splits a huge
// page of which something is unmapped when its caches are dropped.
template <typename Hold>
bool HoldInHugePages(std::span<unsigned char> memory, size_t block, size_t page, const Hold& hold) {
  for (size_t at = 0; at < memory.size(); at += block) {
    memory[at] = 1;  // a page of zeros would be given back
    madvise(&memory[at] + page, block - page, MADV_DONTNEED);
  }
  std::ofstream("/proc/sys/vm/drop_caches") << 2;
  for (size_t at = 0; at < memory.size(); at += block) {
    const std::vector<uint64_t> entry = PageMap(&memory[at], 1, page);
    if (entry.empty() || !hold(entry[0], &memory[at])) return false;
  }
  munmap(memory.data(), memory.size());
  return true;
}

// What is still whole in spite of all: 2 MiB pages, kept as long as this process lives. How many.
size_t TakeHugePages() {
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
  PageHolder holder(page);
  std::set<uint64_t> held;  // numbers of the blocks that have a page held
  const auto hold = [&](uint64_t entry, void* address) {
    const uint64_t frame = entry & ((uint64_t{1} << 55) - 1);  // proc_pid_pagemap(5)
    if (frame == 0 || !held.insert(frame * page / block).second) return true;
    return holder.Hold(address);
  };
  std::span<unsigned char> huge;
  if (block <= kHuge && UseTransparentHugePages()) huge = MapHugePages(page);
  // What is left, again and again, for each time a little stays for the rest of the system.
  for (int round = 0; round < 3; ++round) {
    const size_t free = Free();
    const size_t spare = (round == 0 ? 64 : 40) * kMib;
    if (free <= spare + 2 * kMib) continue;
    const size_t size = (free - spare) / page * page;
    unsigned char* const memory = Map(size);
    if (memory == nullptr) return Failed("mmap");
    madvise(memory, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += page) memory[at] = 1;
    const std::vector<uint64_t> entries = PageMap(memory, size / page, page);
    if (entries.empty()) return Failed("pagemap");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (!hold(entries[i], memory + i * page)) return Failed("vmsplice");
    }
    munmap(memory, size);
  }
  if (!huge.empty() && !HoldInHugePages(huge, block, page, hold)) {
    return Failed("vmsplice of huge pages");
  }
  const size_t whole = TakeHugePages();
  printf("%zu blocks of %zu KiB have a page that cannot move; took %zu that were whole\n",
         held.size(), block / 1024, whole);
  fflush(stdout);
  return 0;
}
