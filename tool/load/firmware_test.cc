// SPDX-License-Identifier: MIT
// A machine with UEFI and ACPI: its tree has no more than what the EFI stub wrote.
#include "tool/load/firmware.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include <cerrno>
#include <cstring>

#include "tool/acpi/tables.h"
#include "tool/acpi/test_tables.h"
#include "tool/devicetree/cells.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

using acpi::TestFadt;
using acpi::TestSpcr;
using devicetree::Tree;
using relocator::PsciConduit;
using testing::HasSubstr;

std::string StubTree() {
  std::string blob(1024, '\0');
  void* const fdt = blob.data();
  fdt_create(fdt, static_cast<int>(blob.size()));
  fdt_finish_reservemap(fdt);
  fdt_begin_node(fdt, "");
  fdt_begin_node(fdt, "chosen");
  fdt_property_u64(fdt, "linux,initrd-start", 0x48000000);
  fdt_property_u64(fdt, "linux,initrd-end", 0x49000000);
  fdt_property_u64(fdt, "linux,uefi-system-table", 0x7fd30018);
  fdt_end_node(fdt);
  fdt_end_node(fdt);
  fdt_finish(fdt);
  blob.resize(fdt_totalsize(fdt));
  return blob;
}

class FirmwareTest : public testing::Test {
 protected:
  FirmwareTest() {
    system_.SetFile("/sys/firmware/fdt", StubTree());
    system_.SetFile(acpi::kFadtPath, TestFadt(3));
    system_.SetFile(acpi::kSpcrPath, TestSpcr({}));
  }
  Result<Prepared> Try() { return Prepare(system_, machine_.Options()); }
  std::string Physical(uint64_t address, uint64_t size) {
    std::string bytes;
    for (uint64_t i = 0; i < size; ++i) {
      const std::byte* const at = system_.PhysicalBytes(address + i);
      bytes += at == nullptr ? '?' : static_cast<char>(*at);
    }
    return bytes;
  }

  TestMachine machine_;
  system::FakeSystem& system_ = machine_.system;
};

TEST_F(FirmwareTest, ConduitAndConsoleFromAcpi) {
  const auto prepared = Try();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->last_words.conduit, PsciConduit::kHvc);
  EXPECT_EQ(prepared->console, "pl011 at 0x9000000");
  EXPECT_TRUE(prepared->notes.empty());
  system_.SetFile(acpi::kFadtPath, TestFadt(1));
  EXPECT_EQ(Try()->last_words.conduit, PsciConduit::kSmc);
}

TEST_F(FirmwareTest, TheTreeComesFirst) {
  system_.SetFile("/sys/firmware/fdt", TestTree());
  system_.SetFile(acpi::kFadtPath, TestFadt(1));
  system_.SetFile(acpi::kSpcrPath, TestSpcr({.address = 0xa000000}));
  const auto prepared = Try();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->last_words.conduit, PsciConduit::kHvc);
  EXPECT_EQ(prepared->console, "pl011 at 0x9000000");
}

TEST_F(FirmwareTest, WithoutPsciThereIsNoLoad) {
  const auto why = [&] {
    const auto prepared = Try();
    EXPECT_FALSE(prepared);
    if (prepared) return std::string();
    EXPECT_EQ(prepared.error().code, ExitCode::kUnsupportedMachine);
    return prepared.error().message;
  };
  system_.SetFile(acpi::kFadtPath, TestFadt(0));
  EXPECT_THAT(why(), HasSubstr("its ACPI tables name no PSCI"));
  system_.SetFile(acpi::kFadtPath, TestFadt(1).substr(0, 200));
  EXPECT_THAT(why(), HasSubstr("FACP: the ACPI table is cut short"));
  system_.Remove(acpi::kFadtPath);
  EXPECT_THAT(why(), HasSubstr("its device tree names no PSCI"));
}

TEST_F(FirmwareTest, AnUnreadableTableIsSaid) {
  system_.Find(acpi::kFadtPath)->open_error = EACCES;
  const auto prepared = Try();
  ASSERT_FALSE(prepared);
  EXPECT_THAT(prepared.error().message, HasSubstr("FACP"));
}

// Last words are not worth a refusal.
TEST_F(FirmwareTest, WithoutAUsableSpcr) {
  std::string damaged = TestSpcr({});
  damaged[50] = 1;
  for (const std::string& spcr : {damaged, TestSpcr({.type = 0x0f}), std::string()}) {
    system_.SetFile(acpi::kSpcrPath, spcr);
    const auto prepared = Try();
    ASSERT_TRUE(prepared) << prepared.error().message;
    EXPECT_EQ(prepared->console, "");
    EXPECT_EQ(prepared->last_words.uart_kind, relocator::UartKind::kNone);
    EXPECT_THAT(prepared->notes.back(), HasSubstr("no UART for last words"));
  }
}

TEST_F(FirmwareTest, The8250OfTheSpcrMustBeAConsole) {
  system_.SetFile(acpi::kSpcrPath, TestSpcr({.type = 0x12}));
  EXPECT_THAT(Try()->notes.front(), HasSubstr("SPCR is no console of the running kernel"));
  system_.SetFile("/proc/consoles", "ttyS0 -W- (EC a) 4:64\n");
  EXPECT_EQ(Try()->console, "8250 at 0x9000000");
}

// The next tree always names an initrd: the user's, or an empty one.
TEST_F(FirmwareTest, EmptyInitrd) {
  LoadOptions options = machine_.Options();
  options.initrds.clear();
  const auto plan = Load(system_, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->conduit, "hvc");
  EXPECT_TRUE(plan->initrds.empty());
  EXPECT_THAT(plan->notes, testing::Contains(HasSubstr("no initrd was given")));
  std::map<std::string, report::Segment> segments;
  for (const auto& segment : plan->segments) segments[segment.name] = segment;
  ASSERT_TRUE(segments.contains("initrd"));
  const report::Segment& initrd = segments["initrd"];
  EXPECT_EQ(initrd.size, 124U);
  EXPECT_EQ(initrd.file_bytes, 0U);
  EXPECT_EQ(Physical(initrd.start, initrd.size),
            "070701" + std::string(32, '0') + "00000001" + std::string(48, '0') +
                "0000000b00000000TRAILER!!!" + std::string(4, '\0'));

  const std::string blob = Physical(segments["dtb"].start, segments["dtb"].size);
  const auto tree = Tree::Parse(std::as_bytes(std::span(blob)), "next");
  ASSERT_TRUE(tree) << tree.error().message;
  const size_t chosen = tree->FindChild(0, "chosen").value();
  const auto number = [&](std::string_view name) {
    return devicetree::ReadNumber(tree->Find(chosen, name).value());
  };
  EXPECT_EQ(number("linux,initrd-start"), initrd.start);
  EXPECT_EQ(number("linux,initrd-end"), initrd.start + initrd.size);
  EXPECT_EQ(number("linux,uefi-system-table"), 0x7fd30018U);
  EXPECT_NE(number("kaslr-seed"), 0U);
  // A node beside /chosen would make the next kernel prefer the tree to ACPI.
  EXPECT_EQ(tree->nodes().size(), 2U);
  EXPECT_EQ(Load(system_, machine_.Options(), NoProgress)->initrds.size(), 2U);
}

TEST_F(FirmwareTest, NoEmptyInitrdWithoutEfi) {
  system_.SetFile("/sys/firmware/fdt", TestTree());
  LoadOptions options = machine_.Options();
  options.initrds.clear();
  const auto prepared = Prepare(system_, options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->initrd_size, 0U);
  EXPECT_FALSE(prepared->tree_options.initrd);
}

// Without a memory node in the tree, what may be used is what the kernel has as plain RAM: of the
// UEFI map it keeps everything else out of it or marks it as reserved.
TEST_F(FirmwareTest, MemoryOfTheUefiMap) {
  system_.SetFile("/proc/iomem",
                  "40000000-7c3fffff : System RAM\n"
                  "  7c000000-7c00ffff : reserved\n"  // ACPI tables, MEMRESERVE
                  "7c400000-7c42ffff : reserved\n"    // runtime services
                  "7c430000-7fffffff : System RAM\n");
  const auto prepared = Try();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_TRUE(prepared->map.IsPlain({PhysAddr{0x7be00000}, 0x200000}));
  EXPECT_FALSE(prepared->map.IsPlain({PhysAddr{0x7c000000}, 0x1000}));
  EXPECT_FALSE(prepared->map.IsPlain({PhysAddr{0x7c400000}, 0x1000}));
}

}  // namespace
}  // namespace khop::load
