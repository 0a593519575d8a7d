// SPDX-License-Identifier: MIT
#include "tool/system/memory_map.h"

#include <gtest/gtest.h>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

PhysRange Range(uint64_t start, uint64_t end) { return {{start}, end - start}; }

TEST(IomemTest, NestedEntriesAreNotPlain) {
  // QEMU virt with Debian 6.1: the CMA area is the reserved entry at 7ac00000.
  const auto map = ParseIomem(
      "09000000-09000fff : pl011@9000000\n"
      "  09000000-09000fff : 9000000.pl011 pl011@9000000\n"
      "40000000-7fffffff : System RAM\n"
      "  40210000-4185ffff : Kernel code\n"
      "  41860000-41eaffff : reserved\n"
      "  7ac00000-7fbfffff : reserved\n"
      "4010000000-401fffffff : PCI ECAM\n");
  ASSERT_TRUE(map.has_value()) << map.error().message;
  EXPECT_EQ(map->ram, (std::vector{Range(0x40000000, 0x80000000)}));
  EXPECT_EQ(map->plain, (std::vector{Range(0x40000000, 0x40210000), Range(0x41eb0000, 0x7ac00000),
                                     Range(0x7fc00000, 0x80000000)}));
  EXPECT_EQ(map->RamEnd(), 0x80000000U);
  EXPECT_TRUE(map->IsPlain(Range(0x7aa00000, 0x7ac00000)));
  EXPECT_FALSE(map->IsPlain(Range(0x7ab00000, 0x7ad00000)));
  EXPECT_FALSE(map->IsPlain(Range(0x7ac00000, 0x7ae00000)));
  EXPECT_FALSE(map->IsPlain(Range(0x80000000, 0x80200000)));
}

TEST(IomemTest, CrashReservation) {
  const auto map = ParseIomem(
      "40000000-13fffffff : System RAM\n"
      "  40210000-4185ffff : Kernel code\n"
      "  f0000000-f7ffffff : Crash kernel\n"
      "  120000000-12fffffff : Crash kernel\n"
      "  13ac00000-13fbfffff : reserved\n");
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->crash,
            (std::vector{Range(0xf0000000, 0xf8000000), Range(0x120000000, 0x130000000)}));
  EXPECT_FALSE(map->IsPlain(Range(0x120000000, 0x120200000)));
}

TEST(IomemTest, DriverManagedMemoryIsNotPlain) {
  const auto map = ParseIomem(
      "40000000-7fffffff : System RAM\n"
      "100000000-13fffffff : Persistent Memory\n"
      "  100000000-13fffffff : dax0.0\n"
      "    100000000-13fffffff : System RAM (kmem)\n"
      "140000000-17fffffff : System RAM (virtio_mem)\n"
      "180000000-18fffffff : virtio0\n"
      "  180000000-18fffffff : System RAM\n");
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->plain, (std::vector{Range(0x40000000, 0x80000000)}));
}

TEST(IomemTest, NestedDeeperAndOverlapping) {
  const auto map = ParseIomem(
      "1000-ffff : System RAM\n"
      "  2000-4fff : reserved\n"
      "    3000-3fff : inner\n"
      "  4000-5fff : reserved\n"
      "  f000-ffff : reserved\n");
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->plain, (std::vector{Range(0x1000, 0x2000), Range(0x6000, 0xf000)}));
}

TEST(IomemTest, HiddenAddressesAreSaid) {
  const auto map = ParseIomem("00000000-00000000 : System RAM\n  00000000-00000000 : reserved\n");
  ASSERT_FALSE(map.has_value());
  EXPECT_EQ(map.error().code, ExitCode::kNotRoot);
}

TEST(IomemTest, RefusesOtherForms) {
  for (const char* const text :
       {"garbage\n", "1000-0fff : System RAM\n", "1000-1fff System RAM\n", " 1000-1fff : x\n",
        "1000 : System RAM\n", "1000-1ffg : System RAM\n", "1000-1ffffffffffffffff : x\n"}) {
    EXPECT_FALSE(ParseIomem(text).has_value()) << text;
  }
}

TEST(IntersectTest, Table) {
  const std::vector<PhysRange> whole = {Range(10, 20), Range(30, 40)};
  EXPECT_EQ(Intersect(whole, {}), std::vector<PhysRange>());
  EXPECT_EQ(Intersect(whole, {Range(0, 100)}), whole);
  EXPECT_EQ(Intersect(whole, {Range(15, 35)}), (std::vector{Range(15, 20), Range(30, 35)}));
  EXPECT_EQ(Intersect(whole, {Range(20, 30)}), std::vector<PhysRange>());
}

TEST(SubtractTest, Table) {
  const std::vector<PhysRange> whole = {Range(10, 20), Range(30, 40)};
  EXPECT_EQ(Subtract(whole, {}), whole);
  EXPECT_EQ(Subtract(whole, {Range(0, 100)}), std::vector<PhysRange>());
  EXPECT_EQ(Subtract(whole, {Range(15, 35)}), (std::vector{Range(10, 15), Range(35, 40)}));
  EXPECT_EQ(Subtract(whole, {Range(34, 36), Range(12, 14)}),
            (std::vector{Range(10, 12), Range(14, 20), Range(30, 34), Range(36, 40)}));
  EXPECT_EQ(Subtract(whole, {Range(10, 20)}), (std::vector{Range(30, 40)}));
  EXPECT_EQ(Subtract(whole, {Range(20, 30)}), whole);
}

TEST(PagemapTest, Decodes) {
  PhysAddr address;
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  EXPECT_TRUE(DecodePagemap(kPresent | 0x12345, 4096, &address));
  EXPECT_EQ(address.value, 0x12345000U);
  EXPECT_TRUE(DecodePagemap(kPresent | 0x12345, 16384, &address));
  EXPECT_EQ(address.value, 0x12345U * 16384);
  // Bits 55 to 61 (soft-dirty, exclusive, uffd-wp, file) are not part of the number.
  EXPECT_TRUE(DecodePagemap(kPresent | uint64_t{0x7f} << 55 | 7, 4096, &address));
  EXPECT_EQ(address.value, 7U * 4096);
  EXPECT_FALSE(DecodePagemap(0x12345, 4096, &address));
  EXPECT_FALSE(DecodePagemap(kPresent | uint64_t{1} << 62 | 5, 4096, &address));
}

TEST(MeminfoTest, MemAvailable) {
  FakeSystem system;
  EXPECT_EQ(MemAvailable(system).value(), 800000U * 1024);
  system.SetFile("/proc/meminfo", "MemTotal: 5 kB\n");
  EXPECT_EQ(MemAvailable(system).error().code, ExitCode::kSystemCall);
}

}  // namespace
}  // namespace khop::system
