// SPDX-License-Identifier: MIT
// What the child that reads images can do: ask for bytes, answer, and nothing else.
#include "tool/image/sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

namespace khop::image {
namespace {

Result<Sandbox> StartIn(const Work& work, const std::string& input = "") {
  return Sandbox::Start(
      [input](std::span<std::byte> out, uint64_t offset) -> Result<size_t> {
        const size_t at = std::min<size_t>(offset, input.size());
        const size_t size = std::min(out.size(), input.size() - at);
        memcpy(out.data(), input.data() + at, size);
        return size;
      },
      input.size(), "f", work);
}

// /proc/PID/status of this process's only child, by key.
std::map<std::string, std::string> ChildStatus(pid_t* child) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "status");
    std::map<std::string, std::string> status;
    for (std::string line; std::getline(file, line);) {
      const size_t colon = line.find(":\t");
      if (colon != std::string::npos) status[line.substr(0, colon)] = line.substr(colon + 2);
    }
    if (status["PPid"] != std::to_string(getpid())) continue;
    *child = std::stoi(status["Pid"]);
    return status;
  }
  return {};
}

TEST(Sandbox, BytesGoThroughIt) {
  auto sandbox = StartIn(
      [](Channel& channel) -> Result<void> {
        std::array<std::byte, 3> bytes = {};
        const auto got = channel.ReadAt(bytes, 2);
        if (!got) return Forward(got);
        return channel.Give(std::span(bytes).first(*got));
      },
      "abcd");
  ASSERT_TRUE(sandbox);
  const auto some = sandbox->Next();
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(some->data()), some->size()), "cd");
  const auto end = sandbox->Next();
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->empty());
}

TEST(Sandbox, AViewLastsUntilTheNext) {
  auto sandbox = StartIn(
      [](Channel& channel) -> Result<void> {
        const auto view = channel.View(1, 2);
        if (!view) return Forward(view);
        std::array<std::byte, 4> bytes = {};
        if (const auto got = channel.ReadAt(bytes, 0); !got) return Forward(got);
        if (auto given = channel.Give(*view); !given) return given;
        const auto last = channel.View(3, 1 << 20);
        if (!last) return Forward(last);
        const auto beyond = channel.View(4, 1);
        if (!beyond || !beyond->empty() || last->size() != 1) return channel.Give(bytes);
        return {};
      },
      "abcd");
  ASSERT_TRUE(sandbox);
  const auto some = sandbox->Next();
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(some->data()), some->size()), "bc");
  const auto end = sandbox->Next();
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->empty());
}

// So that copying and digesting what is unpacked costs no time of its own.
TEST(Sandbox, WorksAheadOfItsReader) {
  void* const shared = mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto* const given = new (shared) std::atomic<int>(0);
  constexpr int kAll = 5;
  auto sandbox = StartIn([&](Channel& channel) -> Result<void> {
    for (int i = 0; i < kAll; ++i) {
      const std::span<std::byte> room = channel.Room();
      std::ranges::fill(room, static_cast<std::byte>(i));
      if (auto done = channel.Give(room); !done) return done;
      ++*given;
    }
    return {};
  });
  ASSERT_TRUE(sandbox);
  for (int i = 0; i < kAll; ++i) {
    const auto some = sandbox->Next();
    ASSERT_TRUE(some);
    // It has filled the other room by now or will, but not this one.
    const int ahead = std::min(i + 2, kAll);
    for (int wait = 0; *given < ahead && wait < 1000; ++wait) usleep(10'000);
    EXPECT_EQ(*given, ahead);
    EXPECT_THAT(*some, testing::Each(static_cast<std::byte>(i)));
  }
  EXPECT_TRUE(sandbox->Next()->empty());
  munmap(shared, sizeof(std::atomic<int>));
}

TEST(Sandbox, AnyOtherSystemCallEndsIt) {
  const std::map<std::string, std::function<void()>> calls = {
      {"open a file", [] { syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }},
      {"make one", [] { syscall(SYS_openat, AT_FDCWD, "/tmp/x", O_CREAT | O_WRONLY, 0600); }},
      {"remove one", [] { syscall(SYS_unlinkat, AT_FDCWD, "/tmp/none", 0); }},
      {"read from elsewhere",
       [] {
         char c = 0;
         syscall(SYS_read, 0, &c, 1);
       }},
      {"a socket", [] { syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"a process", [] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"a program", [] { syscall(SYS_execve, "/bin/true", nullptr, nullptr); }},
      {"a signal", [] { syscall(SYS_kill, 1, 0); }},
      {"another user", [] { syscall(SYS_setresuid, 0, 0, 0); }},
      {"another process", [] { syscall(SYS_ptrace, 0, 0, 0, 0); }},
      {"a reboot", [] { syscall(SYS_reboot, 0, 0, 0, nullptr); }},
      {"memory to execute",
       [] {
         syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
       }},
      {"memory of a file", [] { syscall(SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE, 2, 0); }},
  };
  for (const auto& [what, call] : calls) {
    SCOPED_TRACE(what);
    auto sandbox = StartIn([&](Channel& /*channel*/) -> Result<void> {
      call();
      return {};
    });
    ASSERT_TRUE(sandbox);
    const auto next = sandbox->Next();
    ASSERT_FALSE(next);
    EXPECT_EQ(next.error().code, ExitCode::kUnpackerDied);
    EXPECT_THAT(next.error().message,
                testing::HasSubstr("by signal " + std::to_string(SIGSYS) +
                                   ": it made a system call that it may not make"));
  }
}

TEST(Sandbox, IsNobodyWithoutFilesOrPrivileges) {
  auto sandbox = StartIn([](Channel& channel) { return channel.Give(std::array{std::byte{1}}); });
  ASSERT_TRUE(sandbox);
  ASSERT_TRUE(sandbox->Next());
  // It waits for an answer now.
  pid_t child = 0;
  auto status = ChildStatus(&child);
  ASSERT_NE(child, 0);
  EXPECT_EQ(status["Seccomp"], "2") << "a filter";
  EXPECT_EQ(status["NoNewPrivs"], "1");
  if (geteuid() == 0) {
    EXPECT_EQ(status["Uid"], "65534\t65534\t65534\t65534");
    EXPECT_EQ(status["Gid"], "65534\t65534\t65534\t65534");
    EXPECT_EQ(status["CapEff"], "0000000000000000");
    const std::filesystem::directory_iterator files("/proc/" + std::to_string(child) + "/fd");
    // The socket; and for the sanitizers' words, standard error.
    EXPECT_LE(std::distance(begin(files), end(files)), 2);
  }
}

TEST(Sandbox, EndsWithItsOwner) {
  {
    auto sandbox = StartIn([](Channel& channel) -> Result<void> {
      for (;;) {
        const auto given = channel.Give(std::array{std::byte{1}});
        if (!given) return given;
      }
    });
    ASSERT_TRUE(sandbox);
    ASSERT_TRUE(sandbox->Next());
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

// The child is not to be believed, not in what it fails with either.
TEST(Sandbox, FailuresAreOneLineAndAKnownCode) {
  // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): that is the point
  const auto unknown = static_cast<ExitCode>(250);
  for (const auto& [said, expected] :
       {std::pair{ExitCode::kTruncated, ExitCode::kTruncated},
        std::pair{unknown, ExitCode::kInternal}, std::pair{ExitCode::kOk, ExitCode::kInternal}}) {
    auto sandbox = StartIn([code = said](Channel& /*channel*/) -> Result<void> {
      return std::unexpected(Failure{code, "one\nline\x1b[2J" + std::string(5000, 'x')});
    });
    ASSERT_TRUE(sandbox);
    const auto next = sandbox->Next();
    ASSERT_FALSE(next);
    EXPECT_EQ(next.error().code, expected);
    EXPECT_EQ(next.error().message.find_first_of("\n\x1b"), std::string::npos);
    EXPECT_LT(next.error().message.size(), 4096U);
  }
}

}  // namespace
}  // namespace khop::image
