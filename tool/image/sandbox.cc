// SPDX-License-Identifier: MIT
#include "tool/image/sandbox.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <utility>

#include "tool/image/confine.h"

namespace khop::image {
namespace {

// The buffer: input, then output.
constexpr size_t kHalf = size_t{1} << 20;
constexpr size_t kMaxMessage = 2048;

enum class Kind : uint32_t { kRead, kGive, kDone, kFailed };

// A request of the child's, or the answer to one.
struct Message {
  Kind kind = Kind::kDone;
  uint32_t code = 0;    // kFailed: an ExitCode
  uint64_t offset = 0;  // kRead
  uint64_t size = 0;
};

bool Send(int socket, const Message& message) {
  ssize_t done = 0;
  do {
    done = write(socket, &message, sizeof(message));
  } while (done < 0 && errno == EINTR);
  return done == sizeof(message);
}

// For the parent, whom a child that is gone must not end.
bool Answer(int socket, const Message& message) {
  ssize_t done = 0;
  do {
    done = send(socket, &message, sizeof(message), MSG_NOSIGNAL);
  } while (done < 0 && errno == EINTR);
  return done == sizeof(message);
}

bool Receive(int socket, Message& message) {
  ssize_t done = 0;
  do {
    done = read(socket, &message, sizeof(message));
  } while (done < 0 && errno == EINTR);
  return done == sizeof(message);
}

class ChildChannel final : public Channel {
 public:
  ChildChannel(int socket, std::byte* shared, uint64_t size)
      : socket_(socket), shared_(shared), size_(size) {}

  uint64_t size() const override { return size_; }

  Result<size_t> ReadAt(std::span<std::byte> out, uint64_t offset) override {
    size_t done = 0;
    while (done < out.size()) {
      const size_t size = std::min(out.size() - done, kHalf);
      Message answer = {};
      if (!Send(socket_, {.kind = Kind::kRead, .code = 0, .offset = offset + done, .size = size}) ||
          !Receive(socket_, answer)) {
        _exit(1);  // the parent is gone
      }
      if (answer.size > size) return Fail(ExitCode::kFileUnreadable, "input", "it cannot be read");
      memcpy(out.data() + done, shared_, answer.size);
      done += answer.size;
      if (answer.size < size) break;
    }
    return done;
  }

  Result<void> Give(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const size_t size = std::min(bytes.size(), kHalf);
      memcpy(shared_ + kHalf, bytes.data(), size);
      Message answer = {};
      if (!Send(socket_, {.kind = Kind::kGive, .code = 0, .offset = 0, .size = size}) ||
          !Receive(socket_, answer)) {
        _exit(1);
      }
      bytes = bytes.subspan(size);
    }
    return {};
  }

  void Finish(const Result<void>& result) {
    Message last = {.kind = Kind::kDone, .code = 0, .offset = 0, .size = 0};
    if (!result) {
      const std::string& text = result.error().message;
      last = {.kind = Kind::kFailed,
              .code = static_cast<uint32_t>(result.error().code),
              .offset = 0,
              .size = std::min(text.size(), kMaxMessage)};
      memcpy(shared_ + kHalf, text.data(), last.size);
    }
    Send(socket_, last);
  }

 private:
  int socket_;
  std::byte* shared_;
  uint64_t size_;
};

[[noreturn]] void RunChild(int socket, std::byte* shared, uint64_t size, const Work& work) {
  ChildChannel channel(socket, shared, size);
  Result<void> result = Confine(socket);
  if (result) {
    try {
      result = work(channel);
    } catch (const std::bad_alloc&) {
      result =
          Fail(ExitCode::kNoMemory, "memory", "there is none left to unpack it", "free memory");
    }
  }
  channel.Finish(result);
  _exit(0);
}

}  // namespace

Result<Sandbox> Sandbox::Start(Input input, uint64_t input_size, std::string name,
                               const Work& work) {
  Sandbox sandbox;
  sandbox.input_ = std::move(input);
  sandbox.name_ = std::move(name);
  void* const shared =
      mmap(nullptr, 2 * kHalf, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return FailErrno(ExitCode::kSystemCall, "mmap", errno);
  sandbox.shared_ = static_cast<std::byte*>(shared);
  int sockets[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return FailErrno(ExitCode::kNoSandbox, "socketpair", errno,
                     "run a kernel with CONFIG_UNIX and CONFIG_SECCOMP_FILTER");
  }
  sandbox.socket_ = sockets[0];
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    close(sockets[0]);
    DieWith(parent);
    RunChild(sockets[1], sandbox.shared_, input_size, work);
  }
  const int error = errno;
  close(sockets[1]);
  if (child < 0) return FailErrno(ExitCode::kSystemCall, "fork", error);
  sandbox.child_ = child;
  return sandbox;
}

Sandbox::Sandbox(Sandbox&& other) noexcept
    : input_(std::move(other.input_)),
      name_(std::move(other.name_)),
      shared_(std::exchange(other.shared_, nullptr)),
      socket_(std::exchange(other.socket_, -1)),
      child_(std::exchange(other.child_, -1)),
      given_(other.given_) {}

Sandbox::~Sandbox() {
  if (socket_ >= 0) close(socket_);
  if (child_ > 0) {
    kill(child_, SIGKILL);
    while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (shared_ != nullptr) munmap(shared_, 2 * kHalf);
}

std::unexpected<Failure> Sandbox::Died() {
  int status = 0;
  pid_t ended = 0;
  do {
    ended = waitpid(child_, &status, 0);
  } while (ended < 0 && errno == EINTR);
  child_ = -1;
  std::string why = "the process that reads it ended";
  if (ended > 0 && WIFSIGNALED(status)) {
    why += " by signal " + std::to_string(WTERMSIG(status));
    if (WTERMSIG(status) == SIGSYS) why += ": it made a system call that it may not make";
  }
  return Fail(ExitCode::kUnpackerDied, name_, why, "the file is damaged, or made to do harm");
}

Result<void> Sandbox::Serve(uint64_t offset, uint64_t size) {
  const auto got = input_({shared_, static_cast<size_t>(std::min<uint64_t>(size, kHalf))}, offset);
  if (!got) return Forward(got);
  if (!Answer(socket_, {.kind = Kind::kRead, .code = 0, .offset = 0, .size = *got})) return Died();
  return {};
}

Result<std::span<const std::byte>> Sandbox::Next() {
  if (std::exchange(given_, false) && !Answer(socket_, {})) return Died();
  for (;;) {
    Message message = {};
    if (!Receive(socket_, message)) return Died();
    switch (message.kind) {
      case Kind::kRead:
        if (const auto served = Serve(message.offset, message.size); !served) {
          return Forward(served);
        }
        break;
      case Kind::kGive:
        given_ = true;
        return std::span<const std::byte>(shared_ + kHalf, std::min<size_t>(message.size, kHalf));
      case Kind::kDone:
        return std::span<const std::byte>();
      case Kind::kFailed:
      default: {
        const ExitCodeInfo info = DescribeExitCode(static_cast<ExitCode>(message.code));
        const bool known = !info.name.empty() && info.code != ExitCode::kOk;
        const std::string text(reinterpret_cast<const char*>(shared_ + kHalf),
                               std::min<size_t>(message.size, kMaxMessage));
        return std::unexpected(Failure{known ? info.code : ExitCode::kInternal, Printable(text)});
      }
    }
  }
}

}  // namespace khop::image
