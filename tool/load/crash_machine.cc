// SPDX-License-Identifier: MIT
#include "tool/load/crash_machine.h"

#include <elf.h>

#include <array>
#include <cstring>

#include "core/handoff/check.h"
#include "core/relocator/blob.h"
#include "tool/load/replay_hop.h"

namespace khop::load {
namespace {

template <typename T>
void Put(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The program headers of a running kernel: linear map, image, and one without physical memory.
std::string TestKcore() {
  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;
  std::string text;
  Put(text, header);
  for (const auto& [virt, phys, size] :
       {std::array<uint64_t, 3>{0xffff800008000000, 0x40210000, 0x2000000},
        std::array<uint64_t, 3>{0xffff800000000000, UINT64_MAX, 0x8000000},
        std::array<uint64_t, 3>{0xffff000000000000, 0x40000000, 0x40000000}}) {
    Elf64_Phdr segment = {};
    segment.p_type = PT_LOAD;
    segment.p_vaddr = virt;
    segment.p_paddr = phys;
    segment.p_memsz = size;
    segment.p_offset = system::FakeSystem::kKcoreMemory + phys;
    Put(text, segment);
  }
  return text;
}

}  // namespace

void AddDumpFiles(system::FakeSystem& system) {
  const std::string cpus = "/sys/devices/system/cpu/cpu";
  for (const char* const cpu : {"0", "1"}) {
    system.SetFile(cpus + cpu + "/crash_notes", std::string("7be0") + cpu + "000\n");
    system.SetFile(cpus + cpu + "/crash_notes_size", "424\n");
  }
  system.SetFile("/sys/devices/system/cpu/cpufreq/boost", "1\n");
  system.SetFile("/sys/kernel/vmcoreinfo", "0x0000000042f80000 1024\n");
  system.SetFile("/proc/kcore", TestKcore());
}

std::vector<Elf64_Phdr> Segments(const std::vector<std::byte>& core) {
  Elf64_Ehdr header;
  memcpy(&header, core.data(), sizeof(header));
  EXPECT_EQ(header.e_type, ET_CORE);
  EXPECT_EQ(header.e_machine, EM_AARCH64);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  EXPECT_EQ(core.size(), header.e_phoff + segments.size() * sizeof(Elf64_Phdr));
  memcpy(segments.data(), core.data() + header.e_phoff, segments.size() * sizeof(Elf64_Phdr));
  return segments;
}

CrashTest::CrashTest() {
  AddDumpFiles(system_);
  system_.Reserve(kReservation);
}

Result<report::Plan> CrashTest::TryLoad(Route route, bool with_crash_kernel) {
  system_.NewProcess();
  LoadOptions options = machine_.Options();
  options.route = route;
  if (with_crash_kernel) {
    auto crash = machine_.Options();
    crash.command_line = "capture";
    options.crash_kernel = std::make_shared<const LoadOptions>(crash);
  }
  return Load(system_, options, NoProgress);
}

Result<report::Plan> CrashTest::TryLoadCrash() {
  system_.NewProcess();
  return LoadCrash(system_, machine_.Options(), NoProgress);
}

Result<void> CrashTest::TryExec() {
  system_.NewProcess();
  return Exec(system_, ExecMode::kNow, NoProgress);
}

report::Status CrashTest::Status() {
  system_.NewProcess();
  auto status = GetStatus(system_);
  EXPECT_TRUE(status) << status.error().message;
  return *status;
}

void CrashTest::LoadForeignCrash() {
  system_.crash = std::make_unique<system::FakeSystem::CrashImage>();
  system_.crash->entry = kReservation.start.value;
}

std::string CrashTest::Reserved(uint64_t address, uint64_t size) {
  std::string bytes;
  for (uint64_t at = AlignDown(address, 4096); at < address + size; at += 4096) {
    const auto page = system_.reserved_memory.find(at);
    if (page == system_.reserved_memory.end()) {
      bytes.append(4096, '?');
    } else {
      bytes.append(reinterpret_cast<const char*>(page->second.data()), 4096);
    }
  }
  return bytes.substr(address % 4096, size);
}

devicetree::Tree CrashTest::TreeAt(uint64_t address) {
  const std::string bytes = Reserved(address, 4096);
  auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(bytes)), "next");
  EXPECT_TRUE(tree) << tree.error().message;
  return *std::move(tree);
}

const report::Segment& CrashTest::Find(const std::vector<report::Segment>& segments,
                                       std::string_view name) {
  for (const auto& segment : segments) {
    if (segment.name == name) return segment;
  }
  ADD_FAILURE() << name;
  return segments.front();
}

void CrashTest::ExpectHopsOutOfTheReservation() {
  const int before = system_.reboots;
  const auto done = TryExec();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(system_.reboots, before + 1);
  const HopReplay hop(system_);
  EXPECT_TRUE(hop.Verified());
  EXPECT_EQ(hop.moves, 0U);
  EXPECT_TRUE(kReservation.Contains(PhysAddr{hop.entry}));
  EXPECT_EQ(hop.Bytes(hop.entry, 3'500'000), system_.Find("/boot/Image")->text);
}

void CrashTest::ExpectPanicStarts(const std::vector<report::Segment>& segments) {
  ASSERT_TRUE(system_.crash);
  const std::string head = Reserved(system_.crash->entry, sizeof(relocator::BlobHeader));
  relocator::BlobHeader blob;
  memcpy(&blob, head.data(), sizeof(blob));
  ASSERT_EQ(blob.magic, relocator::kBlobMagic);
  const uint64_t at = system_.crash->entry + blob.parameters.handoff_offset;
  std::string block = Reserved(at, 4096);
  handoff::Header header;
  memcpy(&header, block.data(), sizeof(header));
  block = Reserved(at, header.total_size);
  const handoff::View view(reinterpret_cast<const std::byte*>(block.data()));
  const auto scalar = digest::DigestFeatures::Scalar();
  const PhysAddr base{system_.crash->entry};
  EXPECT_TRUE(handoff::CheckHeader(
                  view, PhysAddr{at}, {base, blob.size},
                  {base + blob.parameters.stack_offset, blob.parameters.stack_size}, scalar)
                  .ok());
  EXPECT_TRUE(handoff::CheckBody(view, scalar).ok());
  EXPECT_EQ(header.entry, Find(segments, "kernel").start);
  EXPECT_EQ(header.dtb, Find(segments, "dtb").start);
  EXPECT_NE(header.translation.granule_shift, 0U);
  EXPECT_EQ(view.verify().size(), 4U);
  EXPECT_EQ(Reserved(header.entry, 3'500'000), system_.Find("/boot/Image")->text);
}

}  // namespace khop::load
