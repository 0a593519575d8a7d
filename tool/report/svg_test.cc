// SPDX-License-Identifier: MIT
#include "tool/report/svg.h"

#include <gtest/gtest.h>

#include "tool/report/plan.h"
#include "tool/report/timeline.h"

namespace khop::report {
namespace {

TEST(SvgTest, TextIsEscapedAndFits) {
  Svg svg(100);
  svg.Text(0, 10, "a<b>&\"\x01\xff", {.size = 10});
  svg.Text(0, 10, std::string(200, 'n'), {.size = 10}, 80);
  const std::string text = svg.Finish(20, "t", "d");
  EXPECT_NE(text.find("a&lt;b&gt;&amp;&quot;??"), std::string::npos);
  EXPECT_NE(text.find("…"), std::string::npos);
  EXPECT_NE(text.find("<title>" + std::string(200, 'n')), std::string::npos);
}

TEST(SvgTest, PicturesOfNothing) {
  EXPECT_TRUE(ToSvg(Plan()).ends_with("</svg>\n"));
  EXPECT_TRUE(ToSvg(Timeline()).ends_with("</svg>\n"));
}

TEST(SvgTest, LongNamesStayWithinThePicture) {
  Plan plan;
  plan.kernel.path = "/boot/" + std::string(300, 'W');
  plan.route = "in-place";
  plan.route_reason = std::string(500, 'w');
  plan.segments = {{std::string(90, 's'), 0x40000000, 4096, 0}};
  plan.costs = {{"verify", std::string(300, 'm'), 1, 2}};
  const std::string svg = ToSvg(plan);
  // Whole only in tooltips.
  for (const std::string& name :
       {std::string(300, 'W'), std::string(500, 'w'), std::string(300, 'm')}) {
    const size_t at = svg.find(name);
    ASSERT_NE(at, std::string::npos);
    EXPECT_NE(svg.rfind("<title>", at), std::string::npos);
  }
}

}  // namespace
}  // namespace khop::report
