// SPDX-License-Identifier: MIT
// The first process of the lab's guests. It says what kernel it runs on and what it was given, then
// serves commands from the serial console (protocol.h). With --serve it does the latter for a
// Debian whose systemd has started it.
#include <fcntl.h>
#include <poll.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

#include "lab/guest/protocol.h"
#include "tool/system/el0.h"

namespace khop::lab {
namespace {

constexpr int kRebootKexec = 0x45584543;  // LINUX_REBOOT_CMD_KEXEC

// One answer to the driver, kept so that it can be sent again.
struct Answer {
  std::string id;
  int code = 0;
  std::string text;
};

std::string ReadAll(const char* path) {
  std::string text;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return text;
  }
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(fd, buffer, sizeof buffer);
    if (count <= 0) {
      break;
    }
    text.append(buffer, static_cast<size_t>(count));
  }
  close(fd);
  return text;
}

void WriteAll(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count > 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (count < 0 && errno != EINTR && errno != EAGAIN) {
      return;
    }
  }
}

// Kernel messages stay in the log but off the console while an answer is written, and come back
// after.
class QuietConsole {
 public:
  QuietConsole() : level_(atoi(ReadAll("/proc/sys/kernel/printk").c_str())) {
    klogctl(8, nullptr, 1);
  }
  ~QuietConsole() {
    tcdrain(STDOUT_FILENO);
    klogctl(8, nullptr, level_ > 0 ? level_ : 7);
  }
  QuietConsole(const QuietConsole&) = delete;
  QuietConsole& operator=(const QuietConsole&) = delete;

 private:
  int level_;
};

void Send(const Answer& answer) {
  const QuietConsole quiet;
  // A fresh line, whatever the kernel left unfinished.
  std::string out = "\n";
  out.append(protocol::kBegin).append(answer.id).append("\n");
  std::string_view rest = answer.text;
  while (!rest.empty()) {
    const size_t newline = rest.find('\n');
    const bool open_line = newline == std::string_view::npos;
    out.append(open_line ? protocol::kOpenLine : protocol::kLine);
    out.append(protocol::Escape(rest.substr(0, newline))).append("\n");
    rest.remove_prefix(open_line ? rest.size() : newline + 1);
  }
  char tail[48];
  snprintf(tail, sizeof tail, " %d %08x\n", answer.code, protocol::Crc32(answer.text));
  out.append(protocol::kEnd).append(answer.id).append(tail);
  WriteAll(out);
}

// Runs a shell command with its output and errors in one stream; ends with the command, even if it
// left a process behind that still holds the stream. Reaps orphans on the way.
Answer Run(std::string id, const std::string& command) {
  Answer answer{.id = std::move(id), .code = -1, .text = ""};
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    answer.text = std::string("init: pipe: ") + strerror(errno) + "\n";
    return answer;
  }
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    const int null = open("/dev/null", O_RDONLY);
    if (null >= 0) {
      dup2(null, STDIN_FILENO);
    }
    dup2(pipe_fds[1], STDOUT_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  close(pipe_fds[1]);
  if (pid < 0) {
    close(pipe_fds[0]);
    answer.text = std::string("init: fork: ") + strerror(errno) + "\n";
    return answer;
  }
  fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  bool ended = false;
  for (;;) {
    pollfd fds[2] = {{pipe_fds[0], POLLIN, 0}, {process, POLLIN, 0}};
    if (!ended) {
      poll(fds, 2, 1000);
    }
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(pipe_fds[0], buffer, sizeof buffer)) > 0) {
      answer.text.append(buffer, static_cast<size_t>(count));
    }
    if (ended) {
      break;
    }
    int status = 0;
    pid_t reaped = 0;
    while ((reaped = waitpid(-1, &status, WNOHANG)) > 0) {
      if (reaped == pid) {
        ended = true;
        answer.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
    }
  }
  close(process);
  close(pipe_fds[0]);
  return answer;
}

std::string FirstWord(const std::string& text) { return text.substr(0, text.find_first_of(" \n")); }

// What this kernel is and what it was given, as "key value" lines.
Answer Facts(std::string id) {
  Answer answer{.id = std::move(id), .code = 0, .text = ""};
  const auto add = [&](const char* key, std::string_view value) {
    answer.text.append(key).append(" ").append(value).append("\n");
  };
  utsname names{};
  uname(&names);
  add("uname", names.release);
  std::string command_line = ReadAll("/proc/cmdline");
  while (!command_line.empty() && command_line.back() == '\n') {
    command_line.pop_back();
  }
  add("cmdline", command_line);
  const std::string memory = ReadAll("/proc/meminfo");
  for (const auto& [key, field] :
       {std::pair{"memtotal-kib", "MemTotal:"}, std::pair{"memavailable-kib", "MemAvailable:"}}) {
    const size_t at = memory.find(field);
    if (at != std::string::npos) {
      const size_t digits = memory.find_first_of("0123456789", at);
      add(key, FirstWord(memory.substr(digits)));
    }
  }
  if (command_line.find("khop_lab.nodigest") == std::string::npos) {
    // The initrd itself where the kernel shows it (6.8 on, with retain_initrd); else what came out
    // of it.
    if (access("/sys/firmware/initrd", R_OK) == 0) {
      add("initrd-sha256", FirstWord(Run("", "sha256sum /sys/firmware/initrd").text));
    } else {
      add("initrd-sha256", "none: this kernel does not show its initrd");
      add("manifest-sha256", FirstWord(Run("",
                                           "find / -xdev -type f -print0 | LC_ALL=C sort -z | "
                                           "xargs -0 sha256sum | sha256sum")
                                           .text));
    }
  }
  const std::string iomem = ReadAll("/proc/iomem");
  for (size_t at = 0; at < iomem.size();) {
    const size_t end = iomem.find('\n', at);
    add("iomem", std::string_view(iomem).substr(at, end - at));
    at = end == std::string::npos ? iomem.size() : end + 1;
  }
  // Last, for the driver compares the counter with the time at which it hears of it.
  add("cntfrq", std::to_string(system::el0::CounterFrequency()));
  add("cntvct", std::to_string(system::el0::Counter()));
  return answer;
}

void MountAll() {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mkdir("/run", 0755);
  mkdir("/tmp", 01777);
  mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755");
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mount("tmpfs", "/run", "tmpfs", 0, "mode=0755");
  mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
}

void SetUpConsole() {
  const int console = open("/dev/console", O_RDWR);
  if (console >= 0) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
      dup2(console, fd);
    }
    if (console > STDERR_FILENO) {
      close(console);
    }
  }
  termios mode{};
  if (tcgetattr(STDIN_FILENO, &mode) == 0) {
    // Whole lines, nothing echoed, no signals from control characters.
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ISIG | IEXTEN);
    mode.c_lflag |= ICANON;
    mode.c_iflag |= ICRNL;
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  }
}

// Carries out one line from the driver. Lines that are no command are noise.
void Serve(std::string_view line, Answer& last) {
  const auto after = [&](std::string_view prefix) {
    return std::string(line.substr(line.find(prefix) + prefix.size()));
  };
  const auto holds = [&](std::string_view prefix) {
    return line.find(prefix) != std::string_view::npos;
  };
  if (holds(protocol::kRun)) {
    const std::string rest = after(protocol::kRun);
    const size_t space = rest.find(' ');
    if (space == std::string::npos) {
      return;
    }
    last = Run(rest.substr(0, space), rest.substr(space + 1));
    Send(last);
  } else if (holds(protocol::kFacts)) {
    last = Facts(after(protocol::kFacts));
    Send(last);
  } else if (holds(protocol::kAgain)) {
    Send(last);
  } else if (holds(protocol::kKexec)) {
    sync();
    reboot(kRebootKexec);
    last = {.id = "kexec", .code = errno, .text = std::string(strerror(errno)) + "\n"};
    Send(last);
  } else if (holds(protocol::kPowerOff)) {
    sync();
    reboot(RB_POWER_OFF);
  }
}

// With `serve` it is a service of a system that is up already.
[[noreturn]] void Main(bool serve) {
  if (!serve) MountAll();
  SetUpConsole();
  setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
  setenv("HOME", "/", 1);
  if (!serve) Run("", "/bin/busybox --install -s /bin");
  Answer last = Facts("0");
  Send(last);
  {
    const QuietConsole quiet;
    WriteAll(std::string(protocol::kReady) + "\n");
  }
  std::string pending;
  for (;;) {
    char buffer[4096];
    const ssize_t count = read(STDIN_FILENO, buffer, sizeof buffer);
    if (count <= 0) {
      const timespec pause{.tv_sec = 0, .tv_nsec = 100'000'000};
      nanosleep(&pause, nullptr);
      continue;
    }
    pending.append(buffer, static_cast<size_t>(count));
    size_t newline = 0;
    while ((newline = pending.find('\n')) != std::string::npos) {
      const std::string line = pending.substr(0, newline);
      pending.erase(0, newline + 1);
      Serve(line, last);
    }
  }
}

}  // namespace
}  // namespace khop::lab

int main(int argc, char** argv) {
  khop::lab::Main(argc > 1 && std::string_view(argv[1]) == "--serve");
}
