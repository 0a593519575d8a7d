// SPDX-License-Identifier: MIT
#include "tool/load/elfcorehdr.h"

#include <elf.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "tool/load/kcore.h"

namespace khop::load {

using system::File;
using system::OpenMode;
using system::System;

namespace {

constexpr const char* kCpus = "/sys/devices/system/cpu";
constexpr const char* kVmcoreinfo = "/sys/kernel/vmcoreinfo";

// A number of a sysfs file: `text` from `at` on; hexadecimal ones may have 0x before them.
std::optional<uint64_t> NumberAt(std::string_view text, size_t at, int base) {
  if (base == 16 && text.substr(std::min(at, text.size())).starts_with("0x")) at += 2;
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data() + std::min(at, text.size()), end, value, base);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::unexpected<Failure> NoDumps(const std::string& path, std::string_view why) {
  return Fail(ExitCode::kUnsupportedMachine, path, why,
              "a dump needs a running kernel with CONFIG_CRASH_DUMP");
}

Result<std::vector<PhysRange>> ReadCpuNotes(System& system) {
  const auto names = system.ListDirectory(kCpus);
  if (!names) return FailErrno(ExitCode::kSystemCall, kCpus, names.error().value);
  std::vector<std::pair<uint64_t, PhysRange>> by_cpu;
  for (const std::string& name : *names) {
    static constexpr std::string_view kPrefix = "cpu";
    uint64_t number = 0;
    const char* const end = name.data() + name.size();
    if (!name.starts_with(kPrefix) ||
        std::from_chars(name.data() + kPrefix.size(), end, number).ptr != end) {
      continue;
    }
    const std::string path = std::string(kCpus) + "/" + name + "/crash_notes";
    const auto address = system::ReadFile(system, path, 64);
    // Of a CPU that is not present.
    if (!address && (address.error().value == ENOENT || address.error().value == ENODEV)) continue;
    if (!address) return FailErrno(ExitCode::kSystemCall, path, address.error().value);
    const auto size = system::ReadFile(system, path + "_size", 64);
    const auto start = NumberAt(*address, 0, 16);
    const auto bytes = size ? NumberAt(*size, 0, 10) : std::nullopt;
    if (!start || !bytes || *start == 0 || *bytes == 0) return NoDumps(path, "it tells no address");
    by_cpu.push_back({number, {{*start}, *bytes}});
  }
  if (by_cpu.empty()) return NoDumps(kCpus, "no CPU has crash_notes");
  std::ranges::sort(by_cpu, {}, &std::pair<uint64_t, PhysRange>::first);
  std::vector<PhysRange> notes;
  for (const auto& [cpu, range] : by_cpu) notes.push_back(range);
  return notes;
}

Result<PhysRange> ReadVmcoreinfo(System& system) {
  const auto text = system::ReadFile(system, kVmcoreinfo, 128);
  if (!text) return NoDumps(kVmcoreinfo, system::Describe(text.error()));
  const auto start = NumberAt(*text, 0, 16);
  const size_t space = text->find(' ');
  const auto size = space == std::string::npos ? std::nullopt : NumberAt(*text, space + 1, 16);
  if (!start || !size || *start == 0 || *size == 0) {
    return NoDumps(kVmcoreinfo, "it has no form known");
  }
  return PhysRange{{*start}, *size};
}

std::vector<DumpSource::Mapped> ReadKcore(System& system) {
  std::vector<DumpSource::Mapped> mapped;
  const auto file = File::Open(system, kKcore, OpenMode::kRead);
  if (!file) return mapped;
  for (const KcoreSegment& segment : ReadKcoreSegments(system, file->fd())) {
    mapped.push_back({segment.range, segment.virt});
  }
  return mapped;
}

Elf64_Phdr Segment(uint32_t type, PhysRange range, uint64_t virt) {
  Elf64_Phdr segment = {};
  segment.p_type = type;
  segment.p_flags = type == PT_LOAD ? PF_R | PF_W | PF_X : 0;
  // What /proc/vmcore reads by: the offset is the physical address.
  segment.p_offset = segment.p_paddr = range.start.value;
  segment.p_vaddr = virt;
  segment.p_filesz = segment.p_memsz = range.size;
  return segment;
}

}  // namespace

Result<DumpSource> ReadDumpSource(System& system, const system::MemoryMap& map) {
  DumpSource source;
  auto cpu_notes = ReadCpuNotes(system);
  if (!cpu_notes) return Forward(cpu_notes);
  source.cpu_notes = *std::move(cpu_notes);
  const auto vmcoreinfo = ReadVmcoreinfo(system);
  if (!vmcoreinfo) return Forward(vmcoreinfo);
  source.vmcoreinfo = *vmcoreinfo;
  const auto mapped = ReadKcore(system);
  // The linear map lies in the lower half of the kernel's addresses (since 5.4), its image above.
  const auto offset = [](const DumpSource::Mapped& m) { return m.virt - m.range.start.value; };
  for (const auto& entry : mapped) {
    if (offset(entry) != offset(mapped.front())) source.text = entry;
  }
  if (source.text.range.empty()) {
    source.notes.emplace_back(
        "/proc/kcore does not tell where the kernel's image is mapped: the "
        "dump's program headers have physical addresses only");
  }
  for (const PhysRange& range : system::Subtract(map.ram, map.crash)) {
    source.ram.push_back({range, mapped.empty() ? 0 : range.start.value + offset(mapped.front())});
  }
  return source;
}

std::vector<std::byte> BuildElfCoreHeader(const DumpSource& source) {
  std::vector<Elf64_Phdr> segments;
  for (const PhysRange& notes : source.cpu_notes) segments.push_back(Segment(PT_NOTE, notes, 0));
  segments.push_back(Segment(PT_NOTE, source.vmcoreinfo, 0));
  if (!source.text.range.empty()) {
    segments.push_back(Segment(PT_LOAD, source.text.range, source.text.virt));
  }
  for (const auto& ram : source.ram) segments.push_back(Segment(PT_LOAD, ram.range, ram.virt));
  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_AARCH64;
  header.e_version = EV_CURRENT;
  header.e_phoff = header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(segments.size());
  std::vector<std::byte> bytes(sizeof(header) + segments.size() * sizeof(Elf64_Phdr));
  memcpy(bytes.data(), &header, sizeof(header));
  memcpy(bytes.data() + sizeof(header), segments.data(), segments.size() * sizeof(Elf64_Phdr));
  return bytes;
}

}  // namespace khop::load
