// SPDX-License-Identifier: MIT
// Images read and unpacked in a sandbox: what the rest of khop uses.
#pragma once

#include <optional>
#include <string>

#include "tool/image/contents.h"
#include "tool/image/sandbox.h"

namespace khop::image {

// ReadContents() in a child. Errors: its own, Sandbox::Next()'s.
Result<Contents> InspectInSandbox(Input input, uint64_t file_size, const Question& question);

// A payload as a stream, from its first byte to its last. Compressed data is unpacked in a child;
// other bytes are read as they are.
class Unpacker {
 public:
  // `name` is the file, for messages. Errors: Sandbox::Start()'s.
  static Result<Unpacker> Start(Input input, uint64_t file_size, const std::string& name,
                                const Recipe& recipe);

  // The next bytes, all of `out`. Errors: kFileChanged if there are not so many, and others.
  Result<void> Read(std::span<std::byte> out);
  // To be called when all has been read. Errors: kFileChanged if there is more.
  Result<void> Finish();

 private:
  Unpacker() = default;
  Result<void> ReadPlain(std::span<std::byte> out);

  Input input_;
  std::string name_;
  Recipe recipe_;
  std::optional<Sandbox> sandbox_;       // of compressed data
  std::span<const std::byte> unpacked_;  // of the sandbox, not yet read
  uint64_t at_ = 0;
  size_t piece_ = 0;
};

}  // namespace khop::image
