// SPDX-License-Identifier: MIT
// How long it may take to stop the CPUs before a hop.
#pragma once

#include <cstdint>
#include <string>

namespace khop::system {

// The kernel takes all CPUs but one offline, one after the other. An estimate from what has been
// published of other machines (docs/guide.md), and not a measurement of this one.
struct OfflineTime {
  uint64_t least = 0;  // ns
  uint64_t most = 0;
  std::string text;  // "7 CPUs taken offline, estimated at 3 to 190 ms each"
};
OfflineTime EstimateOffline(uint64_t cpus);

}  // namespace khop::system
