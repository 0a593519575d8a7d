// SPDX-License-Identifier: MIT
#include "lab/vm/guest.h"

#include <charconv>
#include <cstdio>
#include <optional>

#include "lab/guest/protocol.h"

namespace khop::lab {
namespace {

constexpr int kAttempts = 4;

bool Holds(std::string_view line, std::string_view text) {
  return line.find(text) != std::string_view::npos;
}

std::string_view Behind(std::string_view line, std::string_view prefix) {
  return line.substr(line.find(prefix) + prefix.size());
}

uint64_t ToNumber(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Result<Facts> ParseFacts(std::string_view text) {
  Facts facts;
  facts.heard = std::chrono::steady_clock::now();
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    const size_t space = line.find(' ');
    const std::string_view key = line.substr(0, space);
    const std::string_view value =
        space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
    if (key == "uname") {
      facts.uname = value;
    } else if (key == "cmdline") {
      facts.command_line = value;
    } else if (key == "initrd-sha256" && !value.starts_with("none")) {
      facts.initrd_sha256 = value;
    } else if (key == "manifest-sha256") {
      facts.manifest_sha256 = value;
    } else if (key == "cntvct") {
      facts.counter = ToNumber(value);
    } else if (key == "cntfrq") {
      facts.counter_hz = ToNumber(value);
    } else if (key == "memtotal-kib") {
      facts.memory_total_kib = ToNumber(value);
    } else if (key == "memavailable-kib") {
      facts.memory_available_kib = ToNumber(value);
    } else if (key == "iomem") {
      facts.iomem.emplace_back(value);
    }
  }
  if (facts.uname.empty() || facts.counter == 0 || facts.counter_hz == 0 ||
      facts.memory_total_kib == 0 || facts.iomem.empty()) {
    return Fail("the guest's facts are incomplete");
  }
  return facts;
}

Result<std::optional<Guest::Block>> Guest::ReadBlock(std::string_view id, Seconds deadline) {
  using protocol::kBegin;
  using protocol::kEnd;
  const std::string begin = std::string(kBegin) + std::string(id);
  const std::string end = std::string(kEnd) + std::string(id) + " ";
  // A kernel that was to be left answers only if the command to leave it came back.
  const bool new_kernel = id == "0";
  const Result<std::string> first = machine_.WaitForLine(
      [&](std::string_view line) {
        return Holds(line, end) || (Holds(line, begin) && Behind(line, begin).empty()) ||
               (new_kernel && Holds(line, kEnd));
      },
      deadline, "the guest's answer " + std::string(id));
  if (!first) {
    return std::unexpected(first.error());
  }
  if (Holds(*first, end)) {
    return std::nullopt;  // the beginning was damaged
  }
  if (!Holds(*first, begin)) {
    return Fail("no kernel came up; the command that should have started it came back:\n" +
                machine_.ConsoleTail(12));
  }
  Block block;
  for (;;) {
    // An answer that has begun flows; silence means that its end was damaged.
    const std::optional<std::string> line = machine_.NextLine(Seconds(20));
    if (!line) {
      return std::nullopt;
    }
    if (Holds(*line, end)) {
      unsigned int crc = 0;
      if (sscanf(std::string(Behind(*line, end)).c_str(), "%d %x", &block.code, &crc) != 2 ||
          crc != protocol::Crc32(block.text)) {
        return std::nullopt;
      }
      return block;
    }
    if (line->starts_with(protocol::kLine)) {
      block.text += protocol::Unescape(Behind(*line, protocol::kLine)) + "\n";
    } else if (line->starts_with(protocol::kOpenLine)) {
      block.text += protocol::Unescape(Behind(*line, protocol::kOpenLine));
    }
  }
}

Result<Guest::Block> Guest::ReadBlockReliably(std::string_view id, Seconds deadline) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Result<std::optional<Block>> block = ReadBlock(id, attempt == 0 ? deadline : Seconds(30));
    if (!block) {
      return std::unexpected(block.error());
    }
    if (*block) {
      return **block;
    }
    if (const Result<void> sent = machine_.Send(protocol::kAgain); !sent) {
      return std::unexpected(sent.error());
    }
  }
  return Fail("the guest's answer " + std::string(id) +
              " keeps arriving damaged; console: " + machine_.console_log().string());
}

Result<Facts> Guest::WaitUntilUp(Seconds deadline) {
  last_id_ = 0;
  const Result<Block> block = ReadBlockReliably("0", deadline);
  if (!block) {
    return std::unexpected(block.error());
  }
  Result<Facts> facts = ParseFacts(block->text);
  if (facts) {
    const Result<std::string> ready = machine_.WaitForText(protocol::kReady, Seconds(20));
    if (!ready) {
      return std::unexpected(ready.error());
    }
  }
  return facts;
}

Result<Facts> Guest::GatherFacts(Seconds deadline) {
  const std::string id = std::to_string(++last_id_);
  if (const Result<void> sent = machine_.Send(std::string(protocol::kFacts) + id); !sent) {
    return std::unexpected(sent.error());
  }
  const Result<Block> block = ReadBlockReliably(id, deadline);
  if (!block) {
    return std::unexpected(block.error());
  }
  return ParseFacts(block->text);
}

Result<CommandResult> Guest::Run(std::string_view command, Seconds deadline) {
  const std::string id = std::to_string(++last_id_);
  const std::string line = std::string(protocol::kRun) + id + " " + std::string(command);
  // A terminal in canonical mode takes no longer line (termios(3)).
  if (line.size() >= 4095 || line.find('\n') != std::string::npos) {
    return Fail("a guest command is one line of less than 4 KiB");
  }
  if (const Result<void> sent = machine_.Send(line); !sent) {
    return std::unexpected(sent.error());
  }
  const Result<Block> block = ReadBlockReliably(id, deadline);
  if (!block) {
    return std::unexpected(
        Failure{"guest command `" + std::string(command) + "`: " + block.error().what});
  }
  return CommandResult{.exit_code = block->code, .output = block->text};
}

Result<std::string> Guest::Must(std::string_view command, Seconds deadline) {
  Result<CommandResult> result = Run(command, deadline);
  if (!result) {
    return std::unexpected(result.error());
  }
  if (result->exit_code != 0) {
    return Fail("guest command `" + std::string(command) + "` ended with code " +
                std::to_string(result->exit_code) + ":\n" + result->output);
  }
  return result->output;
}

Result<void> Guest::Start(std::string_view command) {
  return machine_.Send(std::string(protocol::kRun) + std::to_string(++last_id_) + " " +
                       std::string(command));
}

Result<void> Guest::Kexec() { return machine_.Send(protocol::kKexec); }

Result<MachineEnd> Guest::PowerOff(Seconds deadline) {
  if (const Result<void> sent = machine_.Send(protocol::kPowerOff); !sent) {
    return std::unexpected(sent.error());
  }
  return machine_.WaitForEnd(deadline);
}

}  // namespace khop::lab
