// SPDX-License-Identifier: MIT
// The machine that is measured: one CPU whose counter counts instructions, and a kernel that hops
// into itself.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "bench/blackout/runs.h"
#include "lab/vm/guest.h"
#include "lab/vm/lab_files.h"
#include "lab/vm/machine.h"

namespace khop::bench {

struct MachineOptions {
  std::vector<int> payloads;  // MiB; there is an initrd of each
  int memory_mib = 6144;      // a fifth of it is the crash reservation
};

class HopMachine {
 public:
  // Makes what the guest of this kernel needs.
  static lab::Result<HopMachine> Make(const std::string& kernel, const MachineOptions& options);

  // Starts the machine, hops once, and ends it: where a payload finds its place, and so what the
  // next kernel does, depends on all that the machine did before.
  lab::Result<Sample> Measure(const Case& what, int repetition);

  // What runs there, for Sample::setup.
  std::string SetupOf(const Way& way) const;

 private:
  struct Initrd {
    std::filesystem::path path;
    uint64_t size = 0;
    uint64_t padding = 0;  // bytes of the file /padding in it
  };

  lab::Result<lab::Machine> Start() const;
  lab::Result<void> Load(lab::Guest& guest, const Case& what, Sample& run) const;
  lab::Result<void> CheckNext(lab::Guest& guest, const Case& what) const;

  std::string kernel_name_;
  MachineOptions options_;
  lab::LabKernel kernel_;
  uint64_t image_size_ = 0;  // of the kernel with its BSS
  std::filesystem::path directory_;
  std::filesystem::path base_;  // what the machine starts with, and all initrds begin with
  std::map<int, Initrd> initrds_;
  std::string command_line_;
  std::string khop_;         // which khop: the beginning of its SHA-256
  std::string kexec_tools_;  // package and version
  std::string qemu_;         // version
};

}  // namespace khop::bench
