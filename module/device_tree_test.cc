// SPDX-License-Identifier: MIT
// The timeline in trees that libfdt made, and in damaged ones.
#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "module/relocation.h"

namespace khop::module {
namespace {

constexpr uint32_t kTimelineSize = 128;

// With `room` bytes behind its end.
std::vector<char> Tree(size_t room, bool chosen = true, int child = 0, int timeline = 0) {
  std::vector<char> tree(4096 + room);
  fdt_create_empty_tree(tree.data(), 4096);
  fdt_add_mem_rsv(tree.data(), 0x1000, 0x2000);
  const int before = fdt_add_subnode(tree.data(), 0, "psci");
  fdt_setprop_string(tree.data(), before, "method", "hvc");
  if (chosen) {
    const int node = fdt_add_subnode(tree.data(), 0, "chosen");
    fdt_setprop_string(tree.data(), node, "bootargs", "quiet");
    if (timeline != 0) {
      fdt_setprop(tree.data(), node, "khop,timeline",
                  std::string(static_cast<size_t>(timeline), 'x').data(), timeline);
    }
    if (child != 0) fdt_add_subnode(tree.data(), node, "chosen");
  }
  fdt_pack(tree.data());
  tree.resize(fdt_totalsize(tree.data()) + room);
  return tree;
}

TEST(TimelineTest, IsAdded) {
  for (const int child : {0, 1}) {
    std::vector<char> tree = Tree(200, true, child);
    uint32_t offset = 1;
    ASSERT_EQ(khop_timeline_find(tree.data(), tree.size(), &offset).code, KHOP_OK);
    EXPECT_EQ(offset, 0u);
    ASSERT_EQ(khop_timeline_add(tree.data(), tree.size(), &offset).code, KHOP_OK);
    ASSERT_EQ(fdt_check_full(tree.data(), tree.size()), 0);
    int size = 0;
    const int chosen = fdt_path_offset(tree.data(), "/chosen");
    const void* const value = fdt_getprop(tree.data(), chosen, "khop,timeline", &size);
    EXPECT_EQ(size, static_cast<int>(kTimelineSize));
    EXPECT_EQ(static_cast<const char*>(value), tree.data() + offset);
    EXPECT_STREQ(static_cast<const char*>(fdt_getprop(tree.data(), chosen, "bootargs", nullptr)),
                 "quiet");
    EXPECT_STREQ(static_cast<const char*>(fdt_getprop(
                     tree.data(), fdt_path_offset(tree.data(), "/psci"), "method", nullptr)),
                 "hvc");
    EXPECT_EQ(fdt_num_mem_rsv(tree.data()), 1);
    EXPECT_EQ(fdt_path_offset(tree.data(), "/chosen/chosen") >= 0, child != 0);
    uint32_t found = 0;
    ASSERT_EQ(khop_timeline_find(tree.data(), tree.size(), &found).code, KHOP_OK);
    EXPECT_EQ(found, offset);
    EXPECT_NE(khop_timeline_add(tree.data(), tree.size(), &found).code, KHOP_OK);  // once
  }
}

TEST(TimelineTest, NeedsRoomAndChosen) {
  uint32_t offset = 0;
  std::vector<char> tree = Tree(159);
  const std::vector<char> before = tree;
  const khop_status status = khop_timeline_add(tree.data(), tree.size(), &offset);
  EXPECT_EQ(status.code, KHOP_OUT_OF_MEMORY);
  EXPECT_EQ(status.value, 1u);
  EXPECT_EQ(tree, before);
  tree = Tree(160);
  EXPECT_EQ(khop_timeline_add(tree.data(), tree.size(), &offset).code, KHOP_OK);
  tree = Tree(400, false);
  EXPECT_EQ(khop_timeline_add(tree.data(), tree.size(), &offset).code, KHOP_INVALID_ARGUMENT);
  tree = Tree(400, true, 0, 8);  // of another size: not ours
  ASSERT_EQ(khop_timeline_find(tree.data(), tree.size(), &offset).code, KHOP_OK);
  EXPECT_EQ(offset, 0u);
  EXPECT_EQ(khop_timeline_add(tree.data(), tree.size(), &offset).code, KHOP_INVALID_ARGUMENT);
}

// Nothing is read or written beyond the memory of the tree (ASan), whatever is in it.
TEST(TimelineTest, SurvivesDamage) {
  std::mt19937 random(2026);
  for (int i = 0; i < 5000; ++i) {
    std::vector<char> tree = Tree(200, true, i & 1, i % 3 == 0 ? kTimelineSize : 0);
    for (uint64_t flips = 1 + random() % 3; flips != 0; --flips) {
      const bool header = random() % 2 != 0;
      tree[random() % (header ? 40 : tree.size())] ^= static_cast<char>(1U << random() % 8);
    }
    uint32_t offset = 0;
    if (khop_timeline_find(tree.data(), tree.size(), &offset).code == KHOP_OK && offset != 0) {
      ASSERT_LE(offset, tree.size() - kTimelineSize);
    }
    if (khop_timeline_add(tree.data(), tree.size(), &offset).code == KHOP_OK) {
      ASSERT_LE(offset, tree.size() - kTimelineSize);
    }
  }
}

}  // namespace
}  // namespace khop::module
