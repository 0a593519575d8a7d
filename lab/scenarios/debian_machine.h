// SPDX-License-Identifier: MIT
// A machine with a real Debian root on its disk, run by its own systemd; the lab's init is one of
// its services.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/debian/root.h"
#include "lab/scenarios/must.h"
#include "lab/vm/guest.h"
#include "lab/vm/hop.h"
#include "lab/vm/machine.h"

namespace khop::lab {

// NOLINTBEGIN(readability-redundant-member-init): g++ wants them for designated initializers.
struct DebianConfig {
  std::string name = {};                       // tells machines of one test apart
  std::string suite;                           // "bookworm"
  std::string kernel;                          // of the first boot
  std::vector<std::string> more_kernels = {};  // in /boot with their initrds, as the first one
  int memory_mib = 1536;
  int cpus = 1;
  bool allow_reboot = false;
  std::string append = {};
  std::vector<RootFile> files = {};  // more for the root
  std::vector<std::string> extra_arguments = {};
};
// NOLINTEND(readability-redundant-member-init)

class DebianBox {
 public:
  static constexpr const char* kCommandLine =
      "console=ttyAMA0 retain_initrd khop_lab.nodigest systemd.show_status=no";

  // Returns when systemd has started everything. The packages of khop lie in /root/debs.
  void StartDebian(const DebianConfig& config);
  // Shows the console's end if the test has failed.
  void Stop();

  // Where the kernel and its initrd are in the guest.
  static std::string Image(const LabKernel& kernel) { return "/boot/vmlinuz-" + kernel.release; }
  static std::string Initrd(const LabKernel& kernel) {
    return "/boot/initrd.img-" + kernel.release;
  }
  static LabKernel Kernel(const std::string& name) { return *FindKernel(name); }

  // Waits until the guest can be talked to and systemd has started everything.
  void ExpectUp(const LabKernel& kernel, Seconds deadline = Seconds(300));
  // Waits for the next kernel after a command that shuts the machine down, and checks that it is
  // this one, that no reset came between, and what systemd says of itself there.
  void ExpectHopTo(const LabKernel& kernel, const std::string& command,
                   const std::string& command_line = kCommandLine);
  // Every file of the root, but for logs, caches and dpkg's own books.
  std::string AllFiles();

  Machine& machine() { return machine_; }
  Guest& guest() { return *guest_; }

 private:
  std::filesystem::path directory_;
  Machine machine_;
  std::optional<Guest> guest_;
};

class DebianMachine : public testing::Test, protected DebianBox {
 protected:
  void TearDown() override { Stop(); }
};

#define START_DEBIAN(...)   \
  StartDebian(__VA_ARGS__); \
  if (testing::Test::IsSkipped() || testing::Test::HasFailure()) return

}  // namespace khop::lab
