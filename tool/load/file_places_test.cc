// SPDX-License-Identifier: MIT
#include "tool/load/file_places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;

PhysRange At(uint64_t start, uint64_t end) { return {{start}, end - start}; }

TEST(KexecFilePlaces, KernelThenInitrdThenTreeAtTheTop) {
  // Of a real machine: below the running kernel, behind it, behind the first initrd.
  const Ranges free = {At(0x40000000, 0x40200000), At(0x40830000, 0x48000000),
                       At(0x49b00000, 0x7e000000)};
  const PayloadSizes sizes = {.image_size = 0x630000, .initrd_size = 0x189b001};
  EXPECT_THAT(KexecFilePlaces(free, sizes, kPage),
              testing::ElementsAre(At(0x40a00000, 0x41030000), At(0x41030000, 0x428cc000),
                                   At(0x7dc00000, 0x7e000000)));
}

TEST(KexecFilePlaces, WhatDoesNotFitGoesFurtherUp) {
  const Ranges free = {At(0x40000000, 0x40400000), At(0x41001000, 0x41200000),
                       At(0x42000000, 0x42800000)};
  // The kernel leaves 64 KiB in front of itself; the initrd does not go below the kernel.
  EXPECT_THAT(KexecFilePlaces(free, {.text_offset = 0x10000, .image_size = 0x3f0001}, kPage),
              testing::Contains(At(0x42000000, 0x42401000)));
  EXPECT_THAT(KexecFilePlaces(free, {.image_size = 0x400000, .initrd_size = 0x200000}, kPage),
              testing::IsSupersetOf({At(0x40000000, 0x40400000), At(0x42000000, 0x42200000)}));
  EXPECT_THAT(KexecFilePlaces(free, {.image_size = 0x900000}, kPage), testing::IsEmpty());
  EXPECT_THAT(KexecFilePlaces(free, {.image_size = 0x10, .initrd_size = 0x900000}, kPage),
              testing::IsEmpty());
}

// The tree's size is not known: a small one fits into the last, short block, another does not.
TEST(KexecFilePlaces, TheTreeMayBeInTheLastBlockOrTheOneBefore) {
  const Ranges free = {At(0x40000000, 0x40800000), At(0x40a00000, 0x40a10000)};
  EXPECT_THAT(KexecFilePlaces(free, {.image_size = 0x1000}, kPage),
              testing::ElementsAre(At(0x40000000, 0x40001000), At(0x40400000, 0x40800000),
                                   At(0x40a00000, 0x40a10000)));
}

class FileRouteAndGicTest : public testing::Test {
 protected:
  FileRouteAndGicTest() {
    machine_.system.kexec_file_error = 0;
    machine_.system.SetFile("/sys/firmware/fdt", TestTreeWithIts("bootargs"));
    machine_.system.SetFile("/proc/iomem",
                            "40000000-7fffffff : System RAM\n"
                            "  40200000-4082ffff : Kernel code\n"
                            "  48000000-48ffffff : reserved\n");
    options_ = machine_.Options();
    options_.route = Route::kFile;
    options_.initrds = {"/boot/initrd"};
  }
  void TablesAt(const std::string& property, const std::string& pending) {
    machine_.system.kernel_log = "6,0,0,-;GICv3: using LPI property table @0x00000000" + property +
                                 "\n6,1,0,-;GICv3: CPU0: using allocated LPI pending table "
                                 "@0x00000000" +
                                 pending + "\n";
  }
  // Load and plan say the same.
  void ExpectRefused(const std::string& says) {
    const auto load = Load(machine_.system, options_, NoProgress);
    ASSERT_FALSE(load);
    EXPECT_EQ(load.error().code, ExitCode::kUnsafeSystem);
    EXPECT_THAT(load.error().message, testing::HasSubstr(says));
    EXPECT_EQ(machine_.system.loaded, nullptr);
    const auto plan = PlanLoad(machine_.system, options_);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error(), load.error());
  }
  void ExpectLoaded(const testing::Matcher<const std::vector<std::string>&>& notes) {
    const auto load = Load(machine_.system, options_, NoProgress);
    ASSERT_TRUE(load) << load.error().message;
    EXPECT_THAT(load->notes, notes);
    ASSERT_TRUE(Unload(machine_.system));
  }

  TestMachine machine_;
  LoadOptions options_;
};

TEST_F(FileRouteAndGicTest, NotOverTheTables) {
  TablesAt("40c50000", "70000000");  // in the kernel
  ExpectRefused(
      "would put the next one at 0x40a00000, over the GIC's tables for LPIs at 0x40c50000");
  TablesAt("70000000", "40d90000");  // a pending table, in the initrd
  ExpectRefused("over the GIC's tables for LPIs at 0x40d90000");
  TablesAt("7fff0000", "70000000");  // in the tree
  ExpectRefused("over the GIC's tables for LPIs at 0x7fff0000");
  options_.route = Route::kAuto;
  machine_.system.SetFile("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const auto load = Load(machine_.system, options_, NoProgress);
  ASSERT_FALSE(load);
  EXPECT_THAT(load.error().message, testing::HasSubstr("0x7fff0000"));
}

TEST_F(FileRouteAndGicTest, ElsewhereWithAWord) {
  TablesAt("70000000", "70010000");
  ExpectLoaded(testing::Contains(testing::HasSubstr("does not reserve the GIC's tables")));
}

TEST_F(FileRouteAndGicTest, NotWhereNobodyKnowsTheTables) {
  machine_.system.kernel_log = "6,900,0,-;late\n";
  ExpectRefused("the kernel log does not tell any more where the GIC keeps");
}

// After a hop by another route the tree has them, and UEFI keeps a list.
TEST_F(FileRouteAndGicTest, NothingToSayWhereTheyAreReserved) {
  for (const char* property : {"khop,from", "linux,uefi-system-table"}) {
    TablesAt("7b000000", "7b010000");
    machine_.system.SetFile("/sys/firmware/fdt", TestTreeWithIts(property));
    ExpectLoaded(testing::Each(testing::Not(testing::HasSubstr("GIC"))));
  }
}

// /proc/iomem has the first initrd as reserved, the kernel may have freed it.
TEST_F(FileRouteAndGicTest, TheFirstInitrdsPlaceCounts) {
  std::string tree = TestTreeWithIts("bootargs");
  const int chosen = fdt_path_offset(tree.data(), "/chosen");
  fdt_setprop_u64(tree.data(), chosen, "linux,initrd-start", 0x48000000);
  fdt_setprop_u64(tree.data(), chosen, "linux,initrd-end", 0x48ffff00);
  machine_.system.SetFile("/sys/firmware/fdt", tree);
  machine_.system.SetFile("/proc/iomem",
                          "40000000-7fffffff : System RAM\n"
                          "  40000000-47ffffff : Kernel code\n"
                          "  48000000-48ffffff : reserved\n");
  TablesAt("48010000", "70000000");
  ExpectRefused("over the GIC's tables for LPIs at 0x48010000");
  TablesAt("49010000", "70000000");
  ExpectRefused("over the GIC's tables for LPIs at 0x49010000");
}

}  // namespace
}  // namespace khop::load
