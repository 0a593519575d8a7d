// SPDX-License-Identifier: MIT
#include "lab/vm/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace khop::lab {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

UniqueFd::~UniqueFd() { Reset(); }

void UniqueFd::Reset() {
  if (fd_ >= 0) {
    close(std::exchange(fd_, -1));
  }
}

Result<ChildProcess> ChildProcess::Start(const std::vector<std::string>& arguments,
                                         const UniqueFd& extra) {
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0) {
    return Fail(std::string("pipe: ") + strerror(errno));
  }
  const UniqueFd child_input(in[0]);
  ChildProcess child;
  child.input_ = UniqueFd(in[1]);
  if (pipe2(out, O_CLOEXEC) != 0) {
    return Fail(std::string("pipe: ") + strerror(errno));
  }
  child.output_ = UniqueFd(out[0]);
  const UniqueFd child_output(out[1]);
  fcntl(child.input_.get(), F_SETFL, O_NONBLOCK);
  fcntl(child.output_.get(), F_SETFL, O_NONBLOCK);

  // setpriv (util-linux, always there on Debian) asks the kernel to kill the child when we die.
  std::vector<std::string> words = {"setpriv", "--pdeathsig", "KILL", "--"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, child_input.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, child_output.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, child_output.get(), 2);
  if (extra.get() >= 0) {
    posix_spawn_file_actions_adddup2(&actions, extra.get(), 3);
  }
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return Fail("cannot start " + arguments[0] + ": " + strerror(error));
  }
  child.pid_ = pid;
  child.process_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (child.process_.get() < 0) {
    return Fail(std::string("pidfd_open: ") + strerror(errno));
  }
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      input_(std::move(other.input_)),
      output_(std::move(other.output_)),
      process_(std::move(other.process_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    Kill();
    pid_ = std::exchange(other.pid_, -1);
    input_ = std::move(other.input_);
    output_ = std::move(other.output_);
    process_ = std::move(other.process_);
  }
  return *this;
}

ChildProcess::~ChildProcess() { Kill(); }

int ChildProcess::Wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void ChildProcess::Kill() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    Wait();
  }
}

}  // namespace khop::lab
