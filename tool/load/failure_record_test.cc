// SPDX-License-Identifier: MIT
#include "tool/load/failure_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstring>

#include "core/handoff/failure_record.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kRegion = 0x7fe00000;
constexpr const char* kPath = "/reserved-memory/region@7fe00000";

struct Cell {
  const char* name;
  uint32_t value;
};

// TestTree() with a reserved region of `size` bytes at kRegion.
std::string TreeWith(const char* compatible, uint64_t size, const std::vector<Cell>& cells,
                     bool no_map = true) {
  std::string blob(8192, '\0');
  void* const fdt = blob.data();
  EXPECT_EQ(fdt_open_into(TestTree().data(), fdt, 8192), 0);
  const int parent = fdt_add_subnode(fdt, 0, "reserved-memory");
  fdt_setprop_u32(fdt, parent, "#address-cells", 2);
  fdt_setprop_u32(fdt, parent, "#size-cells", 2);
  fdt_setprop_empty(fdt, parent, "ranges");
  const int node = fdt_add_subnode(fdt, parent, "region@7fe00000");
  fdt_setprop(fdt, node, "compatible", compatible, static_cast<int>(strlen(compatible)) + 1);
  const fdt64_t reg[2] = {cpu_to_fdt64(kRegion), cpu_to_fdt64(size)};
  fdt_setprop(fdt, node, "reg", reg, sizeof(reg));
  if (no_map) fdt_setprop_empty(fdt, node, "no-map");
  for (const Cell& cell : cells) fdt_setprop_u32(fdt, node, cell.name, cell.value);
  return blob;
}

class FailureRecordTest : public testing::Test {
 protected:
  FailureRecordTest() {
    machine_.system.SetFile("/proc/iomem",
                            "40000000-7fdfffff : System RAM\n"
                            "7fe00000-7fefffff : reserved\n"
                            "7ff00000-7fffffff : System RAM\n");
  }

  // What a plan says, from the tree as firmware made it.
  std::string Planned(const std::string& tree) {
    machine_.system.SetFile("/sys/firmware/fdt", tree);
    const auto prepared = Prepare(machine_.system, machine_.Options());
    EXPECT_TRUE(prepared) << prepared.error().message;
    notes_ = prepared->notes;
    EXPECT_EQ(prepared->last_words.record_size,
              prepared->failure_record.empty() ? 0 : handoff::kMinFailureRecord);
    EXPECT_EQ(prepared->last_words.record_base, prepared->failure_record.empty() ? 0 : kRegion);
    EXPECT_GT(prepared->last_words.loaded_at, 1'700'000'000U);
    return prepared->failure_record;
  }
  void SetModule(const std::vector<Cell>& parameters) {
    for (const Cell& parameter : parameters) {
      machine_.system.SetFile(std::string("/sys/module/ramoops/parameters/") + parameter.name,
                              std::to_string(parameter.value) + "\n");
    }
  }
  std::vector<report::FailedHop> Read(const std::string& tree) {
    const auto parsed = devicetree::Tree::Parse(std::as_bytes(std::span(tree)), "tree");
    EXPECT_TRUE(parsed);
    notes_.clear();
    return ReadFailedHops(machine_.system, &*parsed, notes_);
  }

  TestMachine machine_;
  std::vector<std::string> notes_;
};

TEST_F(FailureRecordTest, NowhereByItself) {
  EXPECT_EQ(Planned(TestTree()), "");
  EXPECT_THAT(notes_, testing::IsEmpty());
}

TEST_F(FailureRecordTest, ARegionOfTheTree) {
  const std::string there = std::string(kPath) + " at 0x7fe00000";
  EXPECT_EQ(Planned(TreeWith(kRecordCompatible, 0x1000, {})), there);
  EXPECT_EQ(Planned(TreeWith(kRecordCompatible, 256, {})), "") << "too small";
  EXPECT_EQ(Planned(TreeWith(kRecordCompatible, 0x1000, {}, false)), "") << "not readable later";
  EXPECT_EQ(Planned(TreeWith("ramoops", 0x10000, {{"record-size", 0x1000}})), there);
  EXPECT_EQ(Planned(TreeWith("ramoops", 0x10000, {{"record-size", 0x1000}}, false)), there);
  EXPECT_EQ(Planned(TreeWith("ramoops", 0x10000, {})), "") << "it keeps no records";
  EXPECT_EQ(Planned(TreeWith("ramoops", 0x10000, {{"record-size", 0x1000}, {"ecc-size", 16}})), "");
  EXPECT_EQ(
      Planned(TreeWith("ramoops", 0x10000, {{"record-size", 0x1000}, {"console-size", 0x10000}})),
      "")
      << "no room for one";
}

TEST_F(FailureRecordTest, TheDriverKnowsBest) {
  SetModule({{"mem_address", kRegion},
             {"mem_size", 0x10000},
             {"record_size", 0x4000},
             {"ecc", 0},
             {"console_size", 0x4000}});
  EXPECT_EQ(Planned(TestTree()), "ramoops at 0x7fe00000");
  SetModule({{"console_size", 0x10000}});
  EXPECT_EQ(Planned(TestTree()), "");
  SetModule({{"console_size", 0}, {"ecc", 1}});
  EXPECT_EQ(Planned(TestTree()), "");
  EXPECT_THAT(notes_, testing::ElementsAre(testing::HasSubstr("ECC")));
  SetModule({{"ecc", 0}, {"record_size", 256}});
  EXPECT_EQ(Planned(TestTree()), "");
}

// Memory that the kernel gives out would be overwritten, before or after.
TEST_F(FailureRecordTest, NeverInPlainMemory) {
  machine_.system.SetFile("/proc/iomem", "40000000-7fffffff : System RAM\n");
  EXPECT_EQ(Planned(TreeWith(kRecordCompatible, 0x1000, {})), "");
  EXPECT_THAT(notes_, testing::ElementsAre(testing::HasSubstr("not reserved")));
}

constexpr const char* kText =
    "khop: payload digest does not match at 0x46200000; resetting\nkhop: loaded at 1764000000\n";

std::string Region(uint32_t signature, const std::string& text) {
  const handoff::FailureRecordHeader header = {signature, static_cast<uint32_t>(text.size()),
                                               static_cast<uint32_t>(text.size())};
  std::string region(handoff::kMinFailureRecord, '\xff');
  memcpy(region.data(), &header, sizeof(header));
  memcpy(region.data() + sizeof(header), text.data(),
         std::min(text.size(), region.size() - sizeof(header)));
  return region;
}

TEST_F(FailureRecordTest, ReadsPstore) {
  machine_.system.SetFile("/sys/fs/pstore/dmesg-ramoops-0", kText);
  machine_.system.SetFile("/sys/fs/pstore/dmesg-ramoops-1", "Oops#1 Part1\n");
  machine_.system.SetFile("/sys/fs/pstore/console-ramoops-0", kText);
  machine_.system.SetFile("/var/lib/systemd/pstore/1764000001/dmesg-ramoops-0",
                          "khop: exception, ESR 0x96000005 ELR 0x1 FAR 0x2; resetting\n");
  const auto failed = Read(TestTree());
  ASSERT_EQ(failed.size(), 2U);
  EXPECT_EQ(failed[0].reason, "payload digest does not match at 0x46200000");
  EXPECT_EQ(failed[0].loaded_at, "2025-11-24T16:00:00Z");
  EXPECT_EQ(failed[0].source, "/sys/fs/pstore/dmesg-ramoops-0");
  EXPECT_EQ(failed[1].reason, "exception, ESR 0x96000005 ELR 0x1 FAR 0x2");
  EXPECT_EQ(failed[1].loaded_at, "");
}

TEST_F(FailureRecordTest, ReadsItsOwnRegion) {
  const std::string tree = TreeWith(kRecordCompatible, 0x1000, {});
  const std::string text = std::string("====1764000000.000000-D\n") + kText;
  auto& region = machine_.system.device_memory[kRegion];
  region = Region(handoff::kFailureRecordSignature, text);
  const auto failed = Read(tree);
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_EQ(failed[0].reason, "payload digest does not match at 0x46200000");
  EXPECT_EQ(failed[0].source, kPath);
  // Nothing was ever written, half of it was, or something else.
  region = std::string(handoff::kMinFailureRecord, '\0');
  EXPECT_THAT(Read(tree), testing::IsEmpty());
  region = Region(0, text);
  EXPECT_THAT(Read(tree), testing::IsEmpty());
  for (size_t size = 0; size < text.size() - 1; ++size) {
    region = Region(handoff::kFailureRecordSignature, text.substr(0, size));
    for (const auto& hop : Read(tree)) EXPECT_EQ(hop.reason, failed[0].reason) << size;
  }
  region = Region(handoff::kFailureRecordSignature, std::string(2000, 'x'));
  EXPECT_THAT(Read(tree), testing::IsEmpty());
  EXPECT_THAT(notes_, testing::IsEmpty());
  machine_.system.device_memory.clear();
  EXPECT_THAT(Read(tree), testing::IsEmpty());
  EXPECT_THAT(notes_, testing::ElementsAre(testing::HasSubstr("cannot be read")));
}

}  // namespace
}  // namespace khop::load
