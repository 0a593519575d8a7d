// SPDX-License-Identifier: MIT
#include "tool/devicetree/dts.h"

#include <gtest/gtest.h>

#include "tool/devicetree/next_tree.h"
#include "tool/devicetree/seeds.h"
#include "tool/devicetree/writer.h"

namespace khop::devicetree {
namespace {

std::vector<std::byte> Bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Tree Some() {
  Writer writer;
  writer.BeginNode("");
  writer.BeginNode("chosen");
  writer.AddProperty("bootargs", StringValue("quiet"));
  writer.AddProperty("kaslr-seed", Cell64(0));
  writer.EndNode();
  writer.BeginNode("memory@40000000");
  writer.AddProperty("device_type", StringValue("memory"));
  writer.EndNode();
  writer.EndNode();
  size_t offset = 0;
  return *Tree::Parse(writer.Finish({}, 0, 0, offset), "some");
}

TEST(Dts, FormsOfValues) {
  const auto text = [](std::string_view value) {
    const auto bytes = Bytes(value);
    return ToDts({"p", bytes});
  };
  using namespace std::string_view_literals;  // NOLINT(google-build-using-namespace)
  EXPECT_EQ(text(""), "p;");
  EXPECT_EQ(text("okay\0"sv), "p = \"okay\";");
  EXPECT_EQ(text("a\0b\"\0"sv), "p = \"a\", \"b\\\"\";");
  EXPECT_EQ(text("\0\0\0\x01\x09\0\0\0"sv), "p = <0x1 0x9000000>;");
  EXPECT_EQ(text("\0\0\0\0"sv), "p = <0x0>;");
  EXPECT_EQ(text("\0"sv), "p = \"\";");
  EXPECT_EQ(text("\x01\xff\x02"sv), "p = [01 ff 02];");
}

TEST(Dts, Diff) {
  const Tree before = Some();
  NextTreeOptions options;
  options.command_line = "quiet panic=5";
  options.initrd = PhysRange{{0x48000000}, 0x1000};
  options.kaslr_seed = 0x1234;
  options.timeline = false;
  options.route = "in-place";
  const std::vector<PhysRange> extra = {{{0x42000000}, 0x10000}};
  options.extra_reservations = extra;
  const auto next = BuildNextTree(before, options);
  ASSERT_TRUE(next);
  const auto after = Tree::Parse(next->bytes, "next");
  ASSERT_TRUE(after);
  EXPECT_EQ(DiffDts(before, *after), (std::vector<std::string>{
                                         "+/memreserve/ 0x42000000 0x10000;",
                                         " / {",
                                         "     chosen {",
                                         "-        bootargs = \"quiet\";",
                                         "+        bootargs = \"quiet panic=5\";",
                                         "-        kaslr-seed; /* 8 bytes, used up */",
                                         "+        kaslr-seed; /* 8 bytes, fresh */",
                                         "+        linux,initrd-start = <0x0 0x48000000>;",
                                         "+        linux,initrd-end = <0x0 0x48001000>;",
                                         "+        linux,booted-from-kexec;",
                                         "+        khop,route = \"in-place\";",
                                         "     };",
                                         " };",
                                     }));
  EXPECT_TRUE(DiffDts(before, Some()).empty());
}

TEST(Seeds, AreWipedAndNothingElse) {
  NextTreeOptions options;
  options.kaslr_seed = 0x1111111111111111;
  options.rng_seed.assign(64, std::byte{0x22});
  auto seeded = BuildNextTree(Some(), options)->bytes;
  ASSERT_TRUE(WipeSeeds(seeded));
  const auto tree = Tree::Parse(seeded, "wiped");
  ASSERT_TRUE(tree);
  const size_t chosen = *tree->FindChild(0, "chosen");
  for (const char* const name : {"kaslr-seed", "rng-seed"}) {
    const auto value = tree->Find(chosen, name);
    ASSERT_TRUE(value);
    for (const std::byte byte : *value) EXPECT_EQ(byte, std::byte{0});
  }
  EXPECT_EQ(tree->FindString(tree->FindChild(0, "memory@40000000").value(), "device_type"),
            "memory");
  std::vector<std::byte> garbage(100, std::byte{1});
  EXPECT_FALSE(WipeSeeds(garbage));
}

}  // namespace
}  // namespace khop::devicetree
