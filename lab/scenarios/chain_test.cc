// SPDX-License-Identifier: MIT
// Three hops in a row. What a hop leaves behind must be no more than what the one before did.
#include <cstdio>

#include "lab/scenarios/chain_machine.h"
#include "lab/scenarios/footprint.h"

namespace khop::lab {
namespace {

class Chain : public ChainMachine {};

TEST_F(Chain, ThreeHopsThroughTwoKernels) {
  START_CHAIN_MACHINE({.kernels = {"6.1", "6.12"}});
  std::map<std::string, Footprint> first;  // by kernel
  for (const char* kernel : {"6.12", "6.1", "6.12"}) {
    const std::string from = running_;
    ASSERT_NO_FATAL_FAILURE(HopTo(kernel, hops_ == 1 ? "gather" : "in-place"));
    const Result<Footprint> now = TakeFootprint(guest());
    MUST(now);
    printf("hop %d, %s to %s: %s\n", hops_, from.c_str(), kernel, ToString(*now).c_str());
    ExpectNoGrowth(first.emplace(kernel, *now).first->second, *now, uint64_t{1} << 20);
    EXPECT_EQ(now->tree_bytes, first.begin()->second.tree_bytes);
    EXPECT_EQ(now->reservations, first.begin()->second.reservations);
  }
}

}  // namespace
}  // namespace khop::lab
