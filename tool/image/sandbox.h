// SPDX-License-Identifier: MIT
// Work on bytes that nobody vouches for, in a child process that can do nothing else: no files, no
// other system calls than those for memory and for two messages, another user, no core. The bytes
// pass through a buffer that both have; the child asks for its input piece by piece.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "tool/base/error.h"
#include "tool/image/source.h"

namespace khop::image {

// What the child sees: its input, and where its output goes.
class Channel : public Source {
 public:
  // Where the next output may be made, so that Give() need not copy it. It waits for the parent if
  // that has not taken what was given before the last.
  virtual std::span<std::byte> Room() = 0;
  // Hands output on. The parent takes it while the child goes on.
  virtual Result<void> Give(std::span<const std::byte> bytes) = 0;
};

// The parent's reading of the input, as Source::ReadAt().
using Input = std::function<Result<size_t>(std::span<std::byte>, uint64_t offset)>;
using Work = std::function<Result<void>(Channel&)>;

class Sandbox {
 public:
  // Starts `work` in a child. `name` is the input's, for messages. Errors: kSystemCall.
  static Result<Sandbox> Start(Input input, uint64_t input_size, std::string name,
                               const Work& work);

  // The next bytes of output, until the next call; empty at the end. They are whatever the child
  // made of its input: to be looked at with care.
  // Errors: what the work failed with, what the input did, kNoSandbox, kUnpackerDied.
  Result<std::span<const std::byte>> Next();

  Sandbox(Sandbox&& other) noexcept;
  Sandbox& operator=(Sandbox&&) = delete;
  ~Sandbox();  // ends the child, wherever it is

 private:
  Sandbox() = default;
  Result<void> Serve(uint64_t offset, uint64_t size, bool view);
  // A stretch of what both have, whatever the child says of it.
  std::span<const std::byte> Output(uint64_t offset, uint64_t size) const;
  std::unexpected<Failure> Died();

  Input input_;
  std::string name_;
  std::byte* shared_ = nullptr;
  int socket_ = -1;
  pid_t child_ = -1;
  bool given_ = false;  // the child waits for an answer to its output
};

}  // namespace khop::image
