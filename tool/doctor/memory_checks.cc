// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>
#include <charconv>

#include "tool/doctor/checks.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::doctor {

using report::Level;
using system::kHugePageSize;
using system::ReadFile;
using system::ReadNumber;

namespace {

// What a kernel and an initrd of Debian's take.
constexpr uint64_t kUsualPayload = uint64_t{96} << 20;

// Of "6.1.0-28-arm64" 601; 0 if it is no such name.
int VersionOf(const std::string& release) {
  int major = 0;
  int minor = 0;
  const char* const end = release.data() + release.size();
  const auto first = std::from_chars(release.data(), end, major);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return 0;
  if (std::from_chars(first.ptr + 1, end, minor).ec != std::errc()) return 0;
  return major > 1000 || minor > 99 ? 0 : major * 100 + minor;
}

}  // namespace

uint64_t LongestRun(const Machine& machine) {
  uint64_t longest = 0;
  PhysRange run;
  for (const system::PageRun& pages : machine.pages) {
    if (pages.use != system::PageUse::kFree) continue;
    run = run.end() == pages.range.start ? PhysRange{run.start, run.size + pages.range.size}
                                         : pages.range;
    const uint64_t start = AlignUp(run.start.value, kHugePageSize);
    const uint64_t end = AlignDown(run.end().value, kHugePageSize);
    if (end > start) longest = std::max(longest, end - start);
  }
  return longest;
}

CrashReservation ReadCrashReservation(system::System& system) {
  return {.size = ReadNumber(system, "/sys/kernel/kexec_crash_size").value_or(0),
          .loaded = ReadNumber(system, "/sys/kernel/kexec_crash_loaded").value_or(0) != 0};
}

void CheckContiguous(Machine& machine) {
  const auto sizes = system::HugePageSizes(machine.system);
  if (std::ranges::find(sizes, kHugePageSize) == sizes.end()) {
    machine.Add(Level::kWarning, "huge-pages", "the kernel has no huge pages of 2 MiB",
                "no route `in-place`", "boot a kernel with CONFIG_HUGETLBFS");
  } else {
    std::string text;
    for (const uint64_t size : sizes) text += (text.empty() ? "" : ", ") + HumanBytes(size);
    machine.Add(Level::kGood, "huge-pages", "huge pages of " + text,
                "memory that stays where it is until the hop");
  }
  const auto available = system::MemAvailable(machine.system);
  if (available && *available < kUsualPayload) {
    machine.Add(Level::kWarning, "memory", HumanBytes(*available) + " of memory are available",
                "a kernel and an initrd of the usual size do not fit", "free memory");
  }
  if (machine.pages.empty()) {
    machine.Add(Level::kUnknown, "contiguous", "which memory is free cannot be seen",
                "whether the payload can be loaded in place is not known",
                "run khop as root on a kernel with CONFIG_PROC_PAGE_MONITOR");
    return;
  }
  const uint64_t longest = LongestRun(machine);
  uint64_t free = 0;
  for (const system::PageRun& run : machine.pages) {
    if (run.use == system::PageUse::kFree) free += run.range.size;
  }
  const bool enough = longest >= kUsualPayload;
  machine.Add(enough ? Level::kGood : Level::kNote, "contiguous",
              HumanBytes(free) + " are free now, " + HumanBytes(longest) + " of it in one run",
              enough ? "a payload is loaded where it will run, and nothing is copied"
                     : "larger payloads need memory put together, or are moved in the blackout",
              enough ? "" : "load soon after boot, or: echo 3 > /proc/sys/vm/drop_caches");
}

void CheckPageFlags(Machine& machine) {
  const auto file = system::File::Open(machine.system, "/proc/kpageflags", system::OpenMode::kRead);
  if (file || file.error().value != ENOENT) return;
  machine.Add(Level::kWarning, "page-flags", "the kernel has no /proc/kpageflags",
              "no route `gather`: what is free cannot be told from what devices use",
              "boot a kernel with CONFIG_PROC_PAGE_MONITOR");
}

void CheckCrashReservation(Machine& machine) {
  const CrashReservation crash = ReadCrashReservation(machine.system);
  if (crash.size == 0) {
    machine.Add(Level::kNote, "crash-reservation", "no memory is reserved for a crash kernel",
                "no route `reserved`, no kdump", "boot with crashkernel=256M if you want either");
  } else {
    machine.Add(Level::kNote, "crash-reservation",
                HumanBytes(crash.size) + " are reserved for a crash kernel, which is " +
                    (crash.loaded ? "loaded" : "not loaded"),
                crash.loaded ? "the reservation is kdump's" : "a payload can be put there");
  }
}

void CheckSharedMemory(Machine& machine) {
  const auto shm = system::CheckSharedMemory(machine.system, kUsualPayload);
  const auto space = system::CheckIpcNamespace(machine.system);
  for (const Failure* failure : {shm ? nullptr : &shm.error(), space ? nullptr : &space.error()}) {
    if (failure == nullptr) continue;
    const size_t semicolon = failure->message.rfind("; ");
    machine.Add(Level::kBlocker, "shared-memory", failure->message.substr(0, semicolon),
                "a loaded kernel would not stay until the hop",
                semicolon == std::string::npos ? "" : failure->message.substr(semicolon + 2));
  }
  if (shm && space) {
    machine.Add(Level::kGood, "shared-memory", "kernel.shm_rmid_forced is 0, shmmax is enough",
                "a loaded kernel stays when khop has ended");
  }
}

// From 5.16 on a load copies the tables of the linear map, which has a page for each page of memory
// (rodata=full), 8 bytes each.
void CheckKernelTables(Machine& machine) {
  const int version = VersionOf(machine.system.KernelRelease());
  if (version == 0 || machine.ram == 0) return;
  if (version < 516) {
    machine.Add(Level::kNote, "kernel-tables",
                "this kernel (before 5.16) turns the caches off before it copies",
                "khop's control area takes a moment longer; no memory for page tables is needed");
    return;
  }
  const uint64_t cost = machine.ram / machine.system.PageSize() * 8;
  const auto available = system::MemAvailable(machine.system);
  const bool much = available && cost > *available / 4;
  machine.Add(much ? Level::kWarning : Level::kNote, "kernel-tables",
              "a load takes up to " + HumanBytes(cost) + " for the kernel's page tables",
              "its copy of the linear map of " + HumanBytes(machine.ram) + ", from load to hop",
              much ? "load late, and free memory first" : "");
}

}  // namespace khop::doctor
