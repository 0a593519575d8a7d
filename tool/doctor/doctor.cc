// SPDX-License-Identifier: MIT
#include "tool/doctor/doctor.h"

#include <charconv>

#include "tool/doctor/checks.h"
#include "tool/load/prepare.h"
#include "tool/load/running_tree.h"
#include "tool/system/cpus.h"
#include "tool/system/memory_map.h"

namespace khop::doctor {

using report::Level;

namespace {

std::optional<devicetree::Tree> ReadTree(system::System& system) {
  auto text = system::ReadFile(system, load::kRunningTree, 2 * devicetree::kMaxTreeSize);
  if (!text && system.EffectiveUid() != 0) {
    if (auto gathered = load::GatherRunningTree(system)) text = *std::move(gathered);
  }
  if (!text) return std::nullopt;
  auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(*text)), load::kRunningTree);
  if (!tree) return std::nullopt;
  return *std::move(tree);
}

}  // namespace

report::Doctor Examine(system::System& system) {
  Machine machine{.system = system,
                  .root = system.EffectiveUid() == 0,
                  .tree = ReadTree(system),
                  .memory = {},
                  .ram = 0,
                  .pages = {},
                  .speeds = system.MeasureSpeeds(),
                  .findings = {}};
  if (auto memory = system::ReadMemoryMap(system)) {
    memory->plain = load::PlainWithInitrd(system, *memory);
    machine.memory = *std::move(memory);
    for (const PhysRange& range : machine.memory->ram) machine.ram += range.size;
    const auto seen = system::FirstOf(machine.memory->plain, system::kMostPagesSeen);
    if (auto pages = system::ReadPageUse(system, seen)) machine.pages = *std::move(pages);
  } else {
    machine.ram = system::MemTotal(system).value_or(0);
  }
  if (const std::string name = system.Machine(); name != "aarch64") {
    machine.Add(Level::kBlocker, "machine", "this machine's kernel is " + name + ", not arm64",
                "khop hops on arm64 only", "run khop on the machine that is to hop");
  }
  if (!machine.root) {
    machine.Add(Level::kUnknown, "root", "you are not root",
                "addresses, free memory and the kernel log cannot be seen", "run khop as root");
  }
  CheckKexecCalls(machine);
  CheckLimits(machine);
  CheckLockdown(machine);
  CheckIma(machine);
  CheckProtectedKvm(machine);
  CheckFirmware(machine);
  CheckGic(machine);
  CheckGranules(machine);
  CheckContiguous(machine);
  CheckPageFlags(machine);
  CheckSharedMemory(machine);
  CheckCrashReservation(machine);
  CheckKernelTables(machine);
  CheckCpus(machine);
  CheckShutdown(machine);
  CheckWatchdog(machine);
  CheckSpeed(machine);

  const uint64_t cpus = system::OnlineCpus(system).size();
  report::Doctor doctor;
  doctor.machine = system.KernelRelease() + ", pages of " + HumanBytes(system.PageSize()) + ", " +
                   std::to_string(cpus) + (cpus == 1 ? " CPU, " : " CPUs, ") +
                   HumanBytes(machine.ram) + " of memory";
  doctor.routes = JudgeRoutes(machine);
  doctor.speeds = machine.speeds;
  doctor.findings = std::move(machine.findings);
  return doctor;
}

}  // namespace khop::doctor
