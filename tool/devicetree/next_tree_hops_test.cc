// SPDX-License-Identifier: MIT
// What must not outlive a hop, and what has to outlive all of them.
#include <libfdt.h>

#include <cstring>

#include "core/handoff/handoff.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tool/devicetree/next_tree.h"
#include "tool/devicetree/test_tree.h"

namespace khop::devicetree {
namespace {

using testing::ElementsAre;

// With addresses, sizes and seeds of its own.
NextTreeOptions OptionsOfHop(uint64_t hop) {
  NextTreeOptions options;
  options.command_line = "console=ttyAMA0 root=/dev/vda1";
  options.initrd = PhysRange{{hop << 28}, (hop << 20) + hop};
  options.kaslr_seed = hop;
  options.rng_seed = std::vector<std::byte>(64, static_cast<std::byte>(hop));
  options.route = "in-place";
  options.from = "6.1.0-56-arm64";
  return options;
}

TEST(NextTree, DoesNotGrowInTenHops) {
  auto blob = QemuBlob("gic-version=3");
  size_t size = 0;
  std::vector<std::string> contents = Contents(blob);
  for (uint64_t hop = 1; hop <= 10; ++hop) {
    const auto next = BuildNextTree(*Tree::Parse(blob, "running"), OptionsOfHop(hop));
    ASSERT_TRUE(next) << next.error().message;
    blob = next->bytes;
    EXPECT_EQ(CountNops(blob), 0u);
    EXPECT_EQ(Contents(blob), contents);
    if (hop == 1) size = blob.size();
    EXPECT_EQ(blob.size(), size) << "hop " << hop;
    // What relocator and next kernel do with it.
    std::memset(blob.data() + next->timeline_offset, 0xff, handoff::kTimelineSize);
    WipeSeeds(blob);
    EXPECT_GT(CountNops(blob), 0u);
  }
}

// From a tree with everything that can be stale, other addresses each time, a boot loader that
// reserved its initrd, and the GIC's tables handed in again at every hop.
TEST(NextTree, ReservationsDoNotGrowInTenHops) {
  const std::vector<PhysRange> tables = {
      {{0x425b0000}, 0x10000}, {{0x425c0000}, 0x10000}, {{0x425d0000}, 0x10000}};
  auto blob = CompileBlob(R"(
/memreserve/ 0x47000000 0x10000;    /* somebody's: stays */
/memreserve/ 0x48000000 0x1235000;  /* the boot loader's initrd, in pages */
/ {
  chosen {
    linux,initrd-start = <0x48000000>;
    linux,initrd-end = <0x49234567>;
  };
};
)");
  size_t size = 0;
  for (uint64_t hop = 1; hop <= 10; ++hop) {
    NextTreeOptions options = OptionsOfHop(hop);
    options.extra_reservations = tables;
    const auto next = BuildNextTree(*Tree::Parse(blob, "running"), options);
    ASSERT_TRUE(next) << next.error().message;
    blob = next->bytes;
    const Tree tree = Tree::Parse(blob, "next").value();
    EXPECT_THAT(tree.memory_reservations(),
                ElementsAre(PhysRange{{0x47000000}, 0x10000}, tables[0], tables[1], tables[2]));
    if (hop == 1) size = blob.size();
    EXPECT_EQ(blob.size(), size) << "hop " << hop;
    WipeSeeds(blob);
  }
}

// KHO, IMA and the TPM's log: each with the reservation that the kernel which left it made.
TEST(NextTree, ReservationsOfStaleBuffersAreGone) {
  const auto next = BuildNextTree(Compile(R"(
/memreserve/ 0x100005000 0x1000;
/memreserve/ 0x6000 0x1000;
/memreserve/ 0x7000 0x10000;
/memreserve/ 0x8000 0x1000;
/memreserve/ 0x9000 0x1000;
/memreserve/ 0xa000 0x1000;
/ {
  #address-cells = <2>;
  #size-cells = <1>;
  chosen {
    linux,kho-fdt = <1 0x5000 0x1000>;
    linux,kho-scratch = <0 0x6000 0xff0>;
    linux,ima-kexec-buffer = <0 0x7000 0x10000>;
    linux,tpm-kexec-buffer = <0 0x8000 0x1000>;
    linux,elfcorehdr = <0 0x9000 0x400>;
  };
};
)"),
                                  {});
  ASSERT_TRUE(next);
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  EXPECT_THAT(tree.memory_reservations(), ElementsAre(PhysRange{{0xa000}, 0x1000}));
  EXPECT_EQ(fdt_next_node(next->bytes.data(), 0, nullptr),
            fdt_path_offset(next->bytes.data(), "/chosen"));
  for (const char* name : {"linux,kho-fdt", "linux,kho-scratch", "linux,ima-kexec-buffer",
                           "linux,tpm-kexec-buffer", "linux,elfcorehdr"}) {
    EXPECT_EQ(Chosen(next->bytes, name), "(none)") << name;
  }
}

// What firmware and UEFI said stays as it is, with its order, and memory that is not to be mapped.
TEST(NextTree, KeepsWhatFirmwareSaid) {
  const auto blob = CompileBlob(R"(
/memreserve/ 0x4000 0x1000;
/ {
  #address-cells = <2>;
  #size-cells = <2>;
  reserved-memory {
    #address-cells = <2>;
    #size-cells = <2>;
    ranges;
    secmon@5000000 { reg = <0 0x5000000 0 0x300000>; no-map; };
    linux,cma { compatible = "shared-dma-pool"; size = <0 0x4000000>; reusable; };
  };
  memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
  chosen {
    linux,uefi-system-table = <0 0x7fd30018>;
    linux,uefi-mmap-start = <0 0x7c000000>;
    linux,uefi-mmap-size = <0x1000>;
    linux,uefi-mmap-desc-size = <48>;
    linux,uefi-mmap-desc-ver = <1>;
    linux,uefi-secure-boot = <1>;
  };
};
)");
  const auto next = BuildNextTree(*Tree::Parse(blob, "running"), OptionsOfHop(1));
  ASSERT_TRUE(next);
  EXPECT_EQ(Contents(next->bytes), Contents(blob));
  for (const char* name :
       {"linux,uefi-system-table", "linux,uefi-mmap-start", "linux,uefi-mmap-size",
        "linux,uefi-mmap-desc-size", "linux,uefi-mmap-desc-ver", "linux,uefi-secure-boot"}) {
    EXPECT_EQ(Chosen(next->bytes, name), Chosen(blob, name)) << name;
  }
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  EXPECT_THAT(tree.memory_reservations(), ElementsAre(PhysRange{{0x4000}, 0x1000}));
}

}  // namespace
}  // namespace khop::devicetree
