// SPDX-License-Identifier: MIT
// A fake machine with a crash reservation, and what has to be true of what is loaded into it.
#pragma once

#include <elf.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tool/devicetree/tree.h"
#include "tool/load/load.h"
#include "tool/load/test_machine.h"

namespace khop::load {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr PhysRange kReservation{{0x60000000}, 64 * kMiB};

// The files that a kernel with CONFIG_CRASH_DUMP has.
void AddDumpFiles(system::FakeSystem& system);

// The program headers of an elfcorehdr that is as makedumpfile wants it.
std::vector<Elf64_Phdr> Segments(const std::vector<std::byte>& core);

class CrashTest : public testing::Test {
 protected:
  CrashTest();
  Result<report::Plan> TryLoad(Route route = Route::kReserved, bool with_crash_kernel = false);
  Result<report::Plan> TryLoadCrash();
  Result<void> TryExec();
  report::Status Status();
  // As another tool's kexec_load.
  void LoadForeignCrash();
  // What lies in the reservation; '?' where nothing was written.
  std::string Reserved(uint64_t address, uint64_t size);
  devicetree::Tree TreeAt(uint64_t address);
  static const report::Segment& Find(const std::vector<report::Segment>& segments,
                                     std::string_view name);
  void ExpectHopsOutOfTheReservation();
  // What a panic would do: the hand-off at the crash image's entry, checked as the relocator would.
  void ExpectPanicStarts(const std::vector<report::Segment>& segments);

  TestMachine machine_;
  system::FakeSystem& system_ = machine_.system;
  const TestMachine::Footprint clean_ = machine_.Look();
};

}  // namespace khop::load
