// SPDX-License-Identifier: MIT
#include "tool/load/small_machine.h"

#include <gtest/gtest.h>

#include <random>

#include "tool/load/replay_hop.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;

const TestMachine::Files& SmallFiles() {
  static const TestMachine::Files files = {{"/boot/Image", TestImage(20'000, 40'000)},
                                           {"/boot/initrd", std::string(10'000, 'i')}};
  return files;
}

}  // namespace

SmallMachine::SmallMachine(Route wanted, uint64_t own_pool)
    : TestMachine(SmallFiles()), route(wanted) {
  if (route == Route::kInPlace) {
    system.free_pages.resize(16);
    system.SetPool(own_pool);
    return;
  }
  system.SetFile("/proc/iomem",
                 "40000000-407fffff : System RAM\n  40000000-401fffff : Kernel code\n");
  system.free_pages.clear();
  std::mt19937 random(5);
  for (uint64_t i = 0; i < 120; ++i) {
    system.base_pages.push_back(0x40200000 + (i * 7 + random() % 7) * kPage);
  }
  for (uint64_t i = 0; i < 3; ++i) {
    system.pools[64 << 10].free.push_back(0x40700000 + i * (128 << 10));
  }
}

LoadOptions SmallMachine::Options() const {
  LoadOptions options = TestMachine::Options();
  options.initrds = {"/boot/initrd"};
  options.route = route;
  options.digest = handoff::DigestKind::kCrc32c;
  return options;
}

Result<report::Plan> SmallMachine::LoadAnew() {
  system.NewProcess();
  return Load(system, Options(), NoProgress);
}

Result<void> SmallMachine::ExecAnew() {
  system.NewProcess();
  return Exec(system, ExecMode::kNow, NoProgress);
}

Result<bool> SmallMachine::UnloadAnew() {
  system.NewProcess();
  return Unload(system);
}

std::set<std::string> SmallMachine::Files() const {
  const std::string directory = "/run/khop/";
  std::set<std::string> names;
  for (const auto& [path, file] : system.files()) {
    if (path.starts_with(directory)) names.insert(path.substr(directory.size()));
  }
  names.erase("lock");
  return names;
}

void SmallMachine::MigrateSome() {
  const auto held = system.Held(kPage);
  for (size_t i = 0; i < 6; ++i) {
    const uint64_t to = system.base_pages.back();
    system.base_pages.pop_back();
    system.Migrate(held[i * 2], to);
    system.base_pages.push_back(held[i * 2]);
  }
}

std::string Name(Route route) { return route == Route::kInPlace ? "in-place" : "gather"; }

void ExpectSoundHop(SmallMachine& machine, const std::string& where) {
  SCOPED_TRACE(where);
  ASSERT_TRUE(machine.system.loaded);
  const HopReplay hop(machine.system);
  EXPECT_TRUE(hop.Verified());
  const std::string& image = machine.system.Find("/boot/Image")->text;
  EXPECT_EQ(hop.Bytes(hop.entry, image.size()), image);
}

}  // namespace khop::load
