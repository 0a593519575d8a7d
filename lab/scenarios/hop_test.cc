// SPDX-License-Identifier: MIT
// The main job: a running Debian 6.1 is replaced in place by Debian 6.12; and nothing else is ever
// started when what was loaded is no longer what is there.
#include <cinttypes>
#include <cmath>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class Hop : public FirstMachine {
 protected:
  // After Load(): changes one bit of the payload and reboots plainly; expects a reset with reason.
  void ExpectChangedBitResets(const std::string& segment, double where) {
    uint64_t size = 0;
    const uint64_t start = SegmentStart(segment, &size);
    ASSERT_NE(start, 0u);
    const auto offset = static_cast<uint64_t>(static_cast<double>(size) * where);
    char address[32];
    snprintf(address, sizeof address, "0x%" PRIx64, start + offset);
    MUST(guest().Must(std::string("khop-guest-tool flip ") + address + " 0x10"));
    // khop itself notices and refuses; the kernel does not know.
    const Result<CommandResult> refused = guest().Run("khop exec --now");
    MUST(refused);
    EXPECT_NE(refused->exit_code, 0) << refused->output;
    MUST(guest().Kexec());
    ExpectResetWithReason("digest does not match");
  }
};

TEST_F(Hop, InPlaceByExecNow) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
  EXPECT_EQ(proof->report.value("bytes_moved", uint64_t{1}), 0u);
  EXPECT_EQ(proof->report.value("digest", ""), "sha256");
  EXPECT_GT(proof->report.value("bytes_verified", uint64_t{0}), next_guest_.written.size);
  EXPECT_TRUE(proof->report.value("mmu", false));
  EXPECT_TRUE(proof->report.value("data_cache", false));
  EXPECT_EQ(proof->report.value("from", ""), kernel_.release);
  // The next kernel lives: it runs commands, met no fault, and powers off.
  const Result<std::string> log = guest().Must("dmesg");
  MUST(log);
  EXPECT_THAT(*log, testing::Not(testing::ContainsRegex("BUG:|Oops|Call trace|Bad page")));
  const Result<MachineEnd> end = guest().PowerOff();
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestPowerOff);
}

// khop has ended and plays no part in the jump: reboot(2) by another process suffices.
TEST_F(Hop, PlainRebootWithKhopGone) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) -> Result<void> {
        if (const auto gone = g.Must("rm /bin/khop && ! pidof khop"); !gone) {
          return std::unexpected(gone.error());
        }
        return g.Kexec();
      });
  MUST(proof);
  EXPECT_EQ(proof->report.value("bytes_moved", uint64_t{1}), 0u);
}

// A plan changes nothing; what it says is what a load does. The device tree is the user's.
TEST_F(Hop, AsPlannedWithAnotherTree) {
  START_FIRST_MACHINE({});
  // A tree that the next kernel can be asked about.
  MUST(guest().Must("khop-guest-tool name /tmp/named.dtb 'khop lab'"));
  const std::string arguments =
      "/next/Image --initrd /next/initrd --dtb /tmp/named.dtb --cmdline '" +
      std::string(kNextCommandLine) + "'";
  const std::string left =
      "khop-guest-tool lsshm; cat /sys/kernel/kexec_loaded "
      "/sys/kernel/mm/hugepages/*/nr_hugepages";
  const Result<std::string> before = guest().Must(left);
  MUST(before);
  const Result<nlohmann::json> plan = KhopJson(guest(), "plan " + arguments);
  MUST(plan);
  const Result<std::string> after = guest().Must(left);
  MUST(after);
  EXPECT_EQ(*after, *before);
  EXPECT_EQ(plan->value("route", ""), "in-place");
  MUST(guest().Must("khop load " + arguments));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
  const Result<std::string> model = guest().Must("cat /proc/device-tree/model | tr -d '\\0'");
  MUST(model);
  EXPECT_EQ(*model, "khop lab");
}

// The next kernel hops on: what the first hop left behind is no obstacle to another one.
TEST_F(Hop, Twice) {
  START_FIRST_MACHINE({.memory_mib = 1536, .next_carries_kernel = true});
  MUST(Load(""));
  const auto exec_now = [](Guest& g) { return g.Start("khop exec --now"); };
  const Result<HopProof> once = ProveHop(machine(), guest(), Expected(), exec_now);
  MUST(once);
  MUST(
      guest().Must("khop load /next/Image --initrd /sys/firmware/initrd --reuse-cmdline "
                   "--append khop_lab.hop=2"));
  HopExpectation expected = Expected();
  expected.command_line += " khop_lab.hop=2";
  const Result<HopProof> again = ProveHop(machine(), guest(), expected, exec_now);
  MUST(again);
  EXPECT_EQ(again->report.value("bytes_moved", uint64_t{1}), 0u);
}

// Not only kernels: anything with an Image header that needs no more than booting.rst promises.
TEST_F(Hop, ToTheBenchmark) {
  START_FIRST_MACHINE({.next_program = "bench_small.Image"});
  MUST(guest().Must("khop load /next/Image"));
  MUST(guest().Start("khop exec --now"));
  MUST(machine().WaitForText("bench: done", Seconds(120)));
  EXPECT_THAT(machine().console(), testing::HasSubstr("khop-on-vector"));
  EXPECT_THAT(machine().console(), testing::Not(testing::HasSubstr("FAIL")));
  const Result<MachineEnd> end = machine().WaitForEnd(Seconds(30));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestPowerOff);
}

// Verified by khop exec, and not again in the blackout.
TEST_F(Hop, VerifiedEarly) {
  START_FIRST_MACHINE({});
  MUST(Load("--verify early"));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
  EXPECT_EQ(proof->report.value("digest", ""), "early");
  EXPECT_EQ(proof->report.value("bytes_verified", uint64_t{1}), 0u);
}

// Without khop exec nobody has verified it: the relocator does, and finds the flipped bit.
TEST_F(Hop, EarlyWithoutExecIsVerifiedInTheBlackout) {
  START_FIRST_MACHINE({});
  MUST(Load("--verify early"));
  ExpectChangedBitResets("kernel", 0.4);
}

TEST_F(Hop, CrcDigest) {
  START_FIRST_MACHINE({});
  MUST(Load("--verify crc32c"));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
  EXPECT_EQ(proof->report.value("digest", ""), "crc32c");
}

TEST_F(Hop, RemovedArenaResets) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  const Result<std::string> removed = guest().Must("khop-guest-tool rmshm");
  MUST(removed);
  EXPECT_THAT(*removed, testing::HasSubstr("0x6b686f"));
  // The memory is given out again and written to, as it would be on a busy machine.
  MUST(guest().Must("dd if=/dev/zero of=/tmp/busy bs=1M count=400 2>&1"));
  const Result<CommandResult> refused = guest().Run("khop exec --now");
  MUST(refused);
  EXPECT_EQ(refused->exit_code, 5) << refused->output;
  MUST(guest().Kexec());
  ExpectResetWithReason("digest does not match");
}

TEST_F(Hop, ChangedKernelBitResets) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  ExpectChangedBitResets("kernel", 0.4);
}

TEST_F(Hop, ChangedInitrdBitResets) {
  START_FIRST_MACHINE({});
  MUST(Load("--verify crc32c"));
  ExpectChangedBitResets("initrd", 0.99);
}

TEST_F(Hop, ChangedDeviceTreeBitResets) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  ExpectChangedBitResets("dtb", 0.3);
}

// With an instruction count as the clock, copying a payload of 100 MiB cannot hide in the blackout.
class Blackout : public FirstMachine {
 protected:
  void Measure(uint64_t initrd_padding, double* nanoseconds) {
    START_FIRST_MACHINE(
        {.memory_mib = 2048, .instruction_count = true, .next_padding = initrd_padding});
    MUST(Load("--verify none"));
    const Result<HopProof> proof = ProveHop(
        machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); },
        Seconds(240));
    MUST(proof);
    EXPECT_EQ(proof->report.value("bytes_verified", uint64_t{1}), 0u);
    ASSERT_TRUE(proof->report.contains("blackout_ns")) << proof->report.dump();
    *nanoseconds = proof->report.value("blackout_ns", 0.0);
    ASSERT_GT(*nanoseconds, 0.0);
  }
};

TEST_F(Blackout, DoesNotGrowWithThePayload) {
  // The shortest of a few: a timer of the old kernel may fire in its last microseconds.
  double small = INFINITY;
  double large = INFINITY;
  for (int round = 0; round < 3 && !(std::abs(large / small - 1.0) <= 0.02); ++round) {
    for (const bool padded : {false, true}) {
      double nanoseconds = 0;
      Measure(uint64_t{padded ? 100U : 2U} << 20, &nanoseconds);
      if (IsSkipped() || HasFatalFailure()) {
        return;
      }
      TearDown();
      double& least = padded ? large : small;
      least = std::min(least, nanoseconds);
    }
  }
  printf("blackout: %.0f ns with 2 MiB, %.0f ns with 100 MiB\n", small, large);
  EXPECT_NEAR(large / small, 1.0, 0.02);
}

// What khop holds after a load is the payload and little else.
class Memory : public FirstMachine {};

TEST_F(Memory, HeldAfterLoadIsThePayload) {
  START_FIRST_MACHINE({.next_padding = uint64_t{64} << 20});
  const uint64_t before = AvailableKib();
  MUST(Load(""));
  const uint64_t after = AvailableKib();
  const Result<nlohmann::json> status = KhopJson(guest(), "status");
  MUST(status);
  uint64_t payload = 0;
  for (const nlohmann::json& segment : status->value("segments", nlohmann::json::array())) {
    if (segment.value("name", "") != "control") {
      payload += segment.value("size", uint64_t{0});
    }
  }
  ASSERT_GT(payload, next_guest_.written.size);
  ASSERT_GT(before, after);
  const double held = static_cast<double>(before - after) * 1024;
  const double limit = static_cast<double>(payload) * 1.02 + (8 << 20);
  printf("payload %.1f MiB, held %.1f MiB\n", static_cast<double>(payload) / (1 << 20),
         held / (1 << 20));
  EXPECT_LE(held, limit);

  // And all of it comes back.
  MUST(guest().Must("khop unload"));
  EXPECT_NEAR(static_cast<double>(AvailableKib()), static_cast<double>(before), 4096);
  const Result<std::string> left = guest().Must(
      "khop-guest-tool lsshm; cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages "
      "/sys/kernel/kexec_loaded");
  MUST(left);
  EXPECT_EQ(*left, "0\n0\n");
}

}  // namespace
}  // namespace khop::lab
