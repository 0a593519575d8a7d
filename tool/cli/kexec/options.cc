// SPDX-License-Identifier: MIT
#include "tool/cli/kexec/options.h"

#include <getopt.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tool/base/error.h"

namespace khop::cli::kexec {
namespace {

// What getopt_long() returns for an option that has no letter.
enum Long : int {
  kMemMin = 256,
  kMemMax,
  kReuseInitrd,
  kPreserveContext,
  kJumpBackHelper,
  kLoadLiveUpdate,
  kExecLiveUpdate,
  kEntry,
  kCrashSize,
  kHotplug,
  kNoCma,
  kForceDtb,
  kAppend,
  kDtb,
  kInitrd,
  kReuseCommandLine,
  kSerial,
};

constexpr const char* kLetters = "h?vdfixyluet:pscaS";

// All of them, as the abbreviations depend on what else there is.
constexpr std::array<option, 36> kLongOptions = {{
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'v'},
    {"debug", no_argument, nullptr, 'd'},
    {"force", no_argument, nullptr, 'f'},
    {"no-checks", no_argument, nullptr, 'i'},
    {"no-ifdown", no_argument, nullptr, 'x'},
    {"no-sync", no_argument, nullptr, 'y'},
    {"load", no_argument, nullptr, 'l'},
    {"unload", no_argument, nullptr, 'u'},
    {"exec", no_argument, nullptr, 'e'},
    {"type", required_argument, nullptr, 't'},
    {"load-panic", no_argument, nullptr, 'p'},
    {"kexec-file-syscall", no_argument, nullptr, 's'},
    {"kexec-syscall", no_argument, nullptr, 'c'},
    {"kexec-syscall-auto", no_argument, nullptr, 'a'},
    {"status", no_argument, nullptr, 'S'},
    {"mem-min", required_argument, nullptr, kMemMin},
    {"mem-max", required_argument, nullptr, kMemMax},
    {"reuseinitrd", no_argument, nullptr, kReuseInitrd},
    {"load-preserve-context", no_argument, nullptr, kPreserveContext},
    {"load-jump-back-helper", no_argument, nullptr, kJumpBackHelper},
    {"load-live-update", no_argument, nullptr, kLoadLiveUpdate},
    {"exec-live-update", no_argument, nullptr, kExecLiveUpdate},
    {"entry", required_argument, nullptr, kEntry},
    {"print-ckr-size", no_argument, nullptr, kCrashSize},
    {"hotplug", no_argument, nullptr, kHotplug},
    {"no-cma", no_argument, nullptr, kNoCma},
    {"force-dtb", no_argument, nullptr, kForceDtb},
    {"append", required_argument, nullptr, kAppend},
    {"command-line", required_argument, nullptr, kAppend},
    {"dtb", required_argument, nullptr, kDtb},
    {"initrd", required_argument, nullptr, kInitrd},
    {"ramdisk", required_argument, nullptr, kInitrd},
    {"reuse-cmdline", no_argument, nullptr, kReuseCommandLine},
    {"serial", required_argument, nullptr, kSerial},
    {nullptr, 0, nullptr, 0},
}};

// The last of -l, -e, -f and -p on the command line.
enum class Action : uint8_t { kBare, kLoad, kExec, kForce };

// What stood on the command line, before it is judged.
struct Seen {
  Options options;
  Action action = Action::kBare;
  bool load = false;      // -l, somewhere
  bool exec = false;      // -e, somewhere
  bool load_wins = true;  // of those that load and those that do not, the last is one that loads
  bool preserve_context = false;
  bool jump_back_helper = false;
  bool live_update = false;
  bool hotplug = false;
  bool force_dtb = false;
  std::optional<uint64_t> entry;
  std::string of_a_load;  // an option that only a load can use
  std::vector<std::string> files;
};

using Parsed = std::variant<Seen, AtOnce>;

std::unexpected<Refusal> Refuse(std::string what, const std::string& why,
                                KexecExit code = KexecExit::kUsage) {
  const std::string name = what.empty() ? "kexec" : "kexec " + std::move(what);
  return std::unexpected(Refusal{code, Printable(name + ": " + why)});
}

// As strtoul(3) with base 0, but for numbers that do not fit.
std::expected<uint64_t, Refusal> Number(const char* option, const char* text) {
  char* end = nullptr;
  errno = 0;
  const uint64_t value = strtoull(text, &end, 0);
  if (*end == '\0' && errno == 0) return value;
  return Refuse(option, std::string(text) + " is no number; give one as 0x40000000 or 1073741824");
}

// One option. `given` is how the user wrote it, as far as that is known.
std::expected<void, Refusal> Take(int found, Seen& seen) {
  Options& options = seen.options;
  const auto number = [&](const char* name,
                          std::optional<uint64_t>& into) -> std::expected<void, Refusal> {
    const auto value = Number(name, optarg);
    if (!value) return std::unexpected(value.error());
    into = *value;
    seen.of_a_load = name;
    return {};
  };
  const auto text = [&](const char* name, std::optional<std::string>& into) {
    into = optarg;
    seen.of_a_load = name;
  };
  switch (found) {
    case 'd':
      options.verbose = true;
      break;
    case 'f':
      seen.action = Action::kForce;
      seen.load_wins = true;
      break;
    case 'i':
      options.no_checks = true;
      seen.of_a_load = "-i";
      break;
    case 'x':
      options.ifdown = false;
      break;
    case 'y':
      options.sync = false;
      break;
    case 'l':
      seen.action = Action::kLoad;
      seen.load = seen.load_wins = true;
      break;
    case 'u':
      options.unload = true;
      seen.load_wins = false;
      break;
    case 'e':
      seen.action = Action::kExec;
      seen.exec = true;
      seen.load_wins = false;
      break;
    case 't':
      text("-t", options.type);
      break;
    case 'p':
      seen.action = Action::kLoad;
      seen.load_wins = options.crash = true;
      break;
    case 's':
      options.syscall = Syscall::kFile;
      break;
    case 'c':
      options.syscall = Syscall::kLoad;
      break;
    case 'a':
      options.syscall = Syscall::kAuto;
      break;
    case 'S':
      options.status = true;
      break;
    case kMemMin:
      return number("--mem-min", options.mem_min);
    case kMemMax:
      return number("--mem-max", options.mem_max);
    case kReuseInitrd:
      options.reuse_initrd = true;
      seen.of_a_load = "--reuseinitrd";
      break;
    case kPreserveContext:
      seen.preserve_context = true;
      break;
    case kJumpBackHelper:
      seen.jump_back_helper = true;
      break;
    case kLoadLiveUpdate:
      seen.live_update = true;
      break;
    case kEntry:
      return number("--entry", seen.entry);
    case kHotplug:
      seen.hotplug = true;
      break;
    case kNoCma:
      options.no_cma = true;
      seen.of_a_load = "--no-cma";
      break;
    case kForceDtb:
      seen.force_dtb = true;
      seen.of_a_load = "--force-dtb";
      break;
    case kAppend:
      text("--append", options.append);
      break;
    case kDtb:
      text("--dtb", options.dtb);
      break;
    case kInitrd:
      text("--initrd", options.initrd);
      break;
    case kReuseCommandLine:
      options.reuse_command_line = true;
      seen.of_a_load = "--reuse-cmdline";
      break;
    case kSerial:
      text("--serial", options.serial);
      break;
    default:
      break;
  }
  return {};
}

// getopt_long() has its state in global variables and reorders what it is given: it is called in
// this function alone, on a copy.
std::expected<Parsed, Refusal> Scan(const std::vector<std::string>& arguments) {
  std::vector<std::string> copies = {"kexec"};
  copies.insert(copies.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(copies.size() + 1);
  for (std::string& copy : copies) argv.push_back(copy.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(copies.size());
  optind = 0;  // glibc's own way to begin afresh
  opterr = 0;
  Seen seen;
  for (;;) {
    const int before = optind;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): khop has one thread
    const int found = getopt_long(argc, argv.data(), kLetters, kLongOptions.data(), nullptr);
    if (found == -1) break;
    switch (found) {
      case 'h':
        return AtOnce::kHelp;
      case 'v':
        return AtOnce::kVersion;
      case kCrashSize:
        return AtOnce::kPrintCrashSize;
      case kExecLiveUpdate:
        return Refuse("--exec-live-update", "this is for Xen only");
      case '?': {
        // Of "-lz" the index stands at the whole word until its last letter has been read.
        const int at = optind > before && optind > 1 ? optind - 1 : std::min(optind, argc - 1);
        return Refuse(argv.at(static_cast<size_t>(at)),
                      "there is no such option, more than one begins so, or a value is missing or "
                      "too many; see kexec --help");
      }
      default:
        break;
    }
    if (const auto taken = Take(found, seen); !taken) return std::unexpected(taken.error());
  }
  for (auto i = static_cast<size_t>(optind); i < copies.size(); ++i) {
    seen.files.emplace_back(argv[i]);
  }
  return seen;
}

// --status only looks, so whatever else is asked for would be left undone. Its exit code 1 means
// "loaded", so that a refusal must be another one.
std::expected<void, Refusal> JudgeStatus(const Seen& seen) {
  const bool more = !seen.files.empty() || !seen.of_a_load.empty() || seen.options.unload ||
                    seen.exec || seen.action == Action::kForce || seen.entry ||
                    seen.preserve_context || seen.jump_back_helper || seen.live_update ||
                    seen.hotplug;
  if (!more) return {};
  return Refuse("-S", "it only tells what is loaded; give it -l, -p or nothing beside it",
                KexecExit::kFailed);
}

// What no arm64 kernel can do.
std::expected<void, Refusal> JudgeFeatures(const Seen& seen) {
  const Options& options = seen.options;
  if (seen.live_update) return Refuse("--load-live-update", "this is for Xen only");
  if (seen.preserve_context) {
    const bool as_far_as_the_kernel = options.syscall == Syscall::kLoad && options.mem_max;
    return Refuse("--load-preserve-context",
                  "arm64 kernels cannot come back (no CONFIG_KEXEC_JUMP)",
                  as_far_as_the_kernel ? KexecExit::kFailed : KexecExit::kUsage);
  }
  if (seen.jump_back_helper) {
    return Refuse("--load-jump-back-helper",
                  "arm64 kernels cannot come back (no CONFIG_KEXEC_JUMP)",
                  options.syscall == Syscall::kLoad ? KexecExit::kFailed : KexecExit::kUsage);
  }
  if (seen.hotplug) {
    return Refuse("--hotplug",
                  "arm64 kernels do not update a loaded crash image (no CONFIG_CRASH_HOTPLUG); "
                  "load it again when CPUs or memory come and go");
  }
  if (seen.entry.value_or(0) != 0) {
    return Refuse("--entry", "khop starts a kernel where its image says, nowhere else",
                  KexecExit::kFailed);
  }
  return {};
}

// Combinations of actions that cannot both be done.
std::expected<void, Refusal> JudgeActions(const Seen& seen) {
  const Options& options = seen.options;
  if (seen.load && seen.exec) {
    return Refuse("-l -e",
                  "one loads and the other starts what was loaded before; use -f for both");
  }
  if (options.unload && seen.exec) return Refuse("-u -e", "nothing would be left to start");
  if (options.crash && seen.action == Action::kForce) {
    return Refuse("-p -f", "a crash image is started by a panic, not by kexec");
  }
  return {};
}

// Options that would be ignored.
std::expected<void, Refusal> JudgeLeftovers(const Seen& seen) {
  const Options& options = seen.options;
  if (!options.load && !seen.files.empty()) {
    return Refuse(seen.files.front(), "a kernel is named, but " +
                                          std::string(options.unload ? "-u" : "-e") +
                                          " loads none; use -l or -f");
  }
  if (!options.load && !seen.of_a_load.empty()) {
    return Refuse(seen.of_a_load, "this is for loading, and " +
                                      std::string(options.unload ? "-u" : "-e") +
                                      " does not load; give it with -l, -f or -p");
  }
  if (seen.files.size() > 1) {
    return Refuse(seen.files[1],
                  "only one kernel can be loaded; quote the command line as one "
                  "argument: --append=\"...\"");
  }
  if (options.reuse_initrd && options.initrd) {
    return Refuse("--reuseinitrd", "there is --initrd too; give one of them");
  }
  if (seen.force_dtb && options.dtb) {
    return Refuse("--force-dtb", "there is --dtb too; give one of them");
  }
  if (options.mem_min && options.mem_max && *options.mem_min >= *options.mem_max) {
    return Refuse("--mem-min", "it is not below --mem-max");
  }
  if (options.syscall == Syscall::kFile) {
    // The kernel reads the files and chooses the places itself.
    const std::string only_c = "kexec_file_load cannot do this; leave out -s";
    if (options.dtb) return Refuse("-s --dtb", only_c);
    if (options.mem_min) return Refuse("-s --mem-min", only_c);
    if (options.mem_max) return Refuse("-s --mem-max", only_c);
    if (options.serial) return Refuse("-s --serial", only_c);
  }
  return {};
}

}  // namespace

std::expected<std::variant<Options, AtOnce>, Refusal> ParseOptions(
    const std::vector<std::string>& arguments) {
  auto scanned = Scan(arguments);
  if (!scanned) return std::unexpected(scanned.error());
  if (const auto* const at_once = std::get_if<AtOnce>(&*scanned)) return *at_once;
  Seen& seen = std::get<Seen>(*scanned);
  Options& options = seen.options;
  if (options.status) {
    if (const auto judged = JudgeStatus(seen); !judged) return std::unexpected(judged.error());
    // The crash image, unless the normal one is named.
    options.crash = options.crash || !seen.load;
    options.load = false;
    return options;
  }
  // `-u -p` unloads the crash image, as `-p -u` does: there is nothing to load.
  options.load = seen.load_wins && !(options.unload && options.crash && seen.files.empty());
  options.exec = seen.action == Action::kForce || seen.action == Action::kExec;
  options.shutdown = options.load && seen.action == Action::kBare;
  if (options.unload && seen.action == Action::kForce && !seen.load_wins) {
    return Refuse("-f -u", "nothing would be left to start");
  }
  for (const auto judge : {JudgeFeatures, JudgeActions, JudgeLeftovers}) {
    if (const auto judged = judge(seen); !judged) return std::unexpected(judged.error());
  }
  if (options.load && seen.files.empty()) {
    return Refuse("", "no kernel is named; see kexec --help", KexecExit::kFailed);
  }
  if (!seen.files.empty()) options.kernel = seen.files.front();
  return options;
}

}  // namespace khop::cli::kexec
