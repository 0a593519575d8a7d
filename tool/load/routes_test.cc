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

// What the machine lacks, and where auto ends up; every route before that one tells why not.
TEST_F(RoutesTest, AutoTakesTheFirstOfEachCombination) {
  struct Lack {
    bool runs = false;
    bool huge_pages = false;
    bool shared_memory = false;
    bool lockdown = false;
    bool file = false;
  };
  struct Case {
    Lack lack;
    const char* route;  // null: none works
    ExitCode code;
    size_t refused;
  };
  const std::string shm = "/proc/sys/kernel/shm_rmid_forced";
  for (const Case& c : std::vector<Case>{
           {{.file = true}, "in-place", {}, 0},
           {{.runs = true, .file = true}, "gather", {}, 2},
           {{.huge_pages = true, .file = true}, "kernel", {}, 3},
           {{.shared_memory = true, .file = true}, "kernel", {}, 3},
           {{.shared_memory = true, .file = false}, "kernel", {}, 3},
           {{.lockdown = true, .file = false}, "file", {}, 4},
           {{.shared_memory = true, .lockdown = true}, "file", {}, 4},
           {{.lockdown = true, .file = true}, nullptr, ExitCode::kLockdown, 0},
       }) {
    TestMachine machine;
    machine.system.kexec_file_error = c.lack.file ? 38 : 0;
    if (c.lack.runs) {
      std::erase_if(machine.system.free_pages, [](uint64_t page) { return page >> 21 & 1; });
    }
    if (c.lack.huge_pages) machine.system.free_pages.clear();
    if (c.lack.shared_memory) machine.system.SetFile(shm, "1\n");
    if (c.lack.lockdown) {
      machine.system.SetFile("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    }
    LoadOptions options = machine.Options();
    options.initrds.resize(1);
    const auto plan = load::Load(machine.system, options, NoProgress);
    if (c.route == nullptr) {
      ASSERT_FALSE(plan);
      EXPECT_EQ(plan.error().code, c.code) << plan.error().message;
      EXPECT_NE(plan.error().message.find("(not file: "), std::string::npos)
          << plan.error().message;
      EXPECT_EQ(machine.system.loaded, nullptr);
      continue;
    }
    ASSERT_TRUE(plan) << c.route << ": " << plan.error().message;
    EXPECT_EQ(plan->route, c.route);
    ASSERT_EQ(plan->refused.size(), c.refused) << c.route;
    for (size_t i = 0; i < c.refused; ++i) {
      EXPECT_EQ(plan->refused[i].route, Routes()[i].name);
      EXPECT_FALSE(plan->refused[i].reason.empty());
    }
    const std::string json = report::ToJson(*plan);
    for (const auto& refusal : plan->refused) {
      EXPECT_NE(json.find("\"" + refusal.route + "\""), std::string::npos) << json;
    }
  }
}

// A dry run foresees what needs no memory to be seen.
TEST_F(RoutesTest, ThePlanTellsRefusalsToo) {
  machine_.system.SetFile("/proc/sys/kernel/shm_rmid_forced", "1\n");
  const auto plan = Plan();
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->route, "kernel");
  ASSERT_EQ(plan->refused.size(), 3U);
  EXPECT_NE(plan->refused[2].reason.find("free the loaded image"), std::string::npos);
  EXPECT_EQ(machine_.system.kexec_loads, 0);
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
