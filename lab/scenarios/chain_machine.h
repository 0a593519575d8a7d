// SPDX-License-Identifier: MIT
// A machine that hops again and again: kernels, initrd and khop lie on a disk, and the same initrd
// serves every kernel, so each of them has what it takes to hop on.
//
//   class Mine : public ChainMachine {};
//   TEST_F(Mine, HopsOn) {
//     START_CHAIN_MACHINE({.kernels = {"6.1", "6.12"}});  // the first of them runs
//     ASSERT_NO_FATAL_FAILURE(HopTo("6.12", "--route gather"));
//   }
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lab/scenarios/must.h"
#include "lab/vm/guest.h"
#include "lab/vm/hop.h"
#include "lab/vm/lab_files.h"
#include "lab/vm/machine.h"

// Starts the machine; a missing kernel skips the test, anything else fails it.
#define START_CHAIN_MACHINE(...)            \
  do {                                      \
    StartChain(__VA_ARGS__);                \
    if (IsSkipped() || HasFatalFailure()) { \
      return;                               \
    }                                       \
  } while (false)

namespace khop::lab {

struct ChainConfig {
  std::vector<std::string> kernels;
  std::string cpu = "cortex-a57";
  std::string machine = "virt,gic-version=3";
  int cpus = 1;
  int memory_mib = 1024;
  // NOLINTBEGIN(readability-redundant-member-init): g++ wants them for designated initializers.
  std::string append = {};  // to the first kernel's command line
  // What else the initrd has.
  std::function<Result<void>(Initramfs&)> add = {};
  // NOLINTEND(readability-redundant-member-init)
};

class ChainMachine : public testing::Test {
 protected:
  void StartChain(const ChainConfig& config);
  void TearDown() override;

  // Loads `kernel` (one of the configured) with more arguments for khop load, runs `before_exec` in
  // the guest, hops by `route` and proves it.
  void HopTo(const std::string& kernel, const std::string& route, const std::string& arguments = "",
             const std::string& before_exec = "true");

  // Hops by a command of the guest's shell that loads and starts `kernel`; returns what came up.
  // Whether that is what was wanted is the caller's to judge, but that it came without a reset.
  Result<Facts> HopBy(const std::string& kernel, const std::string& command);
  const Initramfs::Written& initrd() const { return initrd_.written; }
  const LabKernel& kernel(const std::string& name) const { return kernels_.at(name); }

  Machine& machine() { return machine_; }
  Guest& guest() { return *guest_; }

  HopProof proof_;       // of the last hop
  std::string running_;  // the short name of the kernel that runs
  int hops_ = 0;

 private:
  void MountDisk();

  std::map<std::string, LabKernel> kernels_;
  GuestImage initrd_;
  std::filesystem::path directory_;
  Machine machine_;
  std::optional<Guest> guest_;
};

}  // namespace khop::lab
