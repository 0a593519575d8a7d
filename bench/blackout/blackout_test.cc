// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/blackout/cases.h"
#include "bench/blackout/goals.h"
#include "bench/blackout/runs.h"
#include "bench/blackout/tables.h"

namespace khop::bench {
namespace {

using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

const Way kKexec = {"kexec-tools", "kernel", "sha256"};
const Way kKexecUnverified = {"kexec-tools", "kernel", "none"};

Sample Of(const Way& way, int payload, uint64_t blackout, int repetition = 1) {
  return {.what = {"6.1", way, payload},
          .repetition = repetition,
          .setup = "6.1.9-arm64; khop 0123; 6144 MiB",
          .blackout = blackout,
          .load = 1'000'000,
          .peak = 60 << 20,
          .payload = 60 << 20,
          .by_kernel = 100 << 10};
}

// What meets every goal.
std::vector<Sample> GoodRuns() {
  std::vector<Sample> runs = {Of(kKexec, 100, 4'430'000'000),
                              Of(kKexecUnverified, 100, 180'000'000),
                              Of({"khop", "in-place", "none"}, 2, 138'000'000),
                              Of({"khop", "in-place", "sha256"}, 100, 400'000'000),
                              Of({"khop", "in-place", "crc32c"}, 100, 178'000'000),
                              Of({"khop", "in-place", "none"}, 100, 138'100'000),
                              Of({"khop", "in-place", "early"}, 100, 138'100'000)};
  for (const char* route : {"in-place", "reserved"}) {
    for (const char* verify : {"none", "early"}) {
      runs.push_back(Of({"khop", route, verify}, 25, 138'100'000));
      runs.push_back(Of({"khop", route, verify}, 1024, 138'200'000));
    }
  }
  runs.push_back(Of({"khop", "in-place", "none"}, 25, 138'101'000, 2));
  // Below the floor.
  runs.push_back(Of({"khop", "reserved", "none"}, 100, 137'900'000));
  runs.push_back(Of({"khop", "reserved", "early"}, 100, 137'900'000));
  for (const char* route : {"reserved", "gather", "kernel"}) {
    runs.push_back(Of({"khop", route, "sha256"}, 100, 400'000'000));
    runs.push_back(Of({"khop", route, "crc32c"}, 100, 178'000'000));
  }
  return runs;
}

Goal Find(const std::vector<Goal>& goals, const std::string& what) {
  const auto found = std::ranges::find_if(
      goals, [&](const Goal& goal) { return goal.what.find(what) != std::string::npos; });
  EXPECT_NE(found, goals.end()) << what;
  return found == goals.end() ? Goal{} : *found;
}

TEST(BlackoutCases, WhatGoalsNeedComesFirst) {
  std::vector<Skipped> skipped;
  const std::vector<Case> cases = PlanCases({}, &skipped);
  ASSERT_FALSE(cases.empty());
  const Way floor = {"khop", "in-place", "none"};
  EXPECT_EQ(cases.front(), (Case{"6.1", floor, 2}));
  EXPECT_EQ(cases[1], (Case{"5.10", floor, 2}));
  const auto place = [&](const Case& what) { return std::ranges::find(cases, what); };
  EXPECT_LT(place({"7.2", kKexec, 100}), place({"6.1", floor, 1024}));
  EXPECT_LT(place({"6.1", floor, 1024}), place({"6.1", floor, 380}));
  // Each once.
  std::vector<Case> sorted = cases;
  std::ranges::sort(sorted);
  EXPECT_EQ(std::ranges::adjacent_find(sorted), sorted.end());
}

TEST(BlackoutCases, WhatCannotBeMeasuredIsSaid) {
  std::vector<Skipped> skipped;
  PlanCases({}, &skipped);
  const auto find = [&](const std::string& what) {
    return std::ranges::find(skipped, what, &Skipped::what);
  };
  ASSERT_NE(find("khop file sha256"), skipped.end());
  EXPECT_THAT(find("khop file sha256")->why, HasSubstr("kexec_file_load"));
  EXPECT_NE(find("khop kernel early"), skipped.end());
}

TEST(BlackoutCases, SelectionIsKept) {
  std::vector<Skipped> skipped;
  const std::vector<Case> cases = PlanCases({.kernels = {"6.12"},
                                             .payloads = {25, 100},
                                             .loaders = {"khop"},
                                             .routes = {"gather"},
                                             .verifies = {"none", "crc32c"}},
                                            &skipped);
  ASSERT_EQ(cases.size(), 4U);
  for (const Case& what : cases) EXPECT_EQ(what.way.route, "gather");
  EXPECT_TRUE(skipped.empty());
}

TEST(BlackoutRuns, CsvComesBack) {
  std::vector<Sample> runs = GoodRuns();
  runs[0].kernel_mmu = true;
  runs[1].khop_mmu = true;
  runs[2].verified = 7;
  runs[3].load_idle = 8;
  const auto back = FromCsv(ToCsv(runs));
  ASSERT_TRUE(back.has_value()) << back.error().what;
  EXPECT_EQ(*back, runs);
  EXPECT_FALSE(FromCsv("kernel,loader\n").has_value());
  EXPECT_FALSE(FromCsv(ToCsv({}) + "6.1,khop,in-place\n").has_value());
}

TEST(BlackoutRuns, MedianAndSpread) {
  const Way way = {"khop", "in-place", "none"};
  std::vector<Sample> runs = {Of(way, 25, 1010), Of(way, 25, 1000, 2), Of(way, 25, 1001, 3),
                              Of(way, 100, 5)};
  runs[1].peak = 70 << 20;
  runs[2].peak = 0;
  const auto figures = FiguresOf(runs, {"6.1", way, 25});
  ASSERT_TRUE(figures.has_value());
  EXPECT_EQ(figures->runs, 3);
  EXPECT_EQ(figures->middle.blackout, 1001U);
  EXPECT_EQ(figures->peak, 70U << 20);
  EXPECT_NEAR(figures->spread, 10.0 / 1001, 1e-9);
  EXPECT_FALSE(FiguresOf(runs, {"6.12", way, 25}).has_value());
}

TEST(BlackoutGoals, AllAreMet) {
  for (const Goal& goal : CheckGoals(GoodRuns())) {
    EXPECT_TRUE(goal.known) << goal.what << ": " << goal.detail;
    EXPECT_TRUE(goal.met) << goal.what << ": " << goal.detail;
  }
}

TEST(BlackoutGoals, EachCanBeMissed) {
  struct Row {
    size_t run;
    uint64_t Sample::* field;
    uint64_t value;
    const char* goal;
  };
  for (const Row& row : {Row{3, &Sample::blackout, 500'000'000, "in-place sha256, 100 MiB, above"},
                         Row{4, &Sample::blackout, 185'000'000,
                             "in-place crc32c, 100 MiB, above the floor: at most 1/"},
                         Row{4, &Sample::blackout, 180'100'000, "at most kexec-tools --no-checks"},
                         Row{21, &Sample::blackout, 185'000'000,
                             "gather crc32c, 100 MiB, above the floor: at most 1/"},
                         Row{5, &Sample::blackout, 139'000'000, "in-place none, 100 MiB"},
                         Row{6, &Sample::blackout, 139'000'000, "in-place early, 100 MiB"},
                         Row{16, &Sample::blackout, 139'000'000, "reserved none, 100 MiB"},
                         Row{8, &Sample::blackout, 142'000'000, "khop in-place none: 1 GiB"},
                         Row{14, &Sample::blackout, 142'000'000, "khop reserved early: 1 GiB"},
                         Row{7, &Sample::by_khop, 4096, "no byte of the payload"},
                         Row{7, &Sample::by_kernel, 60 << 20, "no byte of the payload"},
                         Row{3, &Sample::load, 1'000'001, "in-place sha256, 100 MiB: loads"},
                         Row{3, &Sample::peak, 80 << 20, "peak memory"},
                         Row{15, &Sample::blackout, 139'000'000, "spread by at most"}}) {
    std::vector<Sample> runs = GoodRuns();
    ASSERT_TRUE(Find(CheckGoals(runs), row.goal).met) << row.goal;
    runs[row.run].*row.field = row.value;
    EXPECT_FALSE(Find(CheckGoals(runs), row.goal).met) << row.goal;
  }
}

TEST(BlackoutGoals, WhatWasNotMeasuredIsNotMet) {
  const Goal goal = Find(CheckGoals({Of(kKexec, 100, 4'430'000'000)}), "in-place sha256");
  EXPECT_FALSE(goal.known);
  EXPECT_FALSE(goal.met);
  EXPECT_THAT(goal.measured, HasSubstr("not measured"));
}

TEST(BlackoutTables, Markdown) {
  const std::string text = ToMarkdown(GoodRuns(), {{"khop file sha256", "it is not there"}});
  EXPECT_THAT(text, ContainsRegex("\\| kexec-tools \\|[ |]*\\| 4,430.00 \\|"));
  EXPECT_THAT(text, HasSubstr("khop in-place early"));
  EXPECT_THAT(text, HasSubstr("- khop file sha256: it is not there.\n"));
  EXPECT_THAT(text, HasSubstr("| khop reserved early: 1 GiB within 2 % of 25 MiB | +0.072 % |\n"));
  EXPECT_THAT(text, Not(HasSubstr("**missed**: ")));
}

TEST(BlackoutTables, AGoalHasARowAndAKernelAColumn) {
  std::vector<Sample> runs = GoodRuns();
  for (Sample run : GoodRuns()) {
    run.what.kernel = "6.12";
    if (run.what.way == Way{"khop", "reserved", "early"} && run.what.payload_mib == 1024) {
      run.blackout = 2 * run.blackout;
    }
    if (run.what.way.route != "gather") runs.push_back(run);
  }
  const std::string text = ToMarkdown(runs, {});
  EXPECT_THAT(text, HasSubstr("\n| | 6.1 | 6.12 |\n|---|---|---|\n"));
  EXPECT_THAT(text, HasSubstr("| khop reserved early: 1 GiB within 2 % of 25 MiB | +0.072 % | "
                              "**missed**: +100.145 % |\n"));
  EXPECT_THAT(text,
              ContainsRegex("\n\\| gather sha256, 100 MiB, above[^|]*\\| 1/[^|]* \\| not measured "
                            "\\|\n"));
}

TEST(BlackoutTables, TellsWhatWasMeasuredWithWhat) {
  std::vector<Sample> runs = {Of({"khop", "in-place", "none"}, 25, 1),
                              Of({"khop", "in-place", "none"}, 2, 1),
                              Of({"khop", "gather", "none"}, 2, 1), Of(kKexec, 2, 1)};
  runs[3].setup = "6.1.9-arm64; kexec-tools=2";
  Sample other = runs[0];
  other.what = {"6.12", {"khop", "in-place", "early"}, 100};
  other.setup = "6.12.1-arm64; khop 0123; 6144 MiB";
  runs.push_back(other);
  EXPECT_THAT(ToMarkdown(runs, {}),
              EndsWith("\nMeasured with 6.1.9-arm64, 6.12.1-arm64, and with\n\n"
                       "- kexec-tools=2: kernel 2 MiB\n"
                       "- khop 0123; 6144 MiB: gather 2 MiB; in-place 2, 25, 100 MiB\n"));
}

TEST(BlackoutTables, Picture) {
  const std::string picture = ToSvg(GoodRuns(), 100);
  EXPECT_TRUE(picture.starts_with("<svg "));
  EXPECT_THAT(picture, HasSubstr("kexec-tools --no-checks"));
  EXPECT_THAT(picture, HasSubstr("4,430.00"));
}

TEST(BlackoutTables, GoesBetweenTheMarks) {
  const auto put =
      PutBetweenMarks("a\n<!-- blackout -->\nold\n<!-- end of blackout -->\nb\n", "new\n");
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(*put, "a\n<!-- blackout -->\nnew\n<!-- end of blackout -->\nb\n");
  EXPECT_FALSE(PutBetweenMarks("nothing", "new\n").has_value());
}

}  // namespace
}  // namespace khop::bench
