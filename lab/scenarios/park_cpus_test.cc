// SPDX-License-Identifier: MIT
// khop exec --park-cpus on a machine of 16 CPUs: how the work of taking them offline is split
// between before and after reboot(2). All CPUs of the machine share one clock, so it is counted,
// not timed.
#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

constexpr int kCpus = 16;

class ParkCpus : public FirstMachine {
 protected:
  struct Split {
    int before = 0;
    int after = 0;
  };

  // Hops, and counts the kernel's lines for CPUs that went before its last one as the old kernel
  // and behind it.
  void Count(const std::string& exec, Split* split) {
    START_FIRST_MACHINE({.cpus = kCpus, .memory_mib = 2048, .append = "loglevel=8"});
    MUST(Load("--verify early"));
    const size_t start = machine().console().size();
    const Result<HopProof> proof =
        ProveHop(machine(), guest(), Expected(), [&](Guest& g) { return g.Start(exec); });
    MUST(proof);
    EXPECT_EQ(proof->report.value("digest", ""), "early");
    const std::string console = machine().console().substr(start);
    const size_t reboot = console.find("Starting new kernel");
    ASSERT_NE(reboot, std::string::npos);
    for (size_t at = 0; (at = console.find(" killed (polled", at)) != std::string::npos; ++at) {
      ++(at < reboot ? split->before : split->after);
    }
    const Result<std::string> online = guest().Must("cat /sys/devices/system/cpu/online");
    MUST(online);
    EXPECT_EQ(*online, "0-15\n");  // of the next kernel
  }
};

TEST_F(ParkCpus, MovesTheTearDownBeforeReboot) {
  Split split;
  Count("khop exec --now --park-cpus", &split);
  EXPECT_EQ(split.before, kCpus - 1);
  EXPECT_EQ(split.after, 0);
}

TEST_F(ParkCpus, WithoutItAllOfItComesAfterReboot) {
  Split split;
  Count("khop exec --now", &split);
  EXPECT_EQ(split.before, 0);
  EXPECT_EQ(split.after, kCpus - 1);
}

}  // namespace
}  // namespace khop::lab
