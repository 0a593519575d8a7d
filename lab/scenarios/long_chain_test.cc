// SPDX-License-Identifier: MIT
// Many hops in a row, each by a route, to a kernel and through memory that chance decides on.
// KHOP_CHAIN_HOPS: how many; KHOP_CHAIN_SEED: repeats an earlier run's choices.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>

#include "lab/scenarios/chain_machine.h"
#include "lab/scenarios/footprint.h"

namespace khop::lab {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

class LongChain : public ChainMachine {
 protected:
  uint32_t Below(uint32_t limit) { return std::uniform_int_distribution(0U, limit - 1)(random_); }

  // Takes memory, and on some hops cuts the rest into pieces; what was taken comes free after the
  // load, so the payload lies wherever there was room meanwhile.
  void Hop(const std::string& kernel) {
    const bool fragmented = Below(4) == 0;
    const uint32_t occupied = Below(400);
    const bool gather = fragmented || Below(2) == 0;
    const std::string mmu = gather && Below(4) == 0 ? "off" : "auto";
    std::string before =
        "dd if=/dev/zero of=/tmp/occupied bs=1M count=" + std::to_string(occupied) + " 2>&1";
    if (fragmented) before += "; khop-guest-tool fragment 2048";
    MUST(guest().Must(before));
    const std::string from = running_;
    const auto start = std::chrono::steady_clock::now();
    ASSERT_NO_FATAL_FAILURE(HopTo(kernel, gather ? "gather" : "in-place",
                                  "--mmu " + mmu + (Below(2) == 0 ? " --verify crc32c" : ""),
                                  "rm /tmp/occupied"));
    for (const nlohmann::json& segment : proof_.status["segments"]) {
      if (segment.value("name", "") == "kernel") kernel_at_ = segment.value("start", uint64_t{0});
    }
    places_.insert(kernel_at_);
    const Result<Footprint> now = TakeFootprint(guest());
    MUST(now);
    printf("hop %d, %s to %s by %s, MMU %s, %u MiB occupied%s, to 0x%" PRIx64 ": %s; %.0f s\n",
           hops_, from.c_str(), kernel.c_str(), gather ? "gather" : "in-place", mmu.c_str(),
           occupied, fragmented ? ", the rest in pieces" : "", kernel_at_, ToString(*now).c_str(),
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    fflush(stdout);
    ExpectNoGrowth(first_.emplace(kernel, *now).first->second, *now, kSlack);
    EXPECT_EQ(now->tree_bytes, first_.begin()->second.tree_bytes);
    EXPECT_EQ(now->reservations, first_.begin()->second.reservations);
  }

  // A leak of half a LPI table at each hop would be over it in a chain of 50.
  static constexpr uint64_t kSlack = uint64_t{1} << 20;

  std::mt19937 random_;
  std::map<std::string, Footprint> first_;  // by kernel
  std::set<uint64_t> places_;
  uint64_t kernel_at_ = 0;
};

TEST_F(LongChain, RandomRoutesKernelsAndAddresses) {
  const uint64_t hops = FromEnvironment("KHOP_CHAIN_HOPS", 50);
  const auto seed =
      static_cast<uint32_t>(FromEnvironment("KHOP_CHAIN_SEED", std::random_device()()));
  printf("KHOP_CHAIN_SEED=%u KHOP_CHAIN_HOPS=%" PRIu64 "\n", seed, hops);
  random_.seed(seed);
  std::vector<std::string> kernels;
  for (const char* kernel : {"6.1", "6.12", "5.10", "6.12-16k", "7.2"}) {
    const auto found = FindKernel(kernel);
    if (found && !found->modules.empty()) {
      kernels.emplace_back(kernel);
    } else {
      printf("without %s: %s\n", kernel,
             found ? "the lab has no modules for a disk" : found.error().what.c_str());
    }
  }
  ASSERT_GE(kernels.size(), 2u);
  // A core with all page sizes.
  START_CHAIN_MACHINE({.kernels = kernels, .cpu = "neoverse-n1", .cpus = 2});
  for (uint64_t hop = 0; hop < hops; ++hop) {
    ASSERT_NO_FATAL_FAILURE(Hop(kernels[Below(static_cast<uint32_t>(kernels.size()))]));
    if (HasFailure()) break;
  }
  printf(
      "%d hops, to %zu addresses; compared with the first hop to the same kernel: MemTotal, bytes "
      "of \"reserved\" in /proc/iomem (either within %" PRIu64
      " KiB), size of the device tree "
      "and its /memreserve/ entries (exactly)\n",
      hops_, places_.size(), kSlack / 1024);
  EXPECT_GT(places_.size(), hops / 4);
}

}  // namespace
}  // namespace khop::lab
