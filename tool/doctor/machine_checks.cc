// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cerrno>

#include "tool/devicetree/machine.h"
#include "tool/doctor/checks.h"
#include "tool/load/failure_record.h"
#include "tool/load/firmware.h"
#include "tool/report/text.h"
#include "tool/system/cpu_granules.h"
#include "tool/system/cpus.h"
#include "tool/system/offline_time.h"
#include "tool/system/watchdog.h"

namespace khop::doctor {

using report::Level;
using system::ReadFile;

namespace {

std::string WithoutNewline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// A failure's message is "what: why; what to do".
void AddFailure(Machine& machine, Level level, std::string name, const Failure& failure,
                std::string meaning) {
  const size_t semicolon = failure.message.rfind("; ");
  machine.Add(level, std::move(name), failure.message.substr(0, semicolon), std::move(meaning),
              semicolon == std::string::npos ? "" : failure.message.substr(semicolon + 2));
}

}  // namespace

void CheckFirmware(Machine& machine) {
  if (!machine.tree) {
    machine.Add(Level::kUnknown, "firmware", "the device tree cannot be read",
                "how a failed hop would reset this machine is not known", "run khop as root");
    return;
  }
  load::Prepared prepared;
  auto tree = devicetree::Tree::Parse(machine.tree->blob(), machine.tree->name());
  if (!tree) return;
  prepared.tree = *std::move(tree);
  const auto done = load::PrepareFirmware(machine.system, load::LoadOptions{}, prepared);
  if (!done) {
    AddFailure(machine, Level::kBlocker,
               done.error().code == ExitCode::kCpusStuck ? "spin-table" : "psci", done.error(),
               "the kernel refuses to kexec, or a failed hop would hang for good");
    return;
  }
  const bool smc = prepared.last_words.conduit == relocator::PsciConduit::kSmc;
  machine.Add(Level::kGood, "psci", std::string("PSCI by ") + (smc ? "smc" : "hvc"),
              "CPUs can be stopped, and a failed hop resets the machine");
  if (prepared.console.empty()) {
    machine.Add(Level::kWarning, "console", "no UART that the relocator can write to",
                "a failed hop resets without a line that says why",
                "boot with earlycon= or stdout-path naming the UART in use");
  } else {
    machine.Add(Level::kGood, "console", prepared.console, "a failed hop says why there");
  }
  std::vector<std::string> notes;
  const auto record = load::FindRecordPlace(machine.system, prepared.tree.value(),
                                            machine.memory.value_or(system::MemoryMap{}), notes);
  if (record) {
    machine.Add(Level::kGood, "failure-record",
                record->source + " at " + Hex(record->range.start.value),
                "the boot after a failed hop can tell why it failed");
  } else {
    machine.Add(Level::kNote, "failure-record",
                notes.empty() ? "no memory is set aside for a failed hop's record" : notes.front(),
                "why a hop failed stands on the console only",
                "set up ramoops, or a region of khop's own (docs/safety.md)");
  }
}

void CheckGic(Machine& machine) {
  if (!machine.tree || !devicetree::HasIts(*machine.tree)) {
    machine.Add(Level::kGood, "gic", "no interrupt controller with an ITS in the device tree",
                "no tables that the next kernel must not overwrite");
    return;
  }
  if (devicetree::BootedByUefi(*machine.tree)) {
    machine.Add(Level::kGood, "gic", "GICv3 with ITS, booted by UEFI",
                "UEFI's list of reservations keeps its tables for the next kernel");
    return;
  }
  const system::LpiTables tables = load::ReadLpiTables(machine.system, *machine.tree);
  if (tables.missing.empty()) {
    machine.Add(Level::kGood, "gic",
                "GICv3 with ITS: " + std::to_string(tables.ranges.size()) + " LPI tables known",
                "khop reserves them for the next kernel");
  } else {
    machine.Add(Level::kWarning, "gic", "the kernel log does not tell " + tables.missing,
                "the next kernel may give memory out that the GIC writes to",
                "boot with a larger log_buf_len=, or hop soon after boot");
  }
}

void CheckGranules(Machine& machine) {
  std::string known;
  for (const uint64_t granule : {4096U, 16384U, 65536U}) {
    if (granule != machine.system.PageSize() && !system::CpusHaveGranule(machine.system, granule)) {
      continue;
    }
    known += (known.empty() ? "" : ", ") + HumanBytes(granule);
  }
  machine.Add(Level::kGood, "granules", "kernels with pages of " + known,
              "other page sizes are refused: these CPUs are not known to have them");
}

void CheckCpus(Machine& machine) {
  const uint64_t cpus = system::OnlineCpus(machine.system).size();
  const system::OfflineTime time = system::EstimateOffline(cpus);
  std::string meaning = "no time goes into stopping others";
  if (cpus > 1) {
    meaning = "between " + report::Duration(time.least) + " and " + report::Duration(time.most) +
              " of the blackout: an estimate from other machines, not measured";
  }
  machine.Add(time.most > 5'000'000'000 ? Level::kWarning : Level::kNote, "cpu-offline", time.text,
              meaning, cpus > 16 ? "idle CPUs stop sooner: stop what runs before the hop" : "");
}

void CheckWatchdog(Machine& machine) {
  static const std::string kClass = "/sys/class/watchdog";
  const auto names = machine.system.ListDirectory(kClass);
  if (!names || names->empty()) {
    machine.Add(Level::kNote, "watchdog", "no hardware watchdog",
                "a next kernel that starts and then hangs stays so",
                "be near a power switch, or use a machine with a watchdog");
    return;
  }
  const std::string path = kClass + "/" + *std::ranges::min_element(*names);
  const auto identity = ReadFile(machine.system, path + "/identity", 256);
  const auto state = ReadFile(machine.system, path + "/state", 64);
  const auto timeout = ReadFile(machine.system, path + "/timeout", 64);
  const bool active = state && state->starts_with("active");
  const std::string fact = WithoutNewline(identity.value_or("a watchdog")) + ", " +
                           (active ? "running" : "not running") +
                           (timeout ? ", " + WithoutNewline(*timeout) + " s" : "");
  if (const auto found = system::FindWatchdog(machine.system)) {
    machine.Add(Level::kGood, "watchdog", fact, "the kernel leaves it alone at a reboot",
                "khop exec --watchdog SECONDS resets the machine if the next system hangs");
  } else {
    machine.Add(Level::kNote, "watchdog", fact,
                "a next kernel that starts and then hangs stays so: " + found.error().message);
  }
}

void CheckSpeed(Machine& machine) {
  constexpr uint64_t kPayload = uint64_t{100} << 20;
  const auto& speeds = machine.speeds;
  if (speeds.sha256 == 0 || speeds.copy == 0) return;
  const auto time = [&](uint64_t speed) {
    return report::Duration(
        static_cast<uint64_t>(1e9 * static_cast<double>(kPayload) / static_cast<double>(speed)));
  };
  machine.Add(Level::kNote, "speed",
              "measured now: copy " + HumanBytes(speeds.copy) + "/s, SHA-256 " +
                  HumanBytes(speeds.sha256) + "/s, CRC-32C " + HumanBytes(speeds.crc32c) + "/s",
              "a payload of 100 MiB: moved in " + time(speeds.copy) + ", verified in " +
                  time(speeds.sha256) + " (crc32c: " + time(speeds.crc32c) + ")",
              speeds.sha256 < 200'000'000 ? "--verify crc32c is faster here" : "");
}

void CheckShutdown(Machine& machine) {
  if (machine.system.Lstat("/run/systemd/system")) {
    machine.Add(Level::kGood, "shutdown", "systemd runs this machine",
                "khop exec has it stop all services and then hop; --now hops at once");
  } else {
    machine.Add(Level::kNote, "shutdown", "no systemd",
                "khop exec stops no service: it hops at once, as with --now",
                "stop what must be stopped first");
  }
}

}  // namespace khop::doctor
