// SPDX-License-Identifier: MIT
// The order of auto, and what is told of the routes that were not taken.
#include "tool/load/routes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

class RoutesTest : public testing::Test {
 protected:
  Result<report::Plan> Load(Route route = Route::kAuto) {
    LoadOptions options = machine_.Options();
    options.route = route;
    machine_.system.NewProcess();
    return load::Load(machine_.system, options,
                      [this](std::string_view step) { told_.emplace_back(step); });
  }
  Result<report::Plan> Plan(Route route = Route::kAuto) {
    LoadOptions options = machine_.Options();
    options.route = route;
    return PlanLoad(machine_.system, options);
  }

  // Scattered, so that there is no run for the kernel.
  void NoRuns() {
    std::erase_if(machine_.system.free_pages, [](uint64_t page) { return page >> 21 & 1; });
  }
  // For gather: base pages, which the machine has none of.
  void NoHugePages() { machine_.system.free_pages.clear(); }

  TestMachine machine_;
  std::vector<std::string> told_;
};

TEST(RouteTable, EachHasANameOfItsOwn) {
  std::vector<std::string_view> names;
  for (const RouteRow& row : Routes()) {
    EXPECT_EQ(RouteName(row.route), row.name);
    EXPECT_EQ(std::ranges::find(names, row.name), names.end());
    names.push_back(row.name);
  }
  EXPECT_EQ(RouteName(Route::kAuto), "");
}

TEST_F(RoutesTest, TheFirstThatWorksRefusesNothing) {
  const auto plan = Load();
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "in-place");
  EXPECT_TRUE(plan->refused.empty());
}

TEST_F(RoutesTest, GatherWhereThereAreNoRuns) {
  NoRuns();
  const auto plan = Load();
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "gather");
  ASSERT_FALSE(plan->refused.empty());
  EXPECT_EQ(plan->refused.front().route, "in-place");
  EXPECT_NE(
      report::RenderText(*plan).find("not in-place: " + plan->refused[0].reason.substr(0, 20)),
      std::string::npos);
  EXPECT_NE(std::ranges::find(told_, "not in-place: " + plan->refused[0].reason), told_.end());
  // What is loaded remembers it.
  EXPECT_EQ(LoadedPlan(machine_.system)->refused.size(), plan->refused.size());
}

TEST_F(RoutesTest, ARouteThatWasAskedForIsTheOnlyOne) {
  NoRuns();
  const auto plan = Load(Route::kInPlace);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::kNoContiguousMemory);
  EXPECT_EQ(plan.error().message.find("(not "), std::string::npos) << plan.error().message;
}

TEST_F(RoutesTest, AFaultyFileIsNoReasonForAnotherRoute) {
  machine_.system.SetFile("/boot/Image", "no kernel");
  const auto plan = Load();
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::kNotAKernel);
  EXPECT_TRUE(told_.empty());
}

}  // namespace
}  // namespace khop::load
