// SPDX-License-Identifier: MIT
// The usual start of a scenario: a machine that runs Debian 6.1 with khop, the next kernel (6.12)
// at /next/Image and its initrd at /next/initrd.
//
//   class Mine : public FirstMachine {};
//   TEST_F(Mine, DoesSomething) {
//     START_FIRST_MACHINE({});
//     MUST(Load(""));
//     …
//   }
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lab/scenarios/must.h"
#include "lab/vm/guest.h"
#include "lab/vm/hop.h"
#include "lab/vm/lab_files.h"
#include "lab/vm/machine.h"

// Starts the machine; a missing kernel skips the test, anything else fails it.
#define START_FIRST_MACHINE(...)            \
  do {                                      \
    StartFirst(__VA_ARGS__);                \
    if (IsSkipped() || HasFatalFailure()) { \
      return;                               \
    }                                       \
  } while (false)

namespace khop::lab {

struct FirstMachineConfig {
  std::string kernel = "6.1";
  std::string next_kernel = "6.12";
  std::string next_file = "Image";  // of that kernel's directory; "Image.signed" of the lab's own
  // Of the arm64 build tree, in the place of the next kernel.
  std::string next_program = {};  // NOLINT(readability-redundant-member-init)
  // How /next/Image is wrapped (lab/images.sh); empty: not at all. A UKI or FIT has the initrd,
  // too.
  std::string wrap = {};  // NOLINT(readability-redundant-member-init)
  // UEFI firmware, and the kernel uses ACPI unless `machine` has it off; else QEMU's device tree.
  bool efi = false;
  std::string cpu = "cortex-a57";
  std::string machine = "virt,gic-version=3";
  int cpus = 1;
  int memory_mib = 1024;
  bool instruction_count = false;
  bool next_carries_kernel = false;  // the next guest has its own kernel at /next/Image
  bool next_with_makedumpfile = false;
  uint64_t next_padding = 0;  // bytes that do not compress, added to the next initrd
  bool allow_reboot = false;  // a reset starts the first kernel again
  bool on_disk = false;       // the next kernel and its initrd lie on a virtio disk
  // g++ wants the initializers for designated ones.
  // NOLINTBEGIN(readability-redundant-member-init)
  std::vector<std::string> extra_arguments = {};  // of QEMU
  std::string append = {};                        // to the first kernel's command line
  TreeEdit edit_tree = {};                        // of the machine's device tree
  std::vector<std::string> drivers = {};          // modules, in the guest /drivers/NAME.ko
  std::vector<GuestFile> files = {};              // more for the first guest
  // NOLINTEND(readability-redundant-member-init)
};

class FirstMachine : public testing::Test {
 protected:
  // The command line that Load() gives to the next kernel.
  static constexpr const char* kNextCommandLine = "console=ttyAMA0 retain_initrd khop_lab.hop=1";

  void StartFirst(const FirstMachineConfig& config);
  // Images go, the console's log stays.
  void TearDown() override;

  // khop load of the next kernel, its initrd and kNextCommandLine, with more arguments.
  Result<std::string> Load(const std::string& more);
  // A hop's expectations after Load().
  HopExpectation Expected() const;
  // Fails if the running kernel does not use the firmware that the configuration is about.
  Result<void> CheckFirmware();
  // Expects that the machine resets itself with a line of khop's, and that no kernel starts.
  void ExpectResetWithReason(const std::string& reason);
  // Address of a segment ("kernel", "initrd", "dtb") by khop status --json; 0 and a failure if
  // none.
  uint64_t SegmentStart(const std::string& name, uint64_t* size = nullptr);
  // Soft-offlines the page at `where` (0 to 1) of a segment: the kernel moves what is in it
  // elsewhere.
  void SoftOffline(const std::string& segment, double where);
  // Bytes that are free for use, after dropping what can be dropped.
  uint64_t AvailableKib();

  Machine& machine() { return machine_; }
  Guest& guest() { return *guest_; }

  std::filesystem::path directory_;
  FirstMachineConfig config_;
  LabKernel kernel_;
  LabKernel next_kernel_;
  GuestImage next_guest_;
  Facts facts_;

 private:
  Machine machine_;
  std::optional<Guest> guest_;
};

}  // namespace khop::lab
