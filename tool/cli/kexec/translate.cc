// SPDX-License-Identifier: MIT
#include "tool/cli/kexec/translate.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "tool/devicetree/machine.h"
#include "tool/image/identify.h"
#include "tool/image/image.h"

namespace khop::cli::kexec {

using image::Format;
using system::System;

namespace {

constexpr const char* kOldInitrd = "/sys/firmware/initrd";

// The types of kexec-tools on arm64, and what a file of that type may be. It unpacks before it
// looks, so that an Image or a vmlinux may be compressed.
struct Type {
  std::string_view name;
  Format format;
  bool compressed;
};
constexpr std::array<Type, 5> kTypes = {{{"vmlinux", Format::kElf64Arm64, true},
                                         {"Image", Format::kImage, true},
                                         {"uImage", Format::kUImage, false},
                                         {"vmlinuz", Format::kZboot, false},
                                         {"uki", Format::kUki, false}}};
constexpr std::array<Format, 7> kCompressed = {Format::kGzip, Format::kXz,  Format::kLzma,
                                               Format::kZstd, Format::kLz4, Format::kLz4Legacy,
                                               Format::kBzip2};

Result<void> CheckType(System& system, const std::string& type, const std::string& path) {
  const auto* const wanted = std::ranges::find(kTypes, type, &Type::name);
  if (wanted == kTypes.end()) {
    return Fail(ExitCode::kNotAKernel, "kexec -t " + type, "there is no such type",
                "leave -t out, or give vmlinux, Image, uImage, vmlinuz or uki");
  }
  const auto file = system::File::Open(system, path, system::OpenMode::kRead);
  if (!file) return {};  // the load tells why
  std::vector<std::byte> head(image::kHeadSize);
  const auto got = system::ReadFully(system, file->fd(), head, 0);
  if (!got) return {};
  const Format format = image::Identify(std::span(head).first(*got));
  const bool packed = std::ranges::find(kCompressed, format) != kCompressed.end();
  if (wanted->format == format || (wanted->compressed && packed)) return {};
  return Fail(
      ExitCode::kNotAKernel, path,
      "it is " + std::string(image::Describe(format).name) + ", and -t " + type + " was demanded",
      "leave -t out: khop finds out by itself");
}

// kexec-tools writes no command line of its own into the tree with -c and without --append.
Result<std::string> BootArguments(System& system, const std::string& path) {
  const auto text = system::ReadFile(system, path, 2 * devicetree::kMaxTreeSize);
  if (!text) return std::string();  // the load tells why
  const auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(*text)), path);
  if (!tree) return Forward(tree);
  return devicetree::ReadChosenString(*tree, "bootargs");
}

// -s, -c, -a, --mem-min and --mem-max.
Result<void> TranslatePlaces(const Options& options, load::LoadOptions& translated) {
  if (options.crash && (options.mem_min || options.mem_max)) {
    return Fail(ExitCode::kUsage, "kexec -p",
                "a crash kernel goes where the crash reservation has room, not by --mem-min and "
                "--mem-max",
                "leave them out");
  }
  translated.mem_min = options.mem_min.value_or(0);
  // khop's bound is the first address beyond.
  const uint64_t last = options.mem_max.value_or(UINT64_MAX);
  translated.mem_max = last == UINT64_MAX ? last : last + 1;
  translated.no_cma = options.no_cma;
  translated.kexec_load_only = options.syscall == Syscall::kLoad;
  if (options.syscall != Syscall::kFile) return {};
  if (options.crash) {
    return Fail(ExitCode::kNoRoute, "kexec -s -p", "khop loads crash kernels by kexec_load only",
                "leave -s out");
  }
  translated.route = load::Route::kFile;
  return {};
}

}  // namespace

Result<load::LoadOptions> Translate(System& system, const Options& options,
                                    std::span<const std::byte> blob) {
  if (options.kernel.empty()) {
    return Fail(ExitCode::kFileMissing, "the kernel", "its name is empty", "name a file");
  }
  load::LoadOptions translated;
  translated.kernel = options.kernel;
  translated.blob = blob;
  translated.dtb = options.dtb;
  translated.reuse_command_line = options.reuse_command_line;
  if (options.reuse_command_line) {
    translated.append = options.append.value_or("");
  } else if (options.append) {
    translated.command_line = options.append;
  } else if (options.syscall == Syscall::kLoad || options.dtb) {
    const auto line = BootArguments(system, options.dtb.value_or(load::kRunningTree));
    if (!line) return Forward(line);
    translated.default_command_line = *line;
  }
  if (options.initrd) translated.initrds = {*options.initrd};
  if (options.reuse_initrd) {
    if (!system.Lstat(kOldInitrd)) {
      return Fail(ExitCode::kUsage, "kexec --reuseinitrd",
                  "this kernel did not keep its initrd in /sys/firmware/initrd",
                  "boot Linux 6.8 or newer with retain_initrd, or give --initrd");
    }
    translated.initrds = {kOldInitrd};
  }
  if (options.type) {
    const auto type = CheckType(system, *options.type, options.kernel);
    if (!type) return Forward(type);
  }
  if (const auto places = TranslatePlaces(options, translated); !places) return Forward(places);
  if (options.no_checks) translated.digest = handoff::DigestKind::kNone;
  translated.console_tty = options.serial;
  return translated;
}

KexecExit ExitOfLoad(System& system, const Options& options, ExitCode failure) {
  switch (failure) {
    case ExitCode::kUsage:
    case ExitCode::kNoReservation:
      return KexecExit::kUsage;
    case ExitCode::kNoRoute:
    case ExitCode::kKexecFileNotBuilt:
    case ExitCode::kNotAKernel:
    case ExitCode::kRouteOption:
      return options.syscall == Syscall::kFile ? KexecExit::kSyscallRefused : KexecExit::kFailed;
    case ExitCode::kFileMissing:
      // With kexec_load it reads files in a way that ends the program; without -c the kernel only.
      return options.syscall == Syscall::kLoad || !system.Lstat(options.kernel)
                 ? KexecExit::kUsage
                 : KexecExit::kFailed;
    default:
      return KexecExit::kFailed;
  }
}

}  // namespace khop::cli::kexec
