// SPDX-License-Identifier: MIT
// The command line of kexec-tools' `kexec` (2.0.32, arm64), understood as kexec-tools does:
// abbreviations, permutation, the last of an option wins. What it would ignore is refused here.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace khop::cli::kexec {

// The exit codes of kexec-tools.
enum class KexecExit : int {
  kOk = 0,
  kUsage = 1,             // and what it gives up at once; with --status: loaded
  kSyscallRefused = 253,  // -s, and the kernel does not take this image by kexec_file_load
  kNoCrashMemory = 254,
  kFailed = 255,
};

// Which system call loads (-s, -c, -a).
enum class Syscall : uint8_t { kAuto, kFile, kLoad };

// What to do. The steps are in this order, and each is taken only if those before it succeeded.
struct Options {
  bool status = false;    // -S, alone
  bool unload = false;    // -u
  bool load = true;       // the bare form, -l, -f, -p
  bool shutdown = false;  // the bare form: `shutdown -r now` once loaded
  bool exec = false;      // -e, -f

  bool crash = false;    // the crash image is meant, not the normal one
  bool sync = true;      // before the jump; not with -y
  bool ifdown = true;    // before the jump; not with -x
  bool verbose = false;  // -d
  Syscall syscall = Syscall::kAuto;

  // Of a load.
  std::string kernel;
  std::optional<std::string> type;    // -t
  std::optional<std::string> append;  // --append, --command-line
  std::optional<std::string> initrd;  // --initrd, --ramdisk
  std::optional<std::string> dtb;     // --dtb
  std::optional<std::string> serial;  // --serial
  std::optional<uint64_t> mem_min;    // --mem-min
  std::optional<uint64_t> mem_max;    // --mem-max
  bool reuse_command_line = false;    // --reuse-cmdline
  bool reuse_initrd = false;          // --reuseinitrd
  bool no_checks = false;             // -i
  bool no_cma = false;                // --no-cma
};

// What is done as soon as the option is seen, whatever stands after it.
enum class AtOnce : uint8_t { kHelp, kVersion, kPrintCrashSize };

// One line for the user, without "khop:" and newline.
struct Refusal {
  KexecExit code = KexecExit::kUsage;
  std::string message;
};

// `arguments` come after argv[0]. Whether files and memory are there is not looked at.
std::expected<std::variant<Options, AtOnce>, Refusal> ParseOptions(
    const std::vector<std::string>& arguments);

}  // namespace khop::cli::kexec
