// SPDX-License-Identifier: MIT
#include "tool/system/offline_time.h"

namespace khop::system {
namespace {

// 8 CPUs in 0.02 s at the one end, 80 in 15 s at the other.
constexpr uint64_t kLeastPerCpu = 3'000'000;
constexpr uint64_t kMostPerCpu = 190'000'000;

}  // namespace

OfflineTime EstimateOffline(uint64_t cpus) {
  if (cpus <= 1) return {0, 0, "one CPU, so none to take offline"};
  const uint64_t others = cpus - 1;
  return {others * kLeastPerCpu, others * kMostPerCpu,
          std::to_string(others) + (others == 1 ? " CPU" : " CPUs") +
              " taken offline, estimated at 3 to 190 ms each"};
}

}  // namespace khop::system
