// SPDX-License-Identifier: MIT
// Everything about a load that can be known, and refused, before any memory is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "core/handoff/handoff.h"
#include "core/relocator/blob.h"
#include "tool/base/error.h"
#include "tool/devicetree/machine.h"
#include "tool/devicetree/next_tree.h"
#include "tool/devicetree/tree.h"
#include "tool/image/image.h"
#include "tool/load/control.h"
#include "tool/load/payload.h"
#include "tool/load/placement.h"
#include "tool/load/running_tree.h"
#include "tool/report/segment.h"
#include "tool/system/gic_tables.h"
#include "tool/system/memory_map.h"
#include "tool/system/system.h"

namespace khop::load {

enum class Route : uint8_t {
  kAuto,  // the first that works, in the order of Routes()
  kInPlace,
  kReserved,
  kGather,
  kKernel,
  kFile,
  kCrash,  // no route of a hop: a panic starts it
};

struct LoadOptions {
  // In any format that tool/image knows; empty: see `entry`, or the system's own (tool/entry).
  std::string kernel;
  std::string configuration;         // of a FIT; empty: the one that fits
  std::string entry;                 // of the boot partition: an ID or "default"; empty: none
  std::vector<std::string> initrds;  // in order; the kernel sees them as one
  std::optional<std::string> command_line;
  std::string default_command_line;  // where `command_line` is not given and the image has none
  bool reuse_command_line = false;   // that of the running kernel, without BOOT_IMAGE=
  std::string append;
  std::optional<std::string> dtb;  // else the image's, else the running kernel's
  std::vector<std::string> dtbos;  // overlays, applied in this order
  Route route = Route::kAuto;
  MmuMode mmu = MmuMode::kAuto;
  handoff::DigestKind digest = handoff::DigestKind::kSha256;
  bool digest_asked = false;     // `digest` is not the default
  bool kexec_load_only = false;  // kAuto: without the route by kexec_file_load
  bool no_cma = false;           // file: not into the contiguous memory allocator's areas
  bool early = false;  // with kSha256: verified by exec, just before reboot(2), and not again
  std::optional<std::string> console_tty;  // for last words; else as earlycon= or the tree say
  std::span<const std::byte> blob;         // the relocator, its BlobHeader first
  // Where the payload may go: [mem_min, mem_max).
  uint64_t mem_min = 0;
  uint64_t mem_max = UINT64_MAX;
  // Reserved: the crash kernel that is to be loaded with it.
  std::shared_ptr<const LoadOptions> crash_kernel;
  // Of compressed kernels the size that they claim is believed until they are unpacked.
  bool believe_size = false;
  bool only_look = false;  // a plan: what root alone may see may be missing
};

struct Prepared {
  SourceFile kernel;
  image::Contents contents;  // of the kernel's file
  image::ImageHeader header;
  std::string kernel_version;  // empty if it was not found
  std::vector<SourceFile> initrds;
  std::string made_initrd;   // khop's own, where `initrds` is empty and the next kernel needs one
  uint64_t initrd_size = 0;  // of all with their padding
  std::string dtb_source;
  std::optional<devicetree::Tree> tree;  // the running one or that of --dtb; there after Prepare()
  devicetree::NextTreeOptions tree_options;
  system::LpiTables lpi_tables;      // that the next kernel's tree has to reserve
  std::vector<PhysRange> forbidden;  // what the tree reserves, and the GIC's tables
  std::string console;               // for people; empty: none
  std::string failure_record;        // where a failed hop leaves one; empty: nowhere
  relocator::LastWords last_words = {};
  std::vector<std::string> notes;
  std::vector<report::Refusal> refused;  // routes that were tried
  system::MemoryMap map;                 // `plain`: what the next kernel may be put into
  PhysRange bounds;                      // --mem-min and --mem-max
  uint32_t granule_shift = 12;
  uint32_t pa_bits = 48;
  PayloadSizes sizes;
  Shape shape;
};

// Initrds follow each other at multiples of this many bytes (the cpio format's own alignment).
inline constexpr uint64_t kInitrdAlignment = 4;

// The machine must let khop kexec (system::CheckKexec) already.
Result<Prepared> Prepare(system::System& system, const LoadOptions& options);

// Prepares for another route than the first: the next tree names it.
Result<void> SetRoute(system::System& system, const LoadOptions& options, Route route,
                      Prepared& prepared);

// `map`'s plain memory and what the running kernel's initrd lay in. That was reserved at boot,
// which /proc/iomem goes on showing, but is freed once it is unpacked; where it is kept, its pages'
// flags say so (RESERVED).
std::vector<PhysRange> PlainWithInitrd(system::System& system, const system::MemoryMap& map);
// The memory map; `plain` with the initrd's place, without what `tree` (the next kernel's) does not
// name as memory and without what can be removed. Errors: kSystemCall, kNotRoot, kBadDeviceTree.
Result<system::MemoryMap> ReadUsableMemory(system::System& system, const devicetree::Tree& tree);
// The GIC's tables that the next kernel's tree has to reserve: none on machines without an ITS, or
// whose UEFI keeps them reserved.
system::LpiTables ReadLpiTables(system::System& system, const devicetree::Tree& tree);
// What a tree reserves, and the GIC's tables. Errors: kBadDeviceTree.
Result<std::vector<PhysRange>> ReadForbidden(const devicetree::Tree& tree,
                                             const system::LpiTables& lpi_tables);

// The command line that the options ask for; where they say nothing, the image's own (a UKI's).
// Errors: kSystemCall.
Result<std::string> CommandLine(system::System& system, const LoadOptions& options,
                                const std::optional<std::string>& of_image = std::nullopt);

// A command line without the words that begin with one of `prefixes`. Quotes are understood.
std::string WithoutWords(std::string_view command_line, std::span<const std::string_view> prefixes);
// /proc/cmdline without what the boot loader added: BOOT_IMAGE= and initrd=.
std::string WithoutBootImage(std::string_view command_line);

}  // namespace khop::load
