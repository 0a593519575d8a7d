// SPDX-License-Identifier: MIT
// What the guest's init and the lab's driver say to each other over the serial console, which the
// kernel writes to as well: every answer is a block of prefixed lines closed by a CRC, so that a
// block that a kernel message fell into is noticed and asked for again.
//
// From the driver, a line each:
// - "@run ID COMMAND", "@facts ID": to be answered by a block of that ID
// - "@again": the last block once more
// - "@kexec", "@poweroff": answered only if it fails
//
// From the guest:
// - "@khop begin ID", then the block's lines, then "@khop end ID CODE CRC"
// - "@khop | TEXT": a line of the block; "@khop + TEXT": its last line, when no newline ended it
// - "@khop ready": the guest now reads commands
//
// In TEXT, backslash and control characters but tab are escaped as \xNN. The CRC is that of the
// unescaped text. The facts that init gathers when it starts are block 0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace khop::lab::protocol {

inline constexpr std::string_view kBegin = "@khop begin ";
inline constexpr std::string_view kLine = "@khop | ";
inline constexpr std::string_view kOpenLine = "@khop + ";
inline constexpr std::string_view kEnd = "@khop end ";
inline constexpr std::string_view kReady = "@khop ready";
inline constexpr std::string_view kRun = "@run ";
inline constexpr std::string_view kFacts = "@facts ";
inline constexpr std::string_view kAgain = "@again";
inline constexpr std::string_view kKexec = "@kexec";
inline constexpr std::string_view kPowerOff = "@poweroff";

// CRC-32 as in zlib.
constexpr uint32_t Crc32(std::string_view text) {
  uint32_t crc = 0xffffffff;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
    }
  }
  return ~crc;
}

inline std::string Escape(std::string_view line) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string escaped;
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\' || (byte < 0x20 && c != '\t') || byte == 0x7f) {
      escaped += "\\x";
      escaped += kHex[byte >> 4];
      escaped += kHex[byte & 15];
    } else {
      escaped += c;
    }
  }
  return escaped;
}

inline std::string Unescape(std::string_view line) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 3 < line.size() && line[i + 1] == 'x') {
      text += static_cast<char>(digit(line[i + 2]) * 16 + digit(line[i + 3]));
      i += 3;
    } else {
      text += line[i];
    }
  }
  return text;
}

}  // namespace khop::lab::protocol
