// SPDX-License-Identifier: MIT
#include "tool/load/gather_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;

class GatherPlanTest : public testing::Test {
 protected:
  GatherPlanTest() {
    input_.sizes = {.text_offset = 0,
                    .image_size = 80 * kPage,
                    .initrd_size = 30 * kPage,
                    .dtb_size = 2 * kPage,
                    .control_size = 0};
    input_.kernel_bytes = 70 * kPage - 5;
    input_.ram_end = uint64_t{1} << 32;
    input_.blob = blob_;
    input_.allowed = {Pages(0x80000, 4096)};
  }
  static PhysRange Pages(uint64_t first, uint64_t count) {
    return {PhysAddr{first * kPage}, count * kPage};
  }
  void Own(const Ranges& ranges) { input_.owned = input_.loose = ranges; }

  std::vector<std::byte> blob_ = TestBlob();
  GatherInput input_;
};

TEST_F(GatherPlanTest, NothingMovesWhereEverythingIsInPlace) {
  Own({Pages(0x80000, 200)});
  const auto plan = PlanGather(input_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->bytes_to_move, 0U);
  EXPECT_TRUE(plan->placed.moves.empty());
  EXPECT_EQ(plan->placed.image.value, 0x80000 * kPage);
  EXPECT_TRUE(input_.owned[0].Contains(plan->placed.control));
}

TEST_F(GatherPlanTest, TheControlAreaIsApartFromEverything) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    Ranges owned;
    for (uint64_t i = 0; i < 4096; ++i) {
      if (random() % 20 == 0) owned.push_back(Pages(0x80000 + i, 1));
    }
    Own(Joined(owned));
    const auto plan = PlanGather(input_);
    ASSERT_TRUE(plan) << round << ": " << plan.error().message;
    const PhysRange control = plan->placed.control;
    EXPECT_FALSE(control.Overlaps({plan->placed.image, 80 * kPage}));
    EXPECT_FALSE(control.Overlaps({plan->placed.initrd, 30 * kPage}));
    EXPECT_FALSE(control.Overlaps({plan->placed.dtb, 2 * kPage}));
    for (const PhysAddr page : {plan->placed.stamp, plan->zero, plan->spare}) {
      EXPECT_FALSE(control.Contains(page));
      EXPECT_EQ(InBoth(input_.owned, Ranges{{page, kPage}}).size(), 1U);
    }
    for (const auto& piece : plan->pieces) {
      EXPECT_FALSE(control.Overlaps({piece.source, piece.size}));
    }
  }
}

TEST_F(GatherPlanTest, WhatDoesNotFitIsSaid) {
  Own({Pages(0x80000, 50)});
  EXPECT_EQ(PlanGather(input_).error().code, ExitCode::kNoMemory);
  Own({Pages(0x80000, 200)});
  input_.allowed = {Pages(0x80001, 4000)};
  input_.sizes.image_size = 4096 * kPage;
  EXPECT_EQ(PlanGather(input_).error().code, ExitCode::kNoContiguousMemory);
  input_.sizes.image_size = 80 * kPage;
  input_.sizes.text_offset = 100;
  EXPECT_EQ(PlanGather(input_).error().code, ExitCode::kNoRoute);
}

TEST_F(GatherPlanTest, TheMmuStaysOffWhereTablesDoNotFit) {
  // Every other page is owned; kernel, initrd and tree fit into the first 112 pages, the control
  // area only into `room` bytes far away.
  Ranges owned;
  for (uint64_t i = 0; i < 150; ++i) owned.push_back(Pages(0x80000 + 2 * i, 1));
  Own(owned);
  const auto plan = [&](MmuMode mode, uint64_t room) {
    input_.mmu = mode;
    input_.allowed = {Pages(0x80000, 112)};
    for (uint64_t i = 56; i < 150; ++i) input_.allowed.push_back(owned[i]);
    input_.allowed.push_back({PhysAddr{0x80400 * kPage}, room});
    input_.allowed = Joined(input_.allowed);
    return PlanGather(input_);
  };
  const auto on = plan(MmuMode::kAuto, 1 << 20);
  ASSERT_TRUE(on) << on.error().message;
  EXPECT_TRUE(on->placed.mmu);
  const auto off = plan(MmuMode::kOff, 1 << 20);
  ASSERT_TRUE(off) << off.error().message;
  ASSERT_LT(off->placed.control.size, on->placed.control.size);
  const auto fallback = plan(MmuMode::kAuto, off->placed.control.size);
  ASSERT_TRUE(fallback) << fallback.error().message;
  EXPECT_FALSE(fallback->placed.mmu);
  EXPECT_TRUE(fallback->placed.window.empty());
  EXPECT_NE(fallback->mmu_reason.find("do not fit"), std::string::npos);
  EXPECT_EQ(plan(MmuMode::kOn, off->placed.control.size).error().code, ExitCode::kNoMemory);
}

// A move of a cycle, to the spare page, continues the move before it: they become one, and
// the spare page has to be among what may be written all the same.
TEST_F(GatherPlanTest, TheSparePageOfACycleMayJoinItsNeighbour) {
  constexpr uint64_t kInitrd = 0x80000;
  constexpr uint64_t kSpare = kInitrd + 30;
  constexpr uint64_t kKernel = 0x80200;
  constexpr uint64_t kTree = 0x80300;
  const auto piece = [](uint64_t source, uint64_t destination, uint64_t count) {
    return plan::Piece{{source * kPage}, {destination * kPage}, count * kPage};
  };
  input_.filled = {piece(kInitrd, kInitrd, 29),
                   piece(kTree - 1, kInitrd + 29, 1),
                   piece(kTree, kKernel, 1),
                   piece(kKernel + 1, kKernel + 1, 4),
                   piece(kInitrd + 29, kKernel + 5, 1),
                   piece(kKernel + 6, kKernel + 6, 64),
                   piece(kKernel, kTree, 1),
                   piece(kTree + 1, kTree + 1, 1)};
  input_.before = {PhysAddr{kKernel * kPage}, PhysAddr{kInitrd * kPage}, PhysAddr{kTree * kPage}};
  input_.keep = {true, true, true};
  input_.loose = {Pages(kSpare, 1), Pages(0x80410, 1), Pages(0x80420, 1)};
  input_.owned = Joined({Pages(0x80410, 1), Pages(0x80420, 1), Pages(kInitrd, 31),
                         Pages(kKernel, 80), Pages(kTree - 1, 3)});
  for (const MmuMode mode : {MmuMode::kOn, MmuMode::kOff}) {
    input_.mmu = mode;
    const auto plan = PlanGather(input_);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->spare, PhysAddr{kSpare * kPage});
    ASSERT_GE(plan->order.size(), 2U);
    EXPECT_EQ(plan->order[1], piece(kTree - 1, kInitrd + 29, 2));
  }
}

TEST_F(GatherPlanTest, AWindowOf32GiB) {
  // The only places for kernel and initrd are too far apart.
  input_.allowed = {Pages(0x80000, 100), {PhysAddr{uint64_t{40} << 30}, 64 * kPage}};
  input_.sizes.initrd_size = 64 * kPage;
  Own({Pages(0x80000, 100), {PhysAddr{uint64_t{40} << 30}, 200 * kPage}});
  EXPECT_EQ(PlanGather(input_).error().code, ExitCode::kNoContiguousMemory);
}

}  // namespace
}  // namespace khop::load
