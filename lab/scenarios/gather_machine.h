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

}  // namespace khop::lab
