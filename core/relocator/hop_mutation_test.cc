// SPDX-License-Identifier: MIT
// Every cache operation, barrier and register write of the hop is there for a reason: with any one
// of them left out, the model of the machine must object. All but DC ZVA, which only saves time: it
// may be missing anywhere, but not come late.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core/relocator/fake_hop.h"

namespace khop::relocator {
namespace {

using arm64::Regime;
using arm64::fake::Operation;

// Whether the hop on a machine changed by `spoil` is found to be wrong. In a process of its own:
// without the right tables the relocator's next access is a real fault.
template <typename Spoil>
bool IsFound(const FakeHopOptions& options, Spoil spoil) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    FakeHop hop(options);
    spoil(hop.machine());
    const bool right = hop.Run().ok() && hop.Problems().empty();
    _exit(right ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
}

void LeaveOutEach(const FakeHopOptions& options) {
  std::vector<Operation> operations;
  {
    FakeHop hop(options);
    ASSERT_TRUE(hop.Run().ok());
    ASSERT_TRUE(hop.Problems().empty()) << hop.Problems().front();
    for (size_t i = 0; i < hop.machine().operation_count(); ++i) {
      operations.push_back(hop.machine().operation(i));
    }
  }
  ASSERT_GT(operations.size(), 2 * FakeHop::kPage / options.machine.line_size);
  for (size_t index = 0; index < operations.size(); ++index) {
    const bool found =
        IsFound(options, [&](arm64::fake::Machine& machine) { machine.SuppressOperation(index); });
    EXPECT_EQ(found, operations[index] != Operation::kDcZva)
        << "operation " << index << " of " << operations.size() << ", kind "
        << static_cast<int>(operations[index]);
  }
}

// What the FP registers are for, if anything: their trap must then be lifted.
enum class FpUse : uint8_t { kNone, kDigest, kMoves };

class Mutation : public testing::TestWithParam<std::tuple<Regime, bool, FpUse>> {};

TEST_P(Mutation, NoOperationCanBeLeftOut) {
  FakeHopOptions options;
  FpUse use = FpUse::kNone;
  std::tie(options.machine.regime, options.mmu, use) = GetParam();
  options.machine.memory_size = 512 << 10;
  options.machine.line_size = 256;  // fewer operations of the same kinds
  options.machine.dczid = 5;
  options.machine.id_aa64mmfr3 = 1;
  options.machine.tcr2 = 2;
  if (use == FpUse::kDigest) options.machine.id_aa64isar0 = 0x11000;
  if (use != FpUse::kMoves) options.machine.id_aa64pfr0 = 0xff'0000;
  LeaveOutEach(options);
}

INSTANTIATE_TEST_SUITE_P(
    All, Mutation,
    testing::Combine(testing::Values(Regime::kEl1, Regime::kEl2, Regime::kEl2Host), testing::Bool(),
                     testing::Values(FpUse::kNone, FpUse::kDigest, FpUse::kMoves)));

// The sizes that nearly every core has, for which the loop is compiled apart.
TEST(Mutation64, NoOperationCanBeLeftOut) {
  FakeHopOptions options;
  options.machine.memory_size = 512 << 10;
  options.moved_pages = {1};
  LeaveOutEach(options);
}

TEST(Mutation64, ZeroingAfterTheStoreIsFound) {
  for (const uint64_t dczid : {2U, 4U, 5U, 16U}) {
    FakeHopOptions options;
    options.machine.dczid = dczid;
    EXPECT_EQ(IsFound(options, [](arm64::fake::Machine& machine) { machine.DelayZeroing(); }),
              dczid != 16);
  }
}

TEST(Mutation64, ZeroingWhereItFaultsIsFound) {
  arm64::fake::Machine machine({.dczid = 4});
  machine.DcZva(machine.base());
  EXPECT_EQ(machine.violations().size(), 1U);  // the MMU is off
}

}  // namespace
}  // namespace khop::relocator
