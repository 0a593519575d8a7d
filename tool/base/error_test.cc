// SPDX-License-Identifier: MIT
#include "tool/base/error.h"

#include <cerrno>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace khop {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail(ExitCode::kUsage, "half", "the number is odd", "give an even one");
  return n / 2;
}

Result<std::string> HalfText(int n) {
  const Result<int> half = Half(n);
  if (!half) return Forward(half);
  return std::to_string(*half);
}

TEST(Error, ForwardKeepsCodeAndMessage) {
  EXPECT_EQ(HalfText(8).value(), "4");
  const auto failed = HalfText(7);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ExitCode::kUsage);
  EXPECT_EQ(failed.error().message, "half: the number is odd; give an even one");
}

TEST(Error, MessageStaysOneLine) {
  const auto failure = Fail(ExitCode::kFileMissing, "a\nb\x1b[2J", "no such file\r");
  EXPECT_EQ(failure.error().message, "a?b?[2J: no such file?");
  EXPECT_EQ(Printable("caf\xc3\xa9 \xc2\x9b"), "caf\xc3\xa9 ??");
}

TEST(Error, ErrnoBecomesText) {
  const auto failure = FailErrno(ExitCode::kFileUnreadable, "/x", EACCES, "run as root");
  EXPECT_EQ(failure.error().message, "/x: Permission denied; run as root");
}

TEST(Error, EveryExitCodeHasItsOwnNumberNameAndMeaning) {
  const auto all = AllExitCodes();
  std::set<int> numbers;
  std::set<std::string_view> names;
  std::set<std::string_view> meanings;
  for (const ExitCodeInfo& info : all) {
    EXPECT_TRUE(numbers.insert(static_cast<int>(info.code)).second);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_TRUE(meanings.insert(info.meaning).second) << info.meaning;
    EXPECT_LE(info.meaning.size(), 72u) << info.meaning;
    // 126 and up belong to the shell and to kexec-tools.
    EXPECT_LT(static_cast<int>(info.code), 126);
  }
  EXPECT_EQ(all.front().code, ExitCode::kOk);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailure), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_GE(all.size(), 30u);
  // Legal, as the enumeration's type is fixed: NOLINTNEXTLINE(clang-analyzer-optin.core.*)
  EXPECT_TRUE(DescribeExitCode(static_cast<ExitCode>(99)).name.empty());
}

TEST(Error, Numbers) {
  EXPECT_EQ(HumanBytes(0), "0 bytes");
  EXPECT_EQ(HumanBytes(1), "1 byte");
  EXPECT_EQ(HumanBytes(1023), "1023 bytes");
  EXPECT_EQ(HumanBytes(1024), "1 KiB");
  EXPECT_EQ(HumanBytes(39426048), "37.5 MiB");
  EXPECT_EQ(HumanBytes(uint64_t{2} << 20), "2 MiB");
  EXPECT_EQ(HumanBytes(~uint64_t{0}), "15.9 EiB");
  EXPECT_EQ(Hex(0x40200000), "0x40200000");
}

}  // namespace
}  // namespace khop
