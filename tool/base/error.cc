// SPDX-License-Identifier: MIT
#include "tool/base/error.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <system_error>

namespace khop {

ExitCodeInfo DescribeExitCode(ExitCode code) {
  // No default: the compiler says when an enumerator is missing here.
  switch (code) {
    case ExitCode::kOk:
      return {code, "ok", "success"};
    case ExitCode::kFailure:
      return {code, "failure", "a failure that has no code of its own"};
    case ExitCode::kUsage:
      return {code, "usage", "the command line is wrong"};
    case ExitCode::kNothingLoaded:
      return {code, "nothing-loaded", "no kernel is loaded, or there is nothing to report"};
    case ExitCode::kBusy:
      return {code, "busy", "another khop is at work, or the kernel is busy with a kexec load"};
    case ExitCode::kArenaGone:
      return {code, "arena-gone", "the memory that holds the loaded kernel is gone or has moved"};
    case ExitCode::kForeignImage:
      return {code, "foreign-image", "another tool loaded or unloaded a kernel since"};
    case ExitCode::kBadState:
      return {code, "bad-state", "the state under /run/khop is damaged or of another version"};
    case ExitCode::kNotRoot:
      return {code, "not-root", "this needs root (CAP_SYS_BOOT and CAP_SYS_ADMIN)"};
    case ExitCode::kNotArm64:
      return {code, "not-arm64", "the running kernel is not an arm64 one"};
    case ExitCode::kKexecNotBuilt:
      return {code, "kexec-not-built", "the running kernel has no kexec_load (CONFIG_KEXEC)"};
    case ExitCode::kKexecDisabled:
      return {code, "kexec-disabled", "kernel.kexec_load_disabled is set"};
    case ExitCode::kLockdown:
      return {code, "lockdown", "kernel lockdown or a security module forbids kexec"};
    case ExitCode::kLoadLimit:
      return {code, "load-limit", "kernel.kexec_load_limit_reboot is used up"};
    case ExitCode::kUnsupportedMachine:
      return {code, "unsupported-machine", "this machine cannot kexec, or not safely (no PSCI)"};
    case ExitCode::kUnsafeSystem:
      return {code, "unsafe-system", "the system would not keep the loaded kernel's memory"};
    case ExitCode::kProtectedKvm:
      return {code, "protected-kvm",
              "protected KVM is on, and the kernel does not kexec beneath it"};
    case ExitCode::kCpusStuck:
      return {code, "cpus-stuck", "the kernel cannot stop all CPUs (spin tables)"};
    case ExitCode::kFileMissing:
      return {code, "file-missing", "a file does not exist"};
    case ExitCode::kFileUnreadable:
      return {code, "file-unreadable", "a file cannot be read"};
    case ExitCode::kFileEmpty:
      return {code, "file-empty", "a file is empty"};
    case ExitCode::kNotAKernel:
      return {code, "not-a-kernel", "the file is not an arm64 kernel that khop can start"};
    case ExitCode::kTruncated:
      return {code, "truncated", "the file is cut short"};
    case ExitCode::kBigEndian:
      return {code, "big-endian", "the kernel is big-endian"};
    case ExitCode::kPageSize:
      return {code, "page-size", "the kernel's page size is not known to work on this CPU"};
    case ExitCode::kCommandLineTooLong:
      return {code, "command-line-too-long", "the command line exceeds the kernel's limit"};
    case ExitCode::kBadDeviceTree:
      return {code, "bad-device-tree", "a device tree is malformed"};
    case ExitCode::kFileChanged:
      return {code, "file-changed", "a file changed while it was read"};
    case ExitCode::kNoMemory:
      return {code, "no-memory", "not enough free memory"};
    case ExitCode::kNoContiguousMemory:
      return {code, "no-contiguous-memory", "not enough physically contiguous memory"};
    case ExitCode::kMemoryLimit:
      return {code, "memory-limit", "a limit (shmmax, shmall, cgroup) is in the way"};
    case ExitCode::kNoRoute:
      return {code, "no-route", "no route can take the kernel to its place"};
    case ExitCode::kSystemCall:
      return {code, "system-call", "a system call failed unexpectedly"};
    case ExitCode::kNoReservation:
      return {code, "no-reservation", "no memory is reserved for a crash kernel (crashkernel=)"};
    case ExitCode::kReservationTooSmall:
      return {code, "reservation-too-small", "the crash reservation has too little room"};
    case ExitCode::kCrashSlotTaken:
      return {code, "crash-slot-taken", "somebody else's crash kernel is loaded"};
    case ExitCode::kCrashNoRoom:
      return {code, "crash-no-room", "the crash kernel would have no memory left to run in"};
    case ExitCode::kBadRegion:
      return {code, "bad-region", "there is no usable memory between --mem-min and --mem-max"};
    case ExitCode::kKexecFileNotBuilt:
      return {code, "kexec-file-not-built",
              "the running kernel has no kexec_file_load (CONFIG_KEXEC_FILE)"};
    case ExitCode::kSignature:
      return {code, "signature", "the running kernel does not accept the kernel's signature"};
    case ExitCode::kImaPolicy:
      return {code, "ima-policy", "IMA's policy does not accept a file"};
    case ExitCode::kRouteOption:
      return {code, "route-option", "the route cannot honour an option"};
    case ExitCode::kHalfOfMemory:
      return {code, "half-of-memory", "the kernel takes no image larger than half of the memory"};
    case ExitCode::kInternal:
      return {code, "internal", "a fault in khop: please report it"};
    case ExitCode::kDamagedImage:
      return {code, "damaged-image", "a kernel's container or compressed data is damaged"};
    case ExitCode::kUnsupportedImage:
      return {code, "unsupported-image", "a kernel is packed in a way that khop does not unpack"};
    case ExitCode::kTooLarge:
      return {code, "too-large", "a kernel unpacks to more than it says, or than memory holds"};
    case ExitCode::kOtherArchitecture:
      return {code, "other-architecture", "a kernel or entry is for another architecture"};
    case ExitCode::kNoEntry:
      return {code, "no-entry", "there is no such boot entry, or none at all"};
    case ExitCode::kBadEntry:
      return {code, "bad-entry", "a boot entry cannot be understood"};
    case ExitCode::kNoSandbox:
      return {code, "no-sandbox", "files cannot be read safely: the kernel has no seccomp"};
    case ExitCode::kUnpackerDied:
      return {code, "unpacker-died", "the process that reads an image died; nothing was loaded"};
    case ExitCode::kCannotHop:
      return {code, "cannot-hop", "doctor: something stands in the way of a hop"};
    case ExitCode::kHopUnknown:
      return {code, "hop-unknown", "doctor: what decides could not be read (run it as root)"};
    case ExitCode::kBadCapture:
      return {code, "bad-capture", "a capture is damaged, incomplete or of another version"};
    case ExitCode::kBadConfig:
      return {code, "bad-config", "/etc/khop.conf cannot be understood"};
    case ExitCode::kNoWatchdog:
      return {code, "no-watchdog", "no hardware watchdog would run on through the hop"};
  }
  return {code, {}, {}};
}

std::vector<ExitCodeInfo> AllExitCodes() {
  std::vector<ExitCodeInfo> all;
  for (int i = 0; i < 256; ++i) {
    const ExitCodeInfo info = DescribeExitCode(static_cast<ExitCode>(i));
    if (!info.name.empty()) all.push_back(info);
  }
  return all;
}

std::unexpected<Failure> Fail(ExitCode code, std::string_view what, std::string_view why,
                              std::string_view todo) {
  std::string message(what);
  message += ": ";
  message += why;
  if (!todo.empty()) {
    message += "; ";
    message += todo;
  }
  return std::unexpected<Failure>(Failure{code, Printable(message)});
}

std::unexpected<Failure> FailErrno(ExitCode code, std::string_view what, int error,
                                   std::string_view todo) {
  if (code == ExitCode::kSystemCall && error == ENOMEM) code = ExitCode::kNoMemory;
  return Fail(code, what, std::error_code(error, std::generic_category()).message(), todo);
}

std::unexpected<Failure> FailKernelFile(ExitCode if_missing, std::string_view what, int error,
                                        std::string_view todo) {
  if (error == ENOENT) return FailErrno(if_missing, what, error, todo);
  return FailErrno(ExitCode::kSystemCall, what, error);
}

std::string HumanBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"bytes", "KiB", "MiB", "GiB",
                                                        "TiB",   "PiB", "EiB"};
  std::array<char, 48> text{};
  size_t unit = 0;
  uint64_t whole = bytes;
  uint64_t rest = 0;  // of 1024
  while (whole >= 1024 && unit + 1 < kUnits.size()) {
    rest = whole % 1024;
    whole /= 1024;
    ++unit;
  }
  if (unit == 0) {
    std::snprintf(text.data(), text.size(), "%llu %s", static_cast<unsigned long long>(whole),
                  bytes == 1 ? "byte" : kUnits[0]);
  } else if (rest == 0) {
    std::snprintf(text.data(), text.size(), "%llu %s", static_cast<unsigned long long>(whole),
                  kUnits[unit]);
  } else {
    std::snprintf(text.data(), text.size(), "%llu.%llu %s", static_cast<unsigned long long>(whole),
                  static_cast<unsigned long long>(rest * 10 / 1024), kUnits[unit]);
  }
  return text.data();
}

std::string Hex(uint64_t value) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

std::string Utc(uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm utc = {};
  if (gmtime_r(&time, &utc) == nullptr) return "";  // a year beyond int
  std::array<char, 48> text{};
  const size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text.data(), size};
}

std::string Printable(std::string_view text) {
  std::string out(text);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    if (c < 0x20 || c == 0x7f) out[i] = '?';
    // The C1 controls in UTF-8 (C2 80 .. C2 9F) steer some terminals.
    if (c == 0xc2 && i + 1 < out.size()) {
      const auto next = static_cast<unsigned char>(out[i + 1]);
      if (next >= 0x80 && next <= 0x9f) out[i] = out[i + 1] = '?';
    }
  }
  return out;
}

}  // namespace khop
