// SPDX-License-Identifier: MIT
#include "lab/guest/measure.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>

#include "tool/system/el0.h"

namespace khop::lab {
namespace {

constexpr int kRebootKexec = 0x45584543;  // LINUX_REBOOT_CMD_KEXEC
constexpr const char* kOutput = "/tmp/measured";
constexpr const char* kErrors = "/tmp/measured.errors";
constexpr long kSampleNanoseconds = 2'000'000;  // NOLINT(google-runtime-int): as in timespec
constexpr long kSplitNanoseconds = 500'000;     // NOLINT(google-runtime-int)

int Complain(const char* what) {
  fprintf(stderr, "khop-guest-tool: %s: %s\n", what, strerror(errno));
  return 1;
}

pid_t StartCommand(char** command) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  constexpr int kNew = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  const int output = open(kOutput, kNew, 0600);
  const int errors = open(kErrors, kNew, 0600);
  if (output < 0 || errors < 0) _exit(126);
  dup2(output, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  execvp(command[0], command);
  _exit(127);
}

// The exit code, after the command's errors if it is not 0.
int End(int status) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code != 0) {
    const std::ifstream errors(kErrors);
    std::ostringstream text;
    text << errors.rdbuf();
    fputs(text.str().c_str(), stderr);
  }
  return code;
}

// Of one CPU, in the kernel's ticks of 10 ms.
uint64_t IdleCentiseconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  uint64_t user = 0;
  uint64_t nice = 0;
  uint64_t system = 0;
  uint64_t idle = 0;
  uint64_t iowait = 0;
  stat >> cpu >> user >> nice >> system >> idle >> iowait;
  return idle + iowait;
}

// Pages in use that could not be had by dropping caches; without MemTotal, so that only differences
// mean something. Of one record of one file: a CPU's list of free pages, which is not in MemFree,
// can be tens of MiB, and is given back all at once, between two files as well.
int64_t UsedPages() {
  int64_t used = 0;
  std::ifstream zones("/proc/zoneinfo");
  std::string before;
  for (std::string word; zones >> word; before = word) {
    const bool free = before == "pages" && word == "free";
    if (!free && word != "count:" && word != "nr_file_pages" && word != "nr_slab_reclaimable" &&
        word != "nr_shmem") {
      continue;
    }
    int64_t count = 0;
    if (zones >> count) used += word == "nr_shmem" ? count : -count;
  }
  return used;
}

// One CPU is this program's whenever it wants it: the command stands still while a sample is taken.
bool TakePrecedence() {
  const sched_param priority = {.sched_priority = 1};
  return sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
}

// What the threads of a process have run, ns, by number; those that have ended keep theirs.
using RunTimes = std::map<std::string, uint64_t>;

void ReadRunTimes(const std::string& process, RunTimes& times) {
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator(process + "/task", gone)) {
    uint64_t ns = 0;
    if (std::ifstream(task.path() / "schedstat") >> ns) times[task.path()] = ns;
  }
}

uint64_t Total(const RunTimes& times) {
  uint64_t total = 0;
  for (const auto& [unused, ns] : times) total += ns;
  return total;
}

}  // namespace

int RebootAtACount() {
  constexpr uint64_t kFromNow = 1 << 20;  // ticks; long enough for what is printed to be sent
  sync();
  const uint64_t when = system::el0::Counter() + kFromNow;
  printf("rebooting at %" PRIu64 "\n", when);
  fflush(stdout);
  tcdrain(STDOUT_FILENO);
  while (system::el0::Counter() < when) {
  }
  reboot(kRebootKexec);
  return Complain("reboot");
}

int PrintZero() {
  const int log = open("/dev/kmsg", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (log < 0 || lseek(log, 0, SEEK_END) < 0) return Complain("/dev/kmsg");
  std::ofstream("/proc/sys/kernel/printk_devkmsg") << "on\n";  // no line is dropped
  const uint64_t hz = system::el0::CounterFrequency();
  // Each line has a time in whole microseconds and two counts around it; together they leave little
  // room. It is a line of the lowest level, which goes to no console.
  uint64_t earliest = 0;
  uint64_t latest = ~uint64_t{0};
  constexpr std::string_view kLine = "<7>khop-guest-tool: what time is it?\n";
  for (int i = 0; i < 256; ++i) {
    const uint64_t before = system::el0::Counter();
    if (write(log, kLine.data(), kLine.size()) < 0) return Complain("/dev/kmsg");
    const uint64_t after = system::el0::Counter();
    std::array<char, 8192> record{};
    uint64_t microseconds = 0;
    // A record of somebody else's may come first.
    for (;;) {
      const ssize_t size = read(log, record.data(), record.size() - 1);
      if (size <= 0) return Complain("/dev/kmsg");
      record[static_cast<size_t>(size)] = 0;
      if (strstr(record.data(), "what time is it?") == nullptr) continue;
      if (sscanf(record.data(), "%*u,%*u,%" SCNu64, &microseconds) != 1) return 1;
      break;
    }
    earliest = std::max(earliest, before - (microseconds + 1) * hz / 1'000'000);
    latest = std::min(latest, after - microseconds * hz / 1'000'000);
  }
  if (latest < earliest) {
    fprintf(stderr, "khop-guest-tool: the log's clock and the counter do not fit together\n");
    return 1;
  }
  printf("zero %" PRIu64 " within %" PRIu64 "\n", (earliest + latest) / 2,
         (latest - earliest + 1) / 2);
  return 0;
}

int CountCommand(char** command) {
  const uint64_t idle = IdleCentiseconds();
  const uint64_t start = system::el0::Counter();
  const pid_t pid = StartCommand(command);
  if (pid < 0) return Complain("fork");
  int status = 0;
  while (waitpid(pid, &status, 0) != pid) {
  }
  const uint64_t end = system::el0::Counter();
  printf("ticks %" PRIu64 " idle %" PRIu64 "\n", end - start,
         (IdleCentiseconds() - idle) * system::el0::CounterFrequency() / 100);
  return End(status);
}

int WatchMemory(char** command) {
  const int64_t before = UsedPages();
  int64_t most = before;
  const pid_t pid = StartCommand(command);
  if (pid < 0) return Complain("fork");
  if (!TakePrecedence()) return Complain("sched_setscheduler");
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    most = std::max(most, UsedPages());
    const timespec pause = {.tv_sec = 0, .tv_nsec = kSampleNanoseconds};
    nanosleep(&pause, nullptr);
  }
  most = std::max(most, UsedPages());
  printf("peak %" PRId64 "\n", (most - before) * sysconf(_SC_PAGESIZE));
  return End(status);
}

int SplitCommand(char** command) {
  const pid_t pid = StartCommand(command);
  if (pid < 0) return Complain("fork");
  if (!TakePrecedence()) return Complain("sched_setscheduler");
  const std::string process = "/proc/" + std::to_string(pid);
  RunTimes own;
  RunTimes children;
  uint64_t alone = 0;
  uint64_t beside = 0;
  bool had_child = false;
  for (siginfo_t info{}; info.si_pid == 0;) {
    const timespec pause = {.tv_sec = 0, .tv_nsec = kSplitNanoseconds};
    nanosleep(&pause, nullptr);
    // It stays to be looked at once it has ended.
    waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
    const uint64_t before = Total(own);
    ReadRunTimes(process, own);
    bool has_child = false;
    std::ifstream list(process + "/task/" + std::to_string(pid) + "/children");
    for (std::string child; list >> child; has_child = true) {
      ReadRunTimes("/proc/" + child, children);
    }
    (has_child && had_child ? beside : alone) += Total(own) - before;
    had_child = has_child;
  }
  int status = 0;
  waitpid(pid, &status, 0);
  printf("alone %" PRIu64 " beside %" PRIu64 " child %" PRIu64 "\n", alone, beside,
         Total(children));
  return End(status);
}

}  // namespace khop::lab
