// SPDX-License-Identifier: MIT
#include "lab/vm/machine.h"

#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

namespace khop::lab {
namespace {

using nlohmann::json;

int MillisecondsUntil(std::chrono::steady_clock::time_point until) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
}

std::chrono::steady_clock::time_point After(Seconds seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(seconds);
}

// Deadlines are for two machines on two idle cores; KHOP_LAB_PATIENCE=3 makes all three times as
// long.
Seconds Patient(Seconds deadline) {
  const char* const factor = getenv("KHOP_LAB_PATIENCE");
  return factor == nullptr ? deadline : deadline * std::max(1.0, strtod(factor, nullptr));
}

// What of the machine shows in its device tree.
std::vector<std::string> HardwareArguments(const MachineConfig& config) {
  std::vector<std::string> words = {
      "qemu-system-aarch64", "-machine", config.machine, "-cpu", config.cpu, "-smp",
      std::to_string(config.cpus), "-m", std::to_string(config.memory_mib) + "M",
      // What a machine sees as random must be the same in every run.
      "-seed", "20250801", "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none"};
  words.insert(words.end(), config.extra_arguments.begin(), config.extra_arguments.end());
  return words;
}

std::vector<std::string> Arguments(const MachineConfig& config) {
  std::vector<std::string> words = HardwareArguments(config);
  words.insert(words.end(), {"-accel", config.cpus > 1 ? "tcg,thread=multi" : "tcg,thread=single",
                             "-serial", "stdio", "-chardev", "socket,id=monitor,fd=3", "-mon",
                             "chardev=monitor,mode=control", "-kernel", config.kernel.string(),
                             "-append", config.command_line});
  if (!config.allow_reboot) {
    words.emplace_back("-no-reboot");
  }
  if (!config.initrd.empty()) {
    words.emplace_back("-initrd");
    words.push_back(config.initrd.string());
  }
  if (config.instruction_count) {
    words.emplace_back("-icount");
    words.emplace_back("shift=0");
  }
  return words;
}

}  // namespace

std::string_view ToString(EndReason reason) {
  switch (reason) {
    case EndReason::kGuestReset:
      return "the guest reset the machine";
    case EndReason::kGuestPowerOff:
      return "the guest powered off";
    case EndReason::kKilled:
      return "killed by the lab";
    case EndReason::kOther:
      break;
  }
  return "QEMU ended by itself";
}

Result<Machine> Machine::Start(const MachineConfig& config) {
  // A machine that has ended makes writing fail instead of ending the test.
  signal(SIGPIPE, SIG_IGN);
  Machine machine;
  machine.log_path_ = config.console_log;
  if (!config.console_log.empty()) {
    std::error_code error;
    std::filesystem::create_directories(config.console_log.parent_path(), error);
    machine.log_.open(config.console_log, std::ios::binary | std::ios::trunc);
    if (!machine.log_) {
      return Fail("cannot write the console log " + config.console_log.string());
    }
  }
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return Fail(std::string("socketpair: ") + strerror(errno));
  }
  machine.monitor_ = UniqueFd(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  std::vector<std::string> arguments = Arguments(config);
  if (config.edit_tree) {
    std::filesystem::path tree = config.console_log;
    tree.replace_filename("edited.dtb");
    const Result<void> written = WriteEditedTree(HardwareArguments(config), config.edit_tree, tree);
    if (!written) {
      return std::unexpected(written.error());
    }
    arguments.insert(arguments.end(), {"-dtb", tree.string()});
  }
  Result<ChildProcess> child = ChildProcess::Start(arguments, theirs);
  if (!child) {
    return std::unexpected(child.error());
  }
  machine.child_ = std::move(*child);
  const Result<std::string> ready = machine.Qmp("qmp_capabilities", "");
  if (!ready) {
    return std::unexpected(machine.Describe("QEMU did not start: " + ready.error().what));
  }
  return machine;
}

void Machine::Pump(Clock::time_point until) {
  if (end_) {
    return;
  }
  pollfd fds[3] = {{output_open_ ? child_.output() : -1, POLLIN, 0},
                   {monitor_.get(), POLLIN, 0},
                   {child_.process(), POLLIN, 0}};
  if (poll(fds, 3, MillisecondsUntil(until)) < 0) {
    return;
  }
  char buffer[16384];
  ssize_t count = 0;
  while (output_open_ && (count = read(child_.output(), buffer, sizeof buffer)) > 0) {
    console_.append(buffer, static_cast<size_t>(count));
    log_.write(buffer, count);
    log_.flush();
  }
  if (count == 0) {
    output_open_ = false;
  }
  while (monitor_.get() >= 0 &&
         (count = recv(monitor_.get(), buffer, sizeof buffer, MSG_DONTWAIT)) >= 0) {
    if (count == 0) {
      monitor_.Reset();
      break;
    }
    monitor_pending_.append(buffer, static_cast<size_t>(count));
  }
  TakeMonitorLines();
  // Last, so that all the ended process said has been read.
  if ((fds[2].revents & POLLIN) != 0 && !output_open_ && monitor_.get() < 0) {
    const int code = child_.Wait();
    end_ = MachineEnd{.reason = reason_, .exit_code = code};
  }
}

// Events say why a machine ended; everything else answers a command.
void Machine::TakeMonitorLines() {
  size_t newline = 0;
  while ((newline = monitor_pending_.find('\n')) != std::string::npos) {
    const std::string line = monitor_pending_.substr(0, newline);
    monitor_pending_.erase(0, newline + 1);
    const json message = json::parse(line, nullptr, false);
    if (!message.is_object()) {
      continue;
    }
    if (message.contains("event")) {
      if (message["event"] == "SHUTDOWN" && message.contains("data")) {
        const std::string reason = message["data"].value("reason", "");
        if (reason == "guest-reset") {
          reason_ = EndReason::kGuestReset;
        } else if (reason == "guest-shutdown") {
          reason_ = EndReason::kGuestPowerOff;
        }
      }
    } else if (!message.contains("QMP")) {
      monitor_answers_.push_back(line);
    }
  }
}

// The next console line; the unfinished last line counts only when no more can come.
std::optional<std::string> Machine::TakeLine() {
  if (cursor_ >= console_.size()) {
    return std::nullopt;
  }
  const size_t newline = console_.find('\n', cursor_);
  if (newline == std::string::npos && !end_) {
    return std::nullopt;
  }
  std::string line = console_.substr(cursor_, newline - cursor_);
  cursor_ = newline == std::string::npos ? console_.size() : newline + 1;
  std::erase(line, '\r');
  return line;
}

std::optional<std::string> Machine::NextLine(Seconds deadline) {
  const Clock::time_point until = After(deadline);
  for (;;) {
    if (std::optional<std::string> line = TakeLine()) {
      return line;
    }
    if (end_ || Clock::now() >= until) {
      return std::nullopt;
    }
    Pump(until);
  }
}

Result<std::string> Machine::WaitForLine(const Accept& accept, Seconds deadline,
                                         std::string_view what) {
  deadline = Patient(deadline);
  const Clock::time_point until = After(deadline);
  for (;;) {
    while (std::optional<std::string> line = TakeLine()) {
      if (accept(*line)) {
        return *line;
      }
    }
    if (end_) {
      return std::unexpected(Describe("waiting for " + std::string(what) + ": " +
                                      std::string(ToString(end_->reason))));
    }
    if (Clock::now() >= until) {
      return std::unexpected(Describe("waited " + std::to_string(deadline.count()) + " s for " +
                                      std::string(what) + " in vain"));
    }
    Pump(until);
  }
}

Result<std::string> Machine::WaitForText(std::string_view text, Seconds deadline) {
  return WaitForLine(
      [&](std::string_view line) { return line.find(text) != std::string_view::npos; }, deadline,
      "\"" + std::string(text) + "\"");
}

Result<std::string> Machine::WaitForRegex(const std::string& pattern, Seconds deadline) {
  // <regex.h>, for <regex> of g++ 12 does not compile under its own sanitizers and warnings.
  regex_t regex{};
  if (regcomp(&regex, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
    return Fail("/" + pattern + "/ is no extended regular expression");
  }
  Result<std::string> line = WaitForLine(
      [&](std::string_view text) {
        return regexec(&regex, std::string(text).c_str(), 0, nullptr, 0) == 0;
      },
      deadline, "/" + pattern + "/");
  regfree(&regex);
  return line;
}

Result<void> Machine::Send(std::string_view line) {
  std::string text = std::string(line) + "\n";
  const Clock::time_point until = After(Seconds(10));
  while (!text.empty()) {
    if (end_) {
      return std::unexpected(Describe("cannot send to a machine that has ended"));
    }
    const ssize_t count = write(child_.input(), text.data(), text.size());
    if (count > 0) {
      text.erase(0, static_cast<size_t>(count));
    } else if (count < 0 && errno != EAGAIN && errno != EINTR) {
      return std::unexpected(
          Describe(std::string("cannot send to the console: ") + strerror(errno)));
    } else if (Clock::now() >= until) {
      return std::unexpected(Describe("the console takes no input"));
    } else {
      Pump(After(Seconds(0.05)));
    }
  }
  return {};
}

Result<std::string> Machine::Qmp(std::string_view command, std::string_view arguments) {
  json request = {{"execute", command}};
  if (!arguments.empty()) {
    request["arguments"] = json::parse(arguments, nullptr, false);
  }
  const std::string text = request.dump() + "\n";
  monitor_answers_.clear();
  if (send(monitor_.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(text.size())) {
    Pump(After(Seconds(1)));
    return std::unexpected(Describe("QEMU's monitor is gone"));
  }
  const Clock::time_point until = After(Seconds(60));
  while (monitor_answers_.empty()) {
    if (end_ || Clock::now() >= until) {
      return std::unexpected(Describe("no answer to " + std::string(command)));
    }
    Pump(until);
  }
  const json answer = json::parse(monitor_answers_.front(), nullptr, false);
  if (!answer.contains("return")) {
    return Fail("QEMU refused " + std::string(command) + ": " + monitor_answers_.front());
  }
  return answer["return"].dump();
}

Result<std::string> Machine::Monitor(std::string_view command) {
  const json arguments = {{"command-line", command}};
  const Result<std::string> answer = Qmp("human-monitor-command", arguments.dump());
  if (!answer) {
    return answer;
  }
  const json text = json::parse(*answer, nullptr, false);
  return text.is_string() ? text.get<std::string>() : *answer;
}

Result<std::string> Machine::ReadMemory(uint64_t address, uint64_t size) {
  const std::filesystem::path path = log_path_.string() + ".memory";
  const json arguments = {{"val", address}, {"size", size}, {"filename", path.string()}};
  const Result<std::string> answer = Qmp("pmemsave", arguments.dump());
  if (!answer) {
    return answer;
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::error_code error;
  std::filesystem::remove(path, error);
  if (bytes.size() != size) {
    return Fail("QEMU saved " + std::to_string(bytes.size()) + " bytes of memory");
  }
  return bytes;
}

Result<MachineEnd> Machine::WaitForEnd(Seconds deadline) {
  deadline = Patient(deadline);
  const Clock::time_point until = After(deadline);
  while (!end_ && Clock::now() < until) {
    Pump(until);
  }
  if (!end_) {
    return std::unexpected(
        Describe("the machine still runs after " + std::to_string(deadline.count()) + " s"));
  }
  return *end_;
}

void Machine::Kill() {
  if (!end_ && child_.running()) {
    child_.Kill();
    end_ = MachineEnd{.reason = EndReason::kKilled, .exit_code = 128 + SIGKILL};
  }
}

std::string Machine::ConsoleTail(int lines) const {
  size_t start = console_.size();
  for (int i = 0; i <= lines && start != std::string::npos && start > 0; ++i) {
    start = console_.rfind('\n', start - 1);
  }
  std::string tail = console_.substr(start == std::string::npos ? 0 : start);
  std::erase(tail, '\r');
  return tail;
}

Failure Machine::Describe(std::string what) const {
  what += "\nThe console's last lines (all of it: " + log_path_.string() + "):\n" + ConsoleTail();
  return Failure{std::move(what)};
}

}  // namespace khop::lab
