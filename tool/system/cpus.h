// SPDX-License-Identifier: MIT
// The machine's CPUs, as sysfs has them.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string_view>
#include <vector>

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

// Numbers of the CPUs that are online; CPU 0 if that cannot be read.
std::set<uint32_t> OnlineCpus(System& system);

// CPUs taken offline, to be put back online unless the machine is left by reboot(2).
class ParkedCpus {
 public:
  // Takes all CPUs offline, one by one, but that which the kernel reboots on
  // (/sys/kernel/reboot/cpu, else the lowest). If one cannot be, those before it come back.
  // Errors: kSystemCall.
  static Result<ParkedCpus> Park(System& system,
                                 const std::function<void(std::string_view)>& progress);

  ParkedCpus(ParkedCpus&& other) noexcept
      : system_(other.system_), parked_(std::move(other.parked_)) {
    other.parked_.clear();
  }
  ParkedCpus& operator=(ParkedCpus&&) = delete;
  ~ParkedCpus();

  size_t count() const { return parked_.size(); }
  // They stay offline when this process has ended.
  void Leave() { parked_.clear(); }

 private:
  explicit ParkedCpus(System& system) : system_(&system) {}

  System* system_;
  std::vector<uint32_t> parked_;
};

}  // namespace khop::system
