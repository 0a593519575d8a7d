// SPDX-License-Identifier: MIT
#include "tool/image/confine.h"

#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define KHOP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KHOP_ASAN 1
#endif
#endif
#ifndef KHOP_ASAN
#define KHOP_ASAN 0
#endif

namespace khop::image {
namespace {

#if defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#else
#error "seccomp: which AUDIT_ARCH_ is this?"
#endif

constexpr uid_t kNobody = 65534;
constexpr rlim_t kMaxAddressSpace = rlim_t{2} << 30;
constexpr rlim_t kMaxSeconds = 900;  // of the CPU

// Of a system call's arguments the lower halves: no one of these uses more.
constexpr uint32_t Argument(size_t index) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
}

sock_filter Load(uint32_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }

// Goes on if equal, else over `skip` instructions.
sock_filter Equal(uint32_t value, uint8_t skip) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip);
}

sock_filter Return(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }

constexpr uint32_t kSystemCall = offsetof(seccomp_data, nr);

void Allow(std::vector<sock_filter>& program, long call) {
  program.push_back(Equal(static_cast<uint32_t>(call), 1));
  program.push_back(Return(SECCOMP_RET_ALLOW));
}

// Only with this as the first argument.
void AllowFor(std::vector<sock_filter>& program, long call, int descriptor) {
  program.push_back(Equal(static_cast<uint32_t>(call), 4));
  program.push_back(Load(Argument(0)));
  program.push_back(Equal(static_cast<uint32_t>(descriptor), 1));
  program.push_back(Return(SECCOMP_RET_ALLOW));
  program.push_back(Load(kSystemCall));
}

// Only without these bits in an argument, and with others if there are any.
void AllowWithout(std::vector<sock_filter>& program, long call, size_t argument, uint32_t bits,
                  size_t other, uint32_t other_bits) {
  program.push_back(Equal(static_cast<uint32_t>(call), 6));
  program.push_back(Load(Argument(argument)));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 3, 0));
  program.push_back(Load(Argument(other)));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, other_bits, 0, 1));
  program.push_back(Return(SECCOMP_RET_ALLOW));
  program.push_back(Load(kSystemCall));
}

std::vector<sock_filter> MakeProgram(int socket) {
  std::vector<sock_filter> program = {
      Load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      Return(SECCOMP_RET_KILL_PROCESS),
      Load(kSystemCall),
  };
  AllowFor(program, SYS_read, socket);
  AllowFor(program, SYS_write, socket);
  // Memory of its own, never to be executed: mmap's third and fourth argument.
  AllowWithout(program, SYS_mmap, 2, PROT_EXEC, 3, MAP_ANONYMOUS);
  for (const long call : {SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex, SYS_getrandom,
                          SYS_exit, SYS_exit_group}) {
    Allow(program, call);
  }
#if KHOP_ASAN
  // What the sanitizers' runtimes do: they try out addresses by writing to pipes.
  for (const long call :
       {SYS_write, SYS_pipe2, SYS_close, SYS_mprotect, SYS_rt_sigprocmask, SYS_sigaltstack,
        SYS_gettid, SYS_getpid, SYS_sched_yield, SYS_clock_gettime}) {
    Allow(program, call);
  }
#endif
  program.push_back(Return(SECCOMP_RET_KILL_PROCESS));
  return program;
}

void CloseAllBut(int socket) {
  const auto close_range = [](unsigned first, unsigned last) {
    if (first > last || syscall(SYS_close_range, first, last, 0U) == 0) return;
    // Kernels before 5.9.
    const long limit = sysconf(_SC_OPEN_MAX);
    for (unsigned fd = first; fd <= last && static_cast<long>(fd) < limit; ++fd) {
      close(static_cast<int>(fd));
    }
  };
  const auto keep = static_cast<unsigned>(socket);
  close(STDIN_FILENO);
  close(STDOUT_FILENO);
  if (!KHOP_ASAN) close(STDERR_FILENO);
  if (keep > STDERR_FILENO + 1) close_range(STDERR_FILENO + 1, keep - 1);
  close_range(keep + 1, ~0U);
}

void SetLimit(__rlimit_resource resource, rlim_t value) {
  const rlimit limit = {value, value};
  setrlimit(resource, &limit);
}

bool BecomeNobody() {
  if (geteuid() != 0) return true;
  // In a user namespace there may be no nobody: then seccomp has to do.
  const bool became = setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
                      setresuid(kNobody, kNobody, kNobody) == 0;
  return became || errno == EINVAL;
}

}  // namespace

void DieWith(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
}

Result<void> Confine(int socket) {
  const auto refuse = [](const char* what) {
    return FailErrno(ExitCode::kNoSandbox, what, errno, "run a kernel with CONFIG_SECCOMP_FILTER");
  };
  CloseAllBut(socket);
  const pid_t parent = getppid();
  if (!BecomeNobody()) return refuse("becoming nobody");
  DieWith(parent);  // a change of user takes it back
  SetLimit(RLIMIT_CORE, 0);
  SetLimit(RLIMIT_FSIZE, 0);
  SetLimit(RLIMIT_CPU, kMaxSeconds);
  if (!KHOP_ASAN) SetLimit(RLIMIT_AS, kMaxAddressSpace);
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return refuse("PR_SET_DUMPABLE");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return refuse("PR_SET_NO_NEW_PRIVS");
  std::vector<sock_filter> program = MakeProgram(socket);
  const sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) return refuse("seccomp");
  return {};
}

}  // namespace khop::image
