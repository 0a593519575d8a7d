// SPDX-License-Identifier: MIT
#include "tool/load/prepare.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <ctime>

#include "tool/load/failure_record.h"
#include "tool/load/firmware.h"
#include "tool/load/ranges.h"
#include "tool/load/routes.h"
#include "tool/load/tree_source.h"
#include "tool/system/cpu_granules.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

Result<void> PrepareKernel(System& system, const LoadOptions& options, Prepared& prepared) {
  auto source = OpenSource(system, options.kernel, "the kernel");
  if (!source) return Forward(source);
  prepared.kernel = std::move(*source);
  const auto available = system::MemAvailable(system);
  if (!available) return Forward(available);
  const image::Question question{.name = options.kernel,
                                 .compatible = RunningCompatible(system),
                                 .configuration = options.configuration,
                                 .limit = *available,
                                 .count = !options.believe_size};
  auto contents =
      image::InspectInSandbox(InputOf(system, prepared.kernel), prepared.kernel.size, question);
  if (!contents) return Forward(contents);
  prepared.contents = *std::move(contents);
  const image::Kernel& kernel = *prepared.contents.kernel;
  prepared.kernel.recipe = kernel.recipe;
  prepared.kernel.size = kernel.recipe.size;
  prepared.kernel_version = kernel.version;
  prepared.header = kernel.header;
  for (const std::string& note : prepared.contents.notes) {
    prepared.notes.push_back(options.kernel + ": " + note);
  }
  const uint32_t page_size = prepared.header.page_size;
  const bool other_is_known =
      page_size != system.PageSize() && system::CpusHaveGranule(system, page_size);
  return image::CheckPageSize(prepared.header, system.PageSize(), other_is_known, options.kernel);
}

Result<void> PrepareInitrds(System& system, const LoadOptions& options, Prepared& prepared) {
  const auto add = [&](Result<SourceFile> source) -> Result<void> {
    if (!source) return Forward(source);
    prepared.initrd_size = AlignUp(prepared.initrd_size, kInitrdAlignment) + source->size;
    prepared.initrds.push_back(std::move(*source));
    return {};
  };
  for (const std::string& path : options.initrds) {
    if (auto added = add(OpenSource(system, path, "the initrd")); !added) return added;
  }
  if (!options.initrds.empty()) return {};
  // What was named comes before what the image brings.
  for (const image::Part& part : prepared.contents.initrds) {
    auto added = add(OpenPart(system, prepared.kernel, part.where, "the initrd"));
    if (!added) return added;
  }
  return {};
}

Result<void> PrepareTree(System& system, const LoadOptions& options, Prepared& prepared) {
  if (const auto read = ReadTree(system, options, prepared); !read) return read;
  const system::LpiTables& lpi_tables = prepared.lpi_tables = ReadLpiTables(system, *prepared.tree);
  auto forbidden = ReadForbidden(*prepared.tree, lpi_tables);
  if (!forbidden) return Forward(forbidden);
  prepared.forbidden = *std::move(forbidden);
  if (const auto firmware = PrepareFirmware(system, options, prepared); !firmware) return firmware;
  SupplyInitrd(prepared);

  const auto command_line = CommandLine(system, options, prepared.contents.command_line);
  if (!command_line) return Forward(command_line);
  std::array<uint64_t, 9> random;
  if (const auto got = system.Random(std::as_writable_bytes(std::span(random))); !got) {
    return FailErrno(ExitCode::kSystemCall, "getrandom", got.error().value);
  }
  if (!lpi_tables.missing.empty()) {
    prepared.notes.push_back("the kernel log does not tell any more where the GIC keeps " +
                             lpi_tables.missing + " for LPIs: the next kernel may warn \"Booted " +
                             "with LPIs enabled\", and give memory out that the GIC writes to; " +
                             "a larger log_buf_len= keeps the log");
  }
  auto& tree_options = prepared.tree_options;
  tree_options.extra_reservations = lpi_tables.ranges;
  tree_options.command_line = *command_line;
  if (prepared.initrd_size != 0) tree_options.initrd = PhysRange{{0}, prepared.initrd_size};
  tree_options.kaslr_seed = random[0] | 1;  // 0 would mean none
  const auto rng = std::as_bytes(std::span(random).subspan(1));
  tree_options.rng_seed.assign(rng.begin(), rng.end());
  tree_options.from = system.KernelRelease();
  return {};
}

// Refuses bounds that no route could do with.
Result<void> CheckBounds(const LoadOptions& options, const Prepared& prepared) {
  if (options.mem_min >= options.mem_max) {
    return Fail(ExitCode::kUsage, "--mem-min and --mem-max", "there is nothing between them",
                "give a larger --mem-max");
  }
  const std::string region = Hex(options.mem_min) + " to " +
                             (options.mem_max == UINT64_MAX ? "the end" : Hex(options.mem_max));
  if (system::Intersect(prepared.map.ram, {prepared.bounds}).empty()) {
    return Fail(ExitCode::kBadRegion, region, "this machine has no memory there",
                "look at /proc/iomem");
  }
  std::vector<PhysRange> usable = prepared.map.plain;
  usable.insert(usable.end(), prepared.map.crash.begin(), prepared.map.crash.end());
  std::ranges::sort(usable, {}, &PhysRange::start);
  usable = system::Subtract(system::Intersect(usable, {prepared.bounds}), prepared.forbidden);
  if (usable.empty()) {
    return Fail(ExitCode::kBadRegion, region,
                "all memory there is reserved or has the running kernel", "look at /proc/iomem");
  }
  const auto longest = std::ranges::max_element(usable, {}, &PhysRange::size);
  if (longest->size < prepared.header.image_size) {
    return Fail(
        ExitCode::kBadRegion, region,
        "no stretch there has room for the kernel's " + HumanBytes(prepared.header.image_size),
        "give other bounds");
  }
  return {};
}

Result<void> PrepareMemory(System& system, const LoadOptions& options, Prepared& prepared) {
  auto map = ReadUsableMemory(system, *prepared.tree);
  const bool hidden = !map && options.only_look && map.error().code == ExitCode::kNotRoot;
  if (!map && !hidden) return Forward(map);
  if (hidden) {
    prepared.notes.emplace_back(
        "/proc/iomem shows no addresses without root: which memory is there, what of it is "
        "reserved, and where anything would go is not known");
  } else {
    prepared.map = *std::move(map);
  }
  prepared.bounds = {PhysAddr{options.mem_min}, options.mem_max - options.mem_min};
  if (!hidden && (options.mem_min != 0 || options.mem_max != UINT64_MAX)) {
    if (auto checked = CheckBounds(options, prepared); !checked) return checked;
  }
  prepared.granule_shift = static_cast<uint32_t>(std::countr_zero(system.PageSize()));
  // The architecture's physical address sizes (ID_AA64MMFR0_EL1.PARange) up to 48 bits.
  static constexpr std::array<uint32_t, 6> kSizes = {32, 36, 40, 42, 44, 48};
  if (hidden) return {};
  const uint64_t highest = std::max(prepared.map.RamEnd() - 1, prepared.last_words.uart_base);
  const auto bits = static_cast<uint32_t>(std::bit_width(highest));
  const auto* const size = std::ranges::lower_bound(kSizes, bits);
  if (prepared.map.RamEnd() == 0 || size == kSizes.end()) {
    return Fail(ExitCode::kUnsupportedMachine, "this machine",
                "it has memory above 2^48, which khop cannot address yet");
  }
  prepared.pa_bits = *size;
  return {};
}

void PrepareFailureRecord(System& system, Prepared& prepared) {
  const auto place = FindRecordPlace(system, *prepared.tree, prepared.map, prepared.notes);
  if (!place) return;
  prepared.last_words.record_base = place->range.start.value;
  prepared.last_words.record_size = static_cast<uint32_t>(place->range.size);
  prepared.failure_record = place->source + " at " + Hex(place->range.start.value);
}

}  // namespace

std::string WithoutWords(std::string_view command_line,
                         std::span<const std::string_view> prefixes) {
  std::string kept;
  while (!command_line.empty()) {
    size_t end = 0;
    for (bool quoted = false; end < command_line.size(); ++end) {
      if (command_line[end] == '"') quoted = !quoted;
      if (!quoted && std::string_view(" \t\n").contains(command_line[end])) break;
    }
    const std::string_view word = command_line.substr(0, end);
    command_line.remove_prefix(std::min(end + 1, command_line.size()));
    if (word.empty() || std::ranges::any_of(prefixes, [&](std::string_view prefix) {
          return word.starts_with(prefix);
        })) {
      continue;
    }
    if (!kept.empty()) kept += ' ';
    kept += word;
  }
  return kept;
}

std::string WithoutBootImage(std::string_view command_line) {
  static constexpr std::array<std::string_view, 2> kOfTheBootLoader = {"BOOT_IMAGE=", "initrd="};
  return WithoutWords(command_line, kOfTheBootLoader);
}

Result<std::string> CommandLine(System& system, const LoadOptions& options,
                                const std::optional<std::string>& of_image) {
  std::string line = options.command_line.value_or(of_image.value_or(options.default_command_line));
  if (options.reuse_command_line) {
    const auto running = system::ReadFile(system, "/proc/cmdline");
    if (!running) return FailErrno(ExitCode::kSystemCall, "/proc/cmdline", running.error().value);
    line = WithoutBootImage(*running);
  }
  if (!options.append.empty()) {
    if (!line.empty()) line += ' ';
    line += options.append;
  }
  return line;
}

Result<Prepared> Prepare(System& system, const LoadOptions& options) {
  Prepared prepared;
  if (auto done = PrepareKernel(system, options, prepared); !done) return Forward(done);
  if (auto done = PrepareInitrds(system, options, prepared); !done) return Forward(done);
  if (auto done = PrepareTree(system, options, prepared); !done) return Forward(done);
  if (auto done = PrepareMemory(system, options, prepared); !done) return Forward(done);
  PrepareFailureRecord(system, prepared);
  prepared.last_words.loaded_at = static_cast<uint64_t>(std::time(nullptr));
  if (!prepared.header.placed_anywhere) {
    prepared.notes.emplace_back("this kernel (before 4.6) loses the memory below its image");
  }
  prepared.sizes.text_offset = prepared.header.text_offset;
  prepared.sizes.image_size = prepared.header.image_size;
  prepared.sizes.initrd_size = prepared.initrd_size;
  const Route first = options.route == Route::kAuto ? Routes().front().route : options.route;
  if (auto done = SetRoute(system, options, first, prepared); !done) return Forward(done);
  return prepared;
}

Result<void> SetRoute(System& system, const LoadOptions& options, Route route, Prepared& prepared) {
  prepared.tree_options.route = RouteName(route);
  if (route == Route::kFile) return {};  // the kernel's own tree, and no relocator
  // The size depends on no address, so this is that of the final tree.
  const auto sized = devicetree::BuildNextTree(*prepared.tree, prepared.tree_options);
  if (!sized) return Forward(sized);
  prepared.sizes.dtb_size = sized->bytes.size();
  const auto control = EstimateControlSize(system, prepared, options);
  if (!control) return Forward(control);
  prepared.sizes.control_size = *control;
  prepared.shape = MakeShape(prepared.sizes, system.PageSize());
  return {};
}

system::LpiTables ReadLpiTables(System& system, const devicetree::Tree& tree) {
  if (!devicetree::HasIts(tree) || devicetree::BootedByUefi(tree)) return {};
  // `tree` may be another one (--dtb), which knows of no hop.
  std::vector<PhysRange> reserved;
  const auto running = ReadRunningTree(system);
  if (running && !devicetree::ReadChosenString(*running, "khop,from").empty()) {
    reserved = running->memory_reservations();
  }
  return system::FindLpiTables(system, reserved);
}

Result<std::vector<PhysRange>> ReadForbidden(const devicetree::Tree& tree,
                                             const system::LpiTables& lpi_tables) {
  const auto reserved = devicetree::ReservedRanges(tree);
  if (!reserved) return Forward(reserved);
  std::vector<PhysRange> ranges = lpi_tables.ranges;
  for (const auto& entry : *reserved) ranges.push_back(entry.range);
  return ranges;
}

std::vector<PhysRange> PlainWithInitrd(System& system, const system::MemoryMap& map) {
  const auto running = ReadRunningTree(system);
  const auto initrd = running ? devicetree::ReadInitrd(*running) : std::nullopt;
  if (!initrd) return map.plain;
  // Of RAM alone: the tree may say anything. A page that it has in part only is not given back.
  Ranges freed;
  for (const PhysRange& range : system::Intersect(map.ram, {*initrd})) {
    const uint64_t start = AlignUp(range.start.value, system.PageSize());
    const uint64_t end = AlignDown(range.end().value, system.PageSize());
    if (start < end) freed.push_back({{start}, end - start});
  }
  Ranges plain = Without(freed, map.plain);
  plain.insert(plain.end(), map.plain.begin(), map.plain.end());
  return Joined(std::move(plain));
}

Result<system::MemoryMap> ReadUsableMemory(System& system, const devicetree::Tree& tree) {
  auto map = system::ReadMemoryMap(system);
  if (!map) return map;
  map->plain = PlainWithInitrd(system, *map);
  // The next kernel sees the memory of its tree. Memory added later is "System RAM" here too, but
  // not in the tree that firmware made. (A tree without memory nodes leaves it to the UEFI map.)
  const auto nodes = devicetree::MemoryRanges(tree);
  if (!nodes) return Forward(nodes);
  if (!nodes->empty()) map->plain = system::Intersect(map->plain, *nodes);
  const auto removable = system::RemovableMemory(system);
  if (!removable) return Forward(removable);
  map->plain = system::Subtract(map->plain, *removable);
  return map;
}

}  // namespace khop::load
