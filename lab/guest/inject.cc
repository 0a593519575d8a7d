// SPDX-License-Identifier: MIT
#include "lab/guest/inject.h"

#include <asm/ptrace.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

constexpr const char* kSaid = "/tmp/said";

struct Trouble {
  int error = 0;     // 0: kill
  int64_t call = 0;  // the number of the call, from 0 on
};

struct Outcome {
  int status = 0;       // or 128 + signal
  int64_t calls = 0;    // that were begun
  int64_t number = -1;  // of the system call that got the trouble
  bool came = false;    // whether the trouble came
};

bool IsAnyOf(int64_t number, std::initializer_list<int64_t> numbers) {
  return std::ranges::find(numbers, number) != numbers.end();
}

// Memory for the program itself is had at its start; what ends it does not fail; and the C library
// aborts when futex(2) fails as it cannot.
bool IsLeftAlone(int64_t number) {
  return IsAnyOf(number, {SYS_exit, SYS_exit_group, SYS_brk, SYS_mmap, SYS_munmap, SYS_mprotect,
                          SYS_rt_sigreturn, SYS_close, SYS_futex});
}

// By their manual pages, or on some file systems.
bool MayBeInterrupted(int64_t number) {
  return IsAnyOf(number, {SYS_openat,    SYS_read,     SYS_pread64,    SYS_write,    SYS_writev,
                          SYS_flock,     SYS_mlock,    SYS_newfstatat, SYS_fstat,    SYS_readlinkat,
                          SYS_getrandom, SYS_madvise,  SYS_kexec_load, SYS_shmget,   SYS_shmat,
                          SYS_shmctl,    SYS_renameat, SYS_renameat2,  SYS_unlinkat, SYS_mkdirat});
}

class Tracee {
 public:
  Tracee(char** command, Trouble trouble) : command_(command), trouble_(trouble) {}

  // Runs it to its end.
  Outcome Run() {
    pid_ = fork();
    if (pid_ == 0) Become();
    int status = 0;
    waitpid(pid_, &status, 0);  // the SIGSTOP before the execve
    ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    bool started = false;
    bool entered = false;
    bool failing = false;
    int64_t number = -1;  // at the exit of execve it is not in its register any more
    int signal = 0;
    for (;;) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): ptrace(2)'s way to pass a signal
      ptrace(PTRACE_SYSCALL, pid_, nullptr, reinterpret_cast<void*>(static_cast<intptr_t>(signal)));
      signal = 0;
      if (waitpid(pid_, &status, 0) != pid_) break;
      if (WIFEXITED(status) || WIFSIGNALED(status)) break;
      if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        continue;
      }
      entered = !entered;
      if (!entered) {
        if (failing) SetResult(-trouble_.error);
        failing = false;
        started = started || (number == SYS_execve && Result() == 0);
        continue;
      }
      number = Number();
      if (started) failing = Enter(number);
    }
    outcome_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome_;
  }

 private:
  [[noreturn]] void Become() {
    const int said = open(kSaid, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (said < 0) _exit(126);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    execvp(command_[0], command_);
    _exit(127);
  }

  // Whether the call is to fail.
  bool Enter(int64_t number) {
    const bool now = outcome_.calls++ >= trouble_.call && !outcome_.came;
    if (number == SYS_reboot) {
      // Nothing else is left to do: as good as the end.
      if (now) Note(number);
      kill(pid_, SIGKILL);
      return false;
    }
    if (!now) return false;
    if (trouble_.error == 0) {
      Note(number);
      kill(pid_, SIGKILL);
      return false;
    }
    if (IsLeftAlone(number) || (trouble_.error == EINTR && !MayBeInterrupted(number))) return false;
    Note(number);
    int none = -1;
    iovec part = {&none, sizeof(none)};
    ptrace(PTRACE_SETREGSET, pid_, NT_ARM_SYSTEM_CALL, &part);
    return true;
  }
  void Note(int64_t number) {
    outcome_.came = true;
    outcome_.number = number;
  }

  user_pt_regs Registers() const {
    user_pt_regs registers = {};
    iovec part = {&registers, sizeof(registers)};
    ptrace(PTRACE_GETREGSET, pid_, NT_PRSTATUS, &part);
    return registers;
  }
  int64_t Number() const { return static_cast<int64_t>(Registers().regs[8]); }
  int64_t Result() const { return static_cast<int64_t>(Registers().regs[0]); }
  void SetResult(int64_t result) const {
    user_pt_regs registers = Registers();
    registers.regs[0] = static_cast<uint64_t>(result);
    iovec part = {&registers, sizeof(registers)};
    ptrace(PTRACE_SETREGSET, pid_, NT_PRSTATUS, &part);
  }

  char** command_;
  Trouble trouble_;
  pid_t pid_ = -1;
  Outcome outcome_;
};

// Runs the script that the environment names, if any.
bool Script(const char* variable, const std::string& arguments) {
  const char* const script = getenv(variable);
  return script == nullptr ||
         system(("sh -e " + std::string(script) + arguments + " >/tmp/script 2>&1").c_str()) == 0;
}

int Show(const char* paths) {
  fflush(stdout);
  (void)!system((std::string("cat ") + paths).c_str());
  return 1;
}

}  // namespace

int Inject(char** arguments) {
  const std::string_view kind = arguments[0];
  Trouble trouble{.error = kind == "kill" ? 0 : atoi(arguments[0]), .call = atol(arguments[1])};
  const int64_t step = std::max(int64_t{1}, int64_t{atol(arguments[2])});
  int runs = 0;
  int errors = 0;
  for (;; ++runs) {
    const std::string call = " " + std::to_string(trouble.call);
    if (!Script("INJECT_BEFORE", call)) {
      printf("before call%s: the machine is not ready\n", call.c_str());
      return Show("/tmp/script");
    }
    const Outcome outcome = Tracee(arguments + 3, trouble).Run();
    if (!Script("INJECT_AFTER", call + " " + std::to_string(outcome.status))) {
      printf("trouble at call%s (system call %" PRId64 "), status %d; program and script said:\n",
             call.c_str(), outcome.number, outcome.status);
      return Show("/tmp/said /tmp/script");
    }
    if (!outcome.came) {
      printf("%d runs, %d with an error of its own, %" PRId64 " calls, status %d\n", runs, errors,
             outcome.calls, outcome.status);
      return 0;
    }
    if (outcome.status != 0 && outcome.status < 128) ++errors;
    // Where a call was passed over, the next one got it.
    trouble.call += step;
  }
}
