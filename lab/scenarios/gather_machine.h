// SPDX-License-Identifier: MIT
// A machine whose memory is in pieces, and a hop out of it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {

class GatherMachine : public FirstMachine {
 protected:
  // Leaves no aligned block of `kib` KiB of free memory whole, and proves it for 2 MiB.
  void FragmentMemory(int kib) {
    MUST(guest().Must("khop-guest-tool fragment " + std::to_string(kib)));
    const std::string pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
    const Result<std::string> got =
        guest().Must("echo 16 > " + pool + "nr_hugepages; cat " + pool +
                     "free_hugepages; echo 0 > " + pool + "nr_hugepages");
    MUST(got);
    EXPECT_EQ(*got, "0\n") << "memory is not fragmented";
  }

  void HopByGather(HopProof* proof, Seconds deadline = Seconds(120),
                   const std::string& command = "khop exec -v --now") {
    HopExpectation expected = Expected();
    expected.route = "gather";
    Result<HopProof> hop = ProveHop(
        machine(), guest(), expected, [&](Guest& g) { return g.Start(command); }, deadline);
    MUST(hop);
    *proof = *std::move(hop);
    printf("moved %llu bytes, verified %llu, tables %llu bytes\n",
           static_cast<unsigned long long>(proof->report.value("bytes_moved", uint64_t{0})),
           static_cast<unsigned long long>(proof->report.value("bytes_verified", uint64_t{0})),
           static_cast<unsigned long long>(
               proof->status["control"].value("table_bytes", uint64_t{0})));
    EXPECT_GT(proof->report.value("bytes_verified", uint64_t{0}), next_guest_.written.size);
  }

  // Tables cost at most 1/512 of the payload, and the few pages of each mapped range.
  void ExpectFewTables(const HopProof& proof) {
    const uint64_t tables = proof.status["control"].value("table_bytes", uint64_t{0});
    const uint64_t moved = proof.report.value("bytes_moved", uint64_t{0});
    EXPECT_GT(tables, 0u);
    EXPECT_LE(tables, moved / 512 + (uint64_t{40} << 12)) << proof.status.dump();
  }
};

// Payload, khop's own memory and what it takes for a moment, as the kernel counts them for a
// cgroup.
class GatherPeakMachine : public GatherMachine {
 protected:
  // `limits`: shell commands, in the cgroup's directory, before the load from `directory`.
  void ExpectThePayload(const std::string& limits, const std::string& directory = "/next") {
    FragmentMemory(64);
    MUST(
        guest().Must("mkdir /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup && "
                     "echo '+memory +hugetlb' > /tmp/cgroup/cgroup.subtree_control && "
                     "mkdir /tmp/cgroup/load && cd /tmp/cgroup/load && " +
                     limits));
    MUST(
        guest().Must("echo $$ > /tmp/cgroup/load/cgroup.procs; "
                     "khop load " +
                     directory + "/Image --initrd " + directory +
                     "/initrd --route gather; code=$?; "
                     "echo $$ > /tmp/cgroup/cgroup.procs; exit $code"));
    const Result<std::string> peak = guest().Must("cat /tmp/cgroup/load/memory.peak");
    MUST(peak);
    const Result<nlohmann::json> status = KhopJson(guest(), "status");
    MUST(status);
    for (const nlohmann::json& segment : (*status)["segments"]) {
      payload_ += segment.value("size", uint64_t{0});
    }
    ASSERT_GT(payload_, uint64_t{130} << 20);
    // Not counted there: hugetlb pages.
    for (const nlohmann::json& pages : (*status)["arena"]) {
      const auto size = pages.value("page_size", uint64_t{0});
      if (size > 4096) huge_ += size * pages.value("count", uint64_t{0});
    }
    const uint64_t bytes = std::stoull(*peak) + huge_;
    printf("payload %.1f MiB, peak %.1f MiB, of it %.1f in huge pages\n", Mib(payload_), Mib(bytes),
           Mib(huge_));
    EXPECT_GT(bytes, payload_);
    EXPECT_LE(Mib(bytes), Mib(payload_) * 1.02 + 8);
  }

  static double Mib(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

  uint64_t payload_ = 0;
  uint64_t huge_ = 0;
};

}  // namespace khop::lab
