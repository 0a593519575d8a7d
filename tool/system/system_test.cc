// SPDX-License-Identifier: MIT
// LinuxSystem on the machine that runs the tests, as far as that needs no root, and the helpers.
#include "tool/system/system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "tool/system/fake_system.h"
#include "tool/system/linux_system.h"

namespace khop::system {
namespace {

class LinuxSystemTest : public testing::Test {
 protected:
  LinuxSystemTest()
      : directory_(std::filesystem::temp_directory_path() /
                   ("khop-system-test-" + std::to_string(getpid()))) {
    std::filesystem::create_directory(directory_);
  }
  ~LinuxSystemTest() override { std::filesystem::remove_all(directory_); }
  std::string Path(const char* name) const { return directory_ / name; }

  LinuxSystem system_;
  std::filesystem::path directory_;
};

TEST_F(LinuxSystemTest, ReplacesFilesWhole) {
  const std::string text = "one\n";
  ASSERT_TRUE(ReplaceFile(system_, Path("f"), std::as_bytes(std::span(text))));
  EXPECT_EQ(ReadFile(system_, Path("f")).value(), "one\n");
  const auto info = system_.Lstat(Path("f"));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->mode, 0600U);
  EXPECT_TRUE(info->is_regular);
  EXPECT_FALSE(system_.Lstat(Path("f.new")));
}

TEST_F(LinuxSystemTest, AFifoDoesNotHoldItUp) {
  const std::string path = Path("fifo");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const auto fd = system_.Open(path, OpenMode::kRead);
  ASSERT_TRUE(fd);
  EXPECT_FALSE(system_.Stat(*fd)->is_regular);
  system_.Close(*fd);
}

TEST_F(LinuxSystemTest, NeverCreatesThroughALink) {
  std::filesystem::create_symlink(Path("victim"), Path("f.new"));
  const std::string text = "x";
  const auto done = ReplaceFile(system_, Path("f"), std::as_bytes(std::span(text)));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().value, ELOOP);
  EXPECT_FALSE(std::filesystem::exists(Path("victim")));
}

TEST_F(LinuxSystemTest, LocksExclude) {
  const auto one = File::Open(system_, Path("lock"), OpenMode::kCreateOrKeep);
  auto two = File::Open(system_, Path("lock"), OpenMode::kCreateOrKeep);
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(system_.Lock(one->fd()));
  EXPECT_EQ(system_.Lock(two->fd()).error().value, EWOULDBLOCK);
}

TEST_F(LinuxSystemTest, RunsPrograms) {
  EXPECT_EQ(system_.Run({"true"}).value(), 0);
  EXPECT_EQ(system_.Run({"sh", "-c", "exit 7"}).value(), 7);
  EXPECT_EQ(system_.Run({"khop-no-such-program"}).error().value, ENOENT);
}

TEST_F(LinuxSystemTest, ReadsProc) {
  EXPECT_FALSE(ReadFile(system_, "/proc/self/status").value().empty());
  EXPECT_EQ(ReadFile(system_, "/proc/self/status", 10).error().value, EFBIG);
  EXPECT_EQ(ReadFile(system_, Path("none")).error().value, ENOENT);
  EXPECT_TRUE(system_.ReadLink("/proc/self/ns/ipc").value().starts_with("ipc:["));
  std::array<std::byte, 16> one{};
  std::array<std::byte, 16> two{};
  EXPECT_TRUE(system_.Random(one) && system_.Random(two));
  EXPECT_NE(one, two);
}

TEST(ReadNumberTest, Table) {
  FakeSystem system;
  system.SetFile("/n", "42\n");
  EXPECT_EQ(ReadNumber(system, "/n").value(), 42U);
  for (const char* const text : {"", "x", "-1\n", "4x\n", "99999999999999999999\n"}) {
    system.SetFile("/n", text);
    EXPECT_EQ(ReadNumber(system, "/n").error().value, EINVAL) << text;
  }
}

}  // namespace
}  // namespace khop::system
