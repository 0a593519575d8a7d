// SPDX-License-Identifier: MIT
#include "tool/load/firmware.h"

#include <cerrno>

#include "tool/acpi/tables.h"
#include "tool/load/tty.h"

namespace khop::load {

using devicetree::Console;
using relocator::PsciConduit;
using system::System;

namespace {

// Whether the kernel prints to a UART of this kind now (/proc/consoles: "ttyAMA0 -W- (EC a) …").
bool ConsoleInUse(System& system, relocator::UartKind kind) {
  const auto text = system::ReadFile(system, "/proc/consoles");
  if (!text) return false;
  const auto has = [&](std::string_view name) {
    return text->starts_with(name) || text->find("\n" + std::string(name)) != std::string::npos;
  };
  return kind == relocator::UartKind::kPl011 ? has("ttyAMA") || has("pl11")
                                             : has("ttyS") || has("uart");
}

// The tree's word counts: a kernel that uses a device tree does not look at ACPI, and then there is
// no /sys/firmware/acpi.
Result<PsciConduit> FindConduit(System& system, const devicetree::Tree& tree) {
  if (const PsciConduit found = devicetree::FindPsciConduit(tree); found != PsciConduit::kNone) {
    return found;
  }
  const auto fadt = system::ReadFile(system, acpi::kFadtPath);
  if (!fadt && fadt.error().value != ENOENT) {
    return FailErrno(ExitCode::kSystemCall, acpi::kFadtPath, fadt.error().value);
  }
  if (fadt) {
    const auto conduit = acpi::FindPsciConduit(std::as_bytes(std::span(*fadt)), acpi::kFadtPath);
    if (!conduit || *conduit != PsciConduit::kNone) return conduit;
  }
  return Fail(ExitCode::kUnsupportedMachine, "this machine",
              std::string(fadt ? "its ACPI tables name" : "its device tree names") +
                  " no PSCI, so a failed hop could not reset it",
              "update its firmware to one with PSCI");
}

// CPUs of spin tables never come back from the kernel, not even when they are offline, so it
// refuses (machine_kexec_prepare(), with EBUSY). It does not if it never had more than the one that
// jumps: then the others still wait in the firmware's memory, where the next kernel finds them.
Result<void> CheckCpus(System& system, const devicetree::Tree& next) {
  const auto possible = system::ReadFile(system, "/sys/devices/system/cpu/possible", 65536);
  if (possible && *possible == "0\n") return {};
  bool spin_table = devicetree::UsesSpinTable(next);
  // `next` may be another one (--dtb).
  const auto running = ReadRunningTree(system);
  spin_table = spin_table || (running && devicetree::UsesSpinTable(*running));
  if (!spin_table) return {};
  return Fail(ExitCode::kCpusStuck, "this machine",
              "its CPUs start by spin tables, so the kernel cannot stop them",
              "update its firmware to one with PSCI, or boot with nr_cpus=1");
}

// A machine resets without a console too, so that one that is not understood is only noted.
std::optional<Console> FindUart(System& system, Prepared& prepared) {
  const auto running = system::ReadFile(system, "/proc/cmdline");
  if (auto console = devicetree::FindConsole(*prepared.tree, running.value_or(""))) return console;
  if (const auto spcr = system::ReadFile(system, acpi::kSpcrPath)) {
    auto console = acpi::FindConsole(std::as_bytes(std::span(*spcr)), acpi::kSpcrPath);
    // cppcheck-suppress identicalInnerCondition ; one is the error's, one the option's
    if (console && *console) return *console;
    if (!console) prepared.notes.push_back(console.error().message);
  }
  prepared.notes.emplace_back("no UART for last words: a failed hop resets without a message");
  return std::nullopt;
}

// Whether a kernel that gets `tree` boots by UEFI: its EFI stub made it, or added to it.
bool BootsByEfi(const devicetree::Tree& tree) {
  const auto chosen = tree.FindChild(0, "chosen");
  return chosen && tree.Find(*chosen, "linux,uefi-system-table").has_value();
}

// An archive in the newc format (cpio(5)) without any file: only its end, a record with no mode and
// one link whose name has 11 bytes, padded to a multiple of 4.
std::string EmptyCpio() {
  constexpr size_t kSize = 124;
  std::string archive = "070701" + std::string(size_t{8} * 4, '0') + "00000001" +
                        std::string(size_t{8} * 6, '0') + "0000000b" + "00000000" + "TRAILER!!!";
  archive.resize(kSize);
  return archive;
}

}  // namespace

Result<void> PrepareFirmware(System& system, const LoadOptions& options, Prepared& prepared) {
  if (const auto cpus = CheckCpus(system, *prepared.tree); !cpus) return cpus;
  const auto conduit = FindConduit(system, *prepared.tree);
  if (!conduit) return Forward(conduit);
  prepared.last_words.conduit = *conduit;
  std::optional<Console> console;
  if (options.console_tty) {
    auto named = UartOfTty(system, *options.console_tty);
    if (!named) return Forward(named);
    console = *std::move(named);
  } else {
    console = FindUart(system, prepared);
  }
  if (!console) return {};
  if (!options.console_tty && !ConsoleInUse(system, console->kind)) {
    prepared.notes.emplace_back("the UART " + console->source + " is no console of the running " +
                                "kernel: a failed hop resets without a message");
    return {};
  }
  console->CopyTo(prepared.last_words);
  prepared.console = (console->kind == relocator::UartKind::kPl011 ? "pl011 at " : "8250 at ") +
                     Hex(console->base);
  return {};
}

void SupplyInitrd(Prepared& prepared) {
  // The tree that the next kernel gets decides, and not what this one booted by: that may be --dtb.
  if (prepared.initrd_size != 0 || !BootsByEfi(*prepared.tree)) return;
  prepared.made_initrd = EmptyCpio();
  prepared.initrd_size = prepared.made_initrd.size();
  prepared.notes.emplace_back(
      "no initrd was given: an empty one keeps the next kernel from the first boot's, gone by now");
}

}  // namespace khop::load
