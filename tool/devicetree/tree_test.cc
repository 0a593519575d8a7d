// SPDX-License-Identifier: MIT
#include "tool/devicetree/tree.h"

#include <random>

#include "gtest/gtest.h"
#include "tool/devicetree/machine.h"
#include "tool/devicetree/next_tree.h"
#include "tool/devicetree/test_tree.h"
#include "tool/devicetree/writer.h"

namespace khop::devicetree {
namespace {

constexpr std::string_view kSmall = R"(
/memreserve/ 0x48000000 0x1000;
/ {
  #address-cells = <2>;
  #size-cells = <1>;
  compatible = "first", "second";
  aliases { serial0 = "/soc/serial@9000000"; loop = "loop"; };
  chosen { };
  soc {
    serial@9000000 { status = "okay"; cell = <0x12345678>; child { }; };
    serial@a000000 { status = "disabled"; child { }; };
  };
};
)";

// Everything khop does with a tree; crashes are what this looks for.
void UseAll(std::span<const std::byte> blob) {
  const auto tree = Tree::Parse(blob, "hostile");
  if (!tree) {
    EXPECT_EQ(tree.error().code, ExitCode::kBadDeviceTree);
    return;
  }
  (void)FindConsole(*tree, "");
  (void)FindPsciConduit(*tree);
  (void)UsesSpinTable(*tree);
  (void)ReservedRanges(*tree);
  (void)MemoryRanges(*tree);
  (void)ReadTimeline(*tree);
  for (size_t i = 0; i < tree->nodes().size(); ++i) (void)TranslateReg(*tree, i);
  NextTreeOptions options;
  options.initrd = PhysRange{{0x48000000}, 0x1000};
  const auto next = BuildNextTree(*tree, options);
  if (!next) return;
  const auto again = Tree::Parse(next->bytes, "rebuilt");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_GE(again->nodes().size(), tree->nodes().size());
}

TEST(Tree, Parts) {
  const Tree tree = Compile(kSmall);
  ASSERT_EQ(tree.memory_reservations().size(), 1u);
  EXPECT_EQ(tree.memory_reservations()[0], (PhysRange{{0x48000000}, 0x1000}));
  EXPECT_EQ(tree.nodes()[0].name, "");
  EXPECT_TRUE(tree.ListHas(0, "compatible", "second"));
  EXPECT_FALSE(tree.ListHas(0, "compatible", "secon"));
  EXPECT_FALSE(tree.ListHas(0, "missing", ""));

  const auto serial = tree.FindNode("/soc/serial@9000000");
  ASSERT_TRUE(serial);
  EXPECT_EQ(tree.PathOf(*serial), "/soc/serial@9000000");
  EXPECT_EQ(tree.FindNode("serial0"), serial);
  EXPECT_EQ(tree.FindNode("//soc/serial/"), serial) << "the first without a unit address";
  EXPECT_EQ(tree.FindNode("/soc/serial@b000000"), std::nullopt);
  EXPECT_EQ(tree.FindNode("serial9"), std::nullopt);
  EXPECT_EQ(tree.FindNode("loop"), std::nullopt);
  EXPECT_EQ(tree.FindNode("/"), 0u);
  EXPECT_EQ(tree.FindCell(*serial, "cell"), 0x12345678u);
  EXPECT_EQ(tree.FindCell(*serial, "status"), std::nullopt) << "not 4 bytes";
  EXPECT_EQ(tree.FindString(*serial, "status"), "okay");

  EXPECT_TRUE(tree.IsEnabled(*tree.FindNode("serial0/child")));
  EXPECT_FALSE(tree.IsEnabled(*tree.FindNode("/soc/serial@a000000/child")));
}

TEST(Tree, TakesTheBlobFromAnyAddressAndIgnoresWhatFollows) {
  const auto blob = CompileBlob(kSmall);
  for (size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::byte> moved(shift);
    moved.insert(moved.end(), blob.begin(), blob.end());
    moved.resize(moved.size() + 16);
    EXPECT_TRUE(Tree::Parse(std::span(moved).subspan(shift), "test"));
  }
}

TEST(Tree, SaysWhatIsWrong) {
  const auto message = [](std::span<const std::byte> blob) {
    return Tree::Parse(blob, "x.dtb").error().message;
  };
  auto blob = CompileBlob(kSmall);
  EXPECT_EQ(message({}), "x.dtb: too short for a device tree blob; give a good one with --dtb");
  EXPECT_EQ(message(std::span(blob).first(blob.size() - 1)),
            "x.dtb: the device tree is cut short; give a good one with --dtb");
  EXPECT_EQ(message(std::vector<std::byte>(64)),
            "x.dtb: not a device tree blob; give a good one with --dtb");
  blob[4] = std::byte{0x40};
  EXPECT_EQ(message(blob),
            "x.dtb: the device tree is larger than 2 MiB; give a good one with --dtb");
}

TEST(Tree, EveryTruncationIsAnError) {
  auto blob = CompileBlob(kSmall);
  for (size_t size = 0; size < blob.size(); ++size) {
    auto cut = blob;
    cut.resize(size);
    EXPECT_FALSE(Tree::Parse(cut, "cut")) << size;
    if (size < 8) continue;
    // The same with a header that agrees.
    for (size_t i = 0; i < 4; ++i) {
      cut[4 + i] = static_cast<std::byte>(size >> (8 * (3 - i)) & 0xff);
    }
    EXPECT_FALSE(Tree::Parse(cut, "cut")) << size;
  }
}

TEST(Tree, DeepNestingDoesNotExhaustTheStack) {
  Writer writer;
  constexpr int kDepth = 50'000;
  for (int i = 0; i < kDepth; ++i) writer.BeginNode(i == 0 ? "" : "n");
  for (int i = 0; i < kDepth; ++i) writer.EndNode();
  size_t offset = 0;
  const auto blob = writer.Finish({}, 0, 0, offset);
  const auto tree = Tree::Parse(blob, "deep");
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ(tree->nodes().size(), size_t{kDepth});
  EXPECT_EQ(tree->PathOf(kDepth - 1).size(), size_t{2} * (kDepth - 1));
  const auto next = BuildNextTree(*tree, {});
  ASSERT_TRUE(next);
  EXPECT_TRUE(Tree::Parse(next->bytes, "rebuilt"));
}

TEST(Tree, DamagedBlobsDoNoHarm) {
  constexpr unsigned kSeed = 20240607;
  std::mt19937 random(kSeed);
  const auto small = CompileBlob(kSmall);
  const auto first = BuildNextTree(*Tree::Parse(QemuBlob("gic-version=3"), "qemu"), {});
  ASSERT_TRUE(first);
  for (const auto* good : {&small, &first->bytes}) {
    for (int round = 0; round < 1500; ++round) {
      auto blob = *good;
      const int flips = 1 + static_cast<int>(random() % 8);
      for (int i = 0; i < flips; ++i) {
        // Half of them where the header and the first properties are.
        const size_t limit = i % 2 == 0 ? blob.size() : std::min<size_t>(blob.size(), 256);
        blob[random() % limit] = static_cast<std::byte>(random());
      }
      UseAll(blob);
      if (HasFatalFailure()) FAIL() << "seed " << kSeed << " round " << round;
    }
  }
}

}  // namespace
}  // namespace khop::devicetree
