// SPDX-License-Identifier: MIT
#include "tool/load/gather_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tool/devicetree/tree.h"

namespace khop::load {
namespace {

std::string TreeText(const HopReplay& hop, std::string_view property) {
  const std::string bytes = hop.Bytes(hop.dtb, hop.dtb_size);
  const auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(bytes)), "next");
  if (!tree) return "no tree";
  const auto value = tree->Find(*tree->FindNode("/chosen"), property);
  if (!value) return "no property";
  return {reinterpret_cast<const char*>(value->data()), value->size()};
}

uint64_t BigEndian(const std::string& text) {
  uint64_t value = 0;
  for (const char c : text) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

GatherMachine::GatherMachine(uint32_t seed, uint64_t pages) {
  static const std::string image = TestImage(kTestImageSize, kTestImageMemory);
  system.SetFile("/proc/iomem",
                 "40000000-41ffffff : System RAM\n  40000000-403fffff : Kernel code\n");
  system.SetFile("/boot/Image", image);
  std::string initrd(100'001, 'i');
  for (size_t i = 0; i < initrd.size(); ++i) initrd[i] = static_cast<char>(i / 5);
  system.SetFile("/boot/initrd", initrd);
  system.free_pages.clear();
  std::mt19937 random(seed);
  std::set<uint64_t> taken;
  while (taken.size() < pages) {
    const uint64_t page = 0x40000000 + (1024 + random() % 7168) * kTestPage;
    if (taken.insert(page).second) system.base_pages.push_back(page);
  }
}

LoadOptions GatherMachine::Options(Route route) const {
  LoadOptions options = TestMachine::Options();
  options.initrds = {"/boot/initrd"};
  options.route = route;
  return options;
}

const report::Segment& FindSegment(const report::Plan& plan, std::string_view name) {
  for (const auto& segment : plan.segments) {
    if (segment.name == name) return segment;
  }
  ADD_FAILURE() << name;
  return plan.segments.front();
}

uint64_t UnownedPage(const GatherMachine& machine, const report::Segment& part) {
  const auto held = machine.system.Held(kTestPage);
  uint64_t page = part.start;
  while (std::ranges::find(held, page) != held.end()) page += kTestPage;
  EXPECT_LT(page, part.start + part.size);
  return page;
}

std::vector<uint64_t> NotCleaned(GatherMachine& machine) {
  std::vector<uint64_t> pages;
  for (const uint64_t page : machine.system.Held(kTestPage)) {
    const std::byte* at = machine.system.PhysicalBytes(page);
    const std::byte* const end = at + kTestPage;
    const auto& cleaned = machine.system.cleaned;
    for (auto next = cleaned.upper_bound(at); next != cleaned.begin() && at < end;) {
      --next;
      if (next->first + next->second <= at) break;
      at = next->first + next->second;
      next = cleaned.upper_bound(at);
    }
    if (at < end) pages.push_back(page);
  }
  return pages;
}

void ExpectHop(GatherMachine& machine, const report::Plan& plan, const std::string& where) {
  SCOPED_TRACE(where);
  const HopReplay hop(machine.system);
  EXPECT_EQ(hop.entry, plan.entry);
  EXPECT_EQ(hop.entry % (2 << 20), 0U);
  EXPECT_EQ(hop.moves, plan.moves);
  EXPECT_EQ(hop.mmu, plan.mmu == "on");
  EXPECT_TRUE(hop.Verified() || plan.digest == "none");
  EXPECT_EQ(hop.Bytes(hop.entry, kTestImageSize), machine.system.Find("/boot/Image")->text);
  const auto& initrd = FindSegment(plan, "initrd");
  EXPECT_EQ(hop.Bytes(initrd.start, initrd.size), machine.system.Find("/boot/initrd")->text);
  EXPECT_EQ(BigEndian(TreeText(hop, "linux,initrd-start")), initrd.start);
  EXPECT_EQ(BigEndian(TreeText(hop, "linux,initrd-end")), initrd.start + initrd.size);
  EXPECT_EQ(TreeText(hop, "khop,route"), std::string("gather\0", 7));
  EXPECT_EQ(hop.dtb / (2 << 20), (hop.dtb + hop.dtb_size - 1) / (2 << 20));
  // No page of the BSS is as its last user left it.
  const uint64_t bss = AlignUp(plan.entry + kTestImageSize, kTestPage);
  const uint64_t end = AlignUp(plan.entry + kTestImageMemory, kTestPage);
  for (uint64_t at = bss; at < end; at += kTestPage) {
    EXPECT_NE(hop.Bytes(at, 1), "\xee") << std::hex << at;
  }
}

}  // namespace khop::load
