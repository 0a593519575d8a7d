// SPDX-License-Identifier: MIT
#include "tool/system/memory_map.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string>

namespace khop::system {
namespace {

struct Line {
  size_t depth;
  PhysRange range;
  std::string_view name;
};

std::optional<Line> ParseLine(std::string_view line) {
  const size_t indent = line.find_first_not_of(' ');
  if (indent == std::string_view::npos || indent % 2 != 0) return std::nullopt;
  const char* const end = line.data() + line.size();
  uint64_t first = 0;
  uint64_t last = 0;
  const auto [dash, first_error] = std::from_chars(line.data() + indent, end, first, 16);
  if (first_error != std::errc() || dash == end || *dash != '-') return std::nullopt;
  const auto [rest, last_error] = std::from_chars(dash + 1, end, last, 16);
  const std::string_view name(rest, static_cast<size_t>(end - rest));
  if (last_error != std::errc() || last < first || !name.starts_with(" : ")) return std::nullopt;
  return Line{indent / 2, {PhysAddr{first}, last - first + 1}, name.substr(3)};
}

}  // namespace

bool MemoryMap::IsPlain(PhysRange range) const {
  return std::ranges::any_of(plain, [&](PhysRange r) { return r.Contains(range); });
}

uint64_t MemoryMap::RamEnd() const { return ram.empty() ? 0 : ram.back().end().value; }

std::vector<PhysRange> Subtract(const std::vector<PhysRange>& ranges,
                                std::vector<PhysRange> holes) {
  std::ranges::sort(holes, {}, &PhysRange::start);
  std::vector<PhysRange> out;
  for (PhysRange range : ranges) {
    for (const PhysRange& hole : holes) {
      if (!range.Overlaps(hole)) continue;
      if (hole.start > range.start) out.push_back({range.start, hole.start - range.start});
      const PhysAddr end = range.end();
      range = hole.end() < end ? PhysRange{hole.end(), end - hole.end()} : PhysRange{};
      if (range.empty()) break;
    }
    if (!range.empty()) out.push_back(range);
  }
  return out;
}

std::vector<PhysRange> Intersect(const std::vector<PhysRange>& ranges,
                                 std::vector<PhysRange> others) {
  return Subtract(ranges, Subtract(ranges, std::move(others)));
}

std::vector<PhysRange> FirstOf(std::vector<PhysRange> ranges, uint64_t bytes) {
  for (PhysRange& range : ranges) {
    range.size = std::min(range.size, bytes);
    bytes -= range.size;
  }
  std::erase_if(ranges, [](const PhysRange& range) { return range.empty(); });
  return ranges;
}

Result<MemoryMap> ParseIomem(std::string_view text) {
  MemoryMap map;
  std::vector<PhysRange> nested;
  bool in_ram = false;
  bool any_address = false;
  while (!text.empty()) {
    const size_t newline = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, newline);
    text.remove_prefix(std::min(newline + 1, text.size()));
    if (raw.empty()) continue;
    const auto line = ParseLine(raw);
    if (!line) return Fail(ExitCode::kSystemCall, "/proc/iomem", "a line has an unknown form", raw);
    any_address |= line->range.start.value != 0 || line->range.size > 1;
    if (line->depth == 0) {
      in_ram = line->name == "System RAM";
      if (in_ram) map.ram.push_back(line->range);
    } else if (in_ram) {
      nested.push_back(line->range);
      if (line->name == "Crash kernel") map.crash.push_back(line->range);
    }
  }
  if (!any_address) {
    return Fail(ExitCode::kNotRoot, "/proc/iomem", "the kernel hides all addresses",
                "run khop as root, outside any container");
  }
  std::ranges::sort(map.ram, {}, &PhysRange::start);
  std::ranges::sort(map.crash, {}, &PhysRange::start);
  map.plain = Subtract(map.ram, std::move(nested));
  return map;
}

Result<MemoryMap> ReadMemoryMap(System& system) {
  const auto text = ReadFile(system, "/proc/iomem", 16 << 20);
  if (!text) return FailErrno(ExitCode::kSystemCall, "/proc/iomem", text.error().value);
  return ParseIomem(*text);
}

Result<std::vector<PhysRange>> RemovableMemory(System& system) {
  static const std::string kDirectory = "/sys/devices/system/memory";
  std::vector<PhysRange> removable;
  const auto size_text = ReadFile(system, kDirectory + "/block_size_bytes", 64);
  // No CONFIG_MEMORY_HOTPLUG.
  if (!size_text && size_text.error().value == ENOENT) return removable;
  if (!size_text) return FailErrno(ExitCode::kSystemCall, kDirectory, size_text.error().value);
  uint64_t block_size = 0;
  std::from_chars(size_text->data(), size_text->data() + size_text->size(), block_size, 16);
  const auto names = system.ListDirectory(kDirectory);
  if (!names) return FailErrno(ExitCode::kSystemCall, kDirectory, names.error().value);
  if (!IsPowerOfTwo(block_size)) return removable;
  for (const std::string& name : *names) {
    static constexpr std::string_view kPrefix = "memory";
    uint64_t number = 0;
    if (!name.starts_with(kPrefix) ||
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number).ec !=
            std::errc()) {
      continue;
    }
    // "Movable" while online there; of offline blocks a list of what they might become.
    const auto zones = ReadFile(system, kDirectory + "/" + name + "/valid_zones", 256);
    if (zones && zones->starts_with("Movable") && number < UINT64_MAX / block_size) {
      removable.push_back({PhysAddr{number * block_size}, block_size});
    }
  }
  return removable;
}

namespace {

// `key` has its colon.
Result<uint64_t> ReadMeminfo(System& system, std::string_view key) {
  const auto text = ReadFile(system, "/proc/meminfo");
  if (!text) return FailErrno(ExitCode::kSystemCall, "/proc/meminfo", text.error().value);
  const size_t at = text->find(key);
  if (at != std::string::npos) {
    const size_t digits = text->find_first_not_of(' ', at + key.size());
    uint64_t kib = 0;
    if (digits != std::string::npos &&
        std::from_chars(text->data() + digits, text->data() + text->size(), kib).ec ==
            std::errc() &&
        kib < UINT64_MAX / 1024) {
      return kib * 1024;
    }
  }
  return Fail(ExitCode::kSystemCall, "/proc/meminfo", "it does not tell " + std::string(key));
}

}  // namespace

Result<uint64_t> MemAvailable(System& system) { return ReadMeminfo(system, "MemAvailable:"); }

Result<uint64_t> MemTotal(System& system) { return ReadMeminfo(system, "MemTotal:"); }

bool DecodePagemap(uint64_t entry, uint64_t page_size, PhysAddr* address) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kFrame = (uint64_t{1} << 55) - 1;
  if ((entry & (kPresent | kSwapped)) != kPresent) return false;
  *address = PhysAddr{(entry & kFrame) * page_size};
  return true;
}

Result<Pagemap> Pagemap::Open(System& system) {
  auto file = File::Open(system, "/proc/self/pagemap", OpenMode::kRead);
  if (!file) {
    return FailKernelFile(ExitCode::kNoRoute, "/proc/self/pagemap", file.error().value,
                          "khop needs the kernel's CONFIG_PROC_PAGE_MONITOR");
  }
  return Pagemap(system, std::move(*file));
}

Result<PhysAddr> Pagemap::Lookup(const std::byte* address) {
  PhysAddr found;
  if (const auto done = Lookup(address, system_->PageSize(), {&found, 1}); !done) {
    return Forward(done);
  }
  return found;
}

Result<void> Pagemap::Lookup(const std::byte* address, uint64_t stride, std::span<PhysAddr> out) {
  const uint64_t page_size = system_->PageSize();
  const auto virt = reinterpret_cast<uint64_t>(address);
  // Neighbours by the buffer; entries far apart one at a time.
  std::array<uint64_t, 512> entries;
  const size_t batch = stride == page_size ? entries.size() : 1;
  for (size_t done = 0; done < out.size(); done += batch) {
    const size_t count = std::min(batch, out.size() - done);
    const uint64_t at = virt + done * stride;
    const auto bytes = std::as_writable_bytes(std::span(entries).first(count));
    const auto got = ReadFully(*system_, file_.fd(), bytes, at / page_size * sizeof(uint64_t));
    if (!got) return FailErrno(ExitCode::kSystemCall, "/proc/self/pagemap", got.error().value);
    for (size_t i = 0; i < count; ++i) {
      PhysAddr page;
      if (*got != bytes.size() || !DecodePagemap(entries[i], page_size, &page)) {
        return Fail(ExitCode::kArenaGone, "/proc/self/pagemap",
                    "a page of khop's is not in memory");
      }
      if (page.value == 0) {
        return Fail(ExitCode::kNotRoot, "/proc/self/pagemap", "the kernel hides physical addresses",
                    "khop needs CAP_SYS_ADMIN");
      }
      out[done + i] = page + virt % page_size;
    }
  }
  return {};
}

}  // namespace khop::system
