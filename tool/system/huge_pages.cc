// SPDX-License-Identifier: MIT
#include "tool/system/huge_pages.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "core/base/addr.h"

namespace khop::system {
namespace {

constexpr const char* kDirectory = "/sys/kernel/mm/hugepages";
constexpr std::string_view kPrefix = "hugepages-";

std::string Path(uint64_t page_size, std::string_view file,
                 const std::string& directory = kDirectory) {
  return directory + "/" + std::string(kPrefix) + std::to_string(page_size / 1024) + "kB/" +
         std::string(file);
}

}  // namespace

std::vector<uint64_t> HugePageSizes(System& system) {
  std::vector<uint64_t> sizes;
  const auto names = system.ListDirectory(kDirectory);
  if (!names) return sizes;
  for (const std::string& name : *names) {
    uint64_t kib = 0;
    if (!name.starts_with(kPrefix)) continue;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, kib);
    if (parsed.ec == std::errc() && std::string_view(parsed.ptr, end) == "kB" &&
        IsPowerOfTwo(kib) && kib < UINT64_MAX / 1024) {
      sizes.push_back(kib * 1024);
    }
  }
  std::ranges::sort(sizes, std::greater());
  return sizes;
}

Result<HugePool> ReadHugePool(System& system, uint64_t page_size) {
  const auto total = ReadNumber(system, Path(page_size, "nr_hugepages"));
  const auto surplus = total ? ReadNumber(system, Path(page_size, "surplus_hugepages")) : total;
  const auto free = surplus ? ReadNumber(system, Path(page_size, "free_hugepages")) : surplus;
  if (!free) {
    return FailKernelFile(ExitCode::kNoRoute, Path(page_size, ""), free.error().value,
                          "the kernel has no hugetlb pages of this size (CONFIG_HUGETLBFS)");
  }
  if (*surplus > *total) {
    return Fail(ExitCode::kSystemCall, Path(page_size, ""), "more surplus than pages");
  }
  return HugePool{*total, *surplus, *free};
}

Result<void> GrowHugePoolOnNode(System& system, uint64_t page_size, int node, uint64_t pages) {
  const std::string path =
      Path(page_size, "nr_hugepages",
           "/sys/devices/system/node/node" + std::to_string(node) + "/hugepages");
  const auto total = ReadNumber(system, path);
  if (!total) return {};  // it has no memory
  // As for the whole pool: the node's surplus pages count first.
  const auto written = WriteFile(system, path, std::to_string(*total + pages) + "\n");
  if (!written) {
    return FailErrno(ExitCode::kNoMemory, path, written.error().value,
                     "the pool of huge pages cannot be changed");
  }
  return {};
}

Result<void> SetHugePool(System& system, uint64_t page_size, uint64_t persistent) {
  const std::string path = Path(page_size, "nr_hugepages");
  const auto written = WriteFile(system, path, std::to_string(persistent) + "\n");
  if (!written) {
    return FailErrno(ExitCode::kNoMemory, path, written.error().value,
                     "the pool of huge pages cannot be changed");
  }
  return {};
}

}  // namespace khop::system
