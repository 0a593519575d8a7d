// SPDX-License-Identifier: MIT
// Every cache operation, barrier and register write of the hop is there for a reason: with any one
// of them left out, the model of the machine must object.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core/relocator/fake_hop.h"

namespace khop::relocator {
namespace {

using arm64::Regime;

// Whether the hop with operation `index` left out is found to be wrong. In a process of its own:
// without the right tables the relocator's next access is a real fault.
bool IsFound(const FakeHopOptions& options, size_t index) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    FakeHop hop(options);
    hop.machine().SuppressOperation(index);
    const bool right = hop.Run().ok() && hop.Problems().empty();
    _exit(right ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
}

class Mutation : public testing::TestWithParam<std::tuple<Regime, bool, bool>> {};

TEST_P(Mutation, NoOperationCanBeLeftOut) {
  FakeHopOptions options;
  bool sha2 = false;
  std::tie(options.machine.regime, options.mmu, sha2) = GetParam();
  options.machine.memory_size = 512 << 10;
  options.machine.line_size = 256;  // fewer operations of the same kinds
  options.machine.id_aa64mmfr3 = 1;
  options.machine.tcr2 = 2;
  if (sha2) options.machine.id_aa64isar0 = 0x11000;
  std::vector<arm64::fake::Operation> operations;
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
    EXPECT_TRUE(IsFound(options, index)) << "operation " << index << " of " << operations.size()
                                         << ", kind " << static_cast<int>(operations[index]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Mutation,
                         testing::Combine(testing::Values(Regime::kEl1, Regime::kEl2,
                                                          Regime::kEl2Host),
                                          testing::Bool(), testing::Bool()));

}  // namespace
}  // namespace khop::relocator
