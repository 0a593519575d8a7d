// SPDX-License-Identifier: MIT
#include "tool/load/elfcorehdr.h"

#include <elf.h>
#include <gtest/gtest.h>

#include "tool/load/crash_machine.h"

namespace khop::load {
namespace {

TEST(ElfCoreHeader, NamesNotesImageAndMemory) {
  system::FakeSystem system;
  AddDumpFiles(system);
  system.Reserve(kReservation);
  system.Reserve({{0x50000000}, 16 * kMiB});
  const auto source = ReadDumpSource(system, *system::ReadMemoryMap(system));
  ASSERT_TRUE(source) << source.error().message;
  const auto segments = Segments(BuildElfCoreHeader(*source));
  const auto is = [&](size_t i, uint32_t type, uint64_t phys, uint64_t size, uint64_t virt) {
    SCOPED_TRACE(i);
    EXPECT_EQ(segments[i].p_type, type);
    EXPECT_EQ(segments[i].p_paddr, phys);
    EXPECT_EQ(segments[i].p_offset, phys);
    EXPECT_EQ(segments[i].p_filesz, size);
    EXPECT_EQ(segments[i].p_memsz, size);
    EXPECT_EQ(segments[i].p_vaddr, virt);
  };
  ASSERT_EQ(segments.size(), 7U);
  is(0, PT_NOTE, 0x7be00000, 424, 0);
  is(1, PT_NOTE, 0x7be01000, 424, 0);
  is(2, PT_NOTE, 0x42f80000, 0x1024, 0);
  is(3, PT_LOAD, 0x40210000, 0x2000000, 0xffff800008000000);
  // All RAM but the two reservations.
  is(4, PT_LOAD, 0x40000000, 0x10000000, 0xffff000000000000);
  is(5, PT_LOAD, 0x51000000, 0xf000000, 0xffff000011000000);
  is(6, PT_LOAD, 0x64000000, 0x1c000000, 0xffff000024000000);
}

TEST(ElfCoreHeader, RefusesAKernelThatWritesNoDump) {
  system::FakeSystem system;
  AddDumpFiles(system);
  system.Reserve(kReservation);
  const auto map = *system::ReadMemoryMap(system);
  system.Remove("/sys/kernel/vmcoreinfo");
  EXPECT_EQ(ReadDumpSource(system, map).error().code, ExitCode::kUnsupportedMachine);
  AddDumpFiles(system);
  system.Remove("/sys/devices/system/cpu/cpu0/crash_notes");
  system.Remove("/sys/devices/system/cpu/cpu1/crash_notes");
  EXPECT_EQ(ReadDumpSource(system, map).error().code, ExitCode::kUnsupportedMachine);
}

}  // namespace
}  // namespace khop::load
