// SPDX-License-Identifier: MIT
// A child process whose standard input and output are ours, which never outlives us and never
// becomes a zombie.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lab/vm/failure.h"

namespace khop::lab {

// A file descriptor that is closed with its owner.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd();
  int get() const { return fd_; }
  void Reset();

 private:
  int fd_ = -1;
};

class ChildProcess {
 public:
  // Starts a program found in PATH. Its output and errors are one stream; `extra` becomes its
  // descriptor 3. The child is killed when this process dies.
  static Result<ChildProcess> Start(const std::vector<std::string>& arguments,
                                    const UniqueFd& extra);

  ChildProcess() = default;
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();  // kills

  int input() const { return input_.get(); }      // non-blocking; what is written is its stdin
  int output() const { return output_.get(); }    // non-blocking; its stdout and stderr
  int process() const { return process_.get(); }  // a pidfd: readable when it has ended
  int pid() const { return pid_; }

  bool running() const { return pid_ > 0; }
  void CloseOutput() { output_.Reset(); }
  // Collects an ended child: its exit code, or 128 + the signal. Blocks until it ends.
  int Wait();
  void Kill();

 private:
  int pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd process_;
};

}  // namespace khop::lab
