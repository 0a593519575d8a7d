// SPDX-License-Identifier: MIT
#include "tool/system/huge_pages.h"

#include <string>
#include <string_view>

namespace khop::system {
namespace {

constexpr std::string_view kDirectory = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

std::string Path(std::string_view file) { return std::string(kDirectory) + std::string(file); }

}  // namespace

Result<HugePool> ReadHugePool(System& system) {
  const auto total = ReadNumber(system, Path("nr_hugepages"));
  const auto surplus = total ? ReadNumber(system, Path("surplus_hugepages")) : total;
  const auto free = surplus ? ReadNumber(system, Path("free_hugepages")) : surplus;
  if (!free) {
    return FailErrno(ExitCode::kNoRoute, kDirectory, free.error().value,
                     "khop needs a kernel with 2 MiB hugetlb pages (CONFIG_HUGETLBFS)");
  }
  if (*surplus > *total) return Fail(ExitCode::kSystemCall, kDirectory, "more surplus than pages");
  return HugePool{*total, *surplus, *free};
}

Result<void> SetHugePool(System& system, uint64_t persistent) {
  const auto written = WriteFile(system, Path("nr_hugepages"), std::to_string(persistent) + "\n");
  if (!written) {
    return FailErrno(ExitCode::kNoMemory, Path("nr_hugepages"), written.error().value,
                     "the pool of huge pages cannot be changed");
  }
  return {};
}

}  // namespace khop::system
