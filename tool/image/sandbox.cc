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

// What both have: room for what the child copies, for what it views, and two for output, so that
// one can be filled while the parent looks at the other.
constexpr size_t kRoom = size_t{512} << 10;
enum : uint64_t { kCopied = 0, kViewed = kRoom, kOutput = 2 * kRoom, kOtherOutput = 3 * kRoom };
constexpr size_t kShared = 4 * kRoom;
constexpr size_t kMaxMessage = 2048;

enum class Kind : uint32_t { kRead, kGive, kDone, kFailed };

// A request of the child's, or the answer to one, of the same kind.
struct Message {
  Kind kind = Kind::kDone;
  uint32_t code = 0;    // kFailed: an ExitCode; kRead: not 0 if it is to be viewed
  uint64_t offset = 0;  // kRead: in the input; kGive, kFailed: in what both have
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
      const size_t size = std::min(out.size() - done, kRoom);
      const auto got = Request(offset + done, size, false);
      if (!got) return got;
      memcpy(out.data() + done, shared_ + kCopied, *got);
      done += *got;
      if (*got < size) break;
    }
    return done;
  }

  Result<std::span<const std::byte>> View(uint64_t offset, uint64_t size) override {
    const auto got = Request(offset, std::min<uint64_t>(size, kRoom), true);
    if (!got) return Forward(got);
    return std::span<const std::byte>(shared_ + kViewed, *got);
  }

  std::span<std::byte> Room() override {
    while (given_ == 2) (void)AnswerTo(Kind::kGive);
    return {shared_ + next_, kRoom};
  }

  Result<void> Give(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const std::span<std::byte> room = Room();
      const size_t size = std::min(bytes.size(), room.size());
      if (bytes.data() != room.data()) memcpy(room.data(), bytes.data(), size);
      Ask({.kind = Kind::kGive, .code = 0, .offset = next_, .size = size});
      ++given_;
      next_ = next_ == kOutput ? kOtherOutput : kOutput;
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
              .offset = next_,
              .size = std::min(text.size(), kMaxMessage)};
      memcpy(Room().data(), text.data(), last.size);
    }
    // Answers that nobody reads would make the socket fail at the parent's end.
    while (given_ != 0) (void)AnswerTo(Kind::kGive);
    Send(socket_, last);
  }

 private:
  // How many bytes there are now.
  Result<size_t> Request(uint64_t offset, size_t size, bool view) {
    Ask({.kind = Kind::kRead, .code = view ? 1U : 0U, .offset = offset, .size = size});
    const Message answer = AnswerTo(Kind::kRead);
    if (answer.size > size) return Fail(ExitCode::kFileUnreadable, "input", "it cannot be read");
    return static_cast<size_t>(answer.size);
  }

  void Ask(const Message& message) {
    if (!Send(socket_, message)) _exit(1);  // the parent is gone
  }

  // Answers come in the order of what they answer: those to what was given may come first.
  Message AnswerTo(Kind kind) {
    for (;;) {
      Message answer = {};
      if (!Receive(socket_, answer)) _exit(1);
      if (answer.kind == Kind::kGive) --given_;
      if (answer.kind == kind) return answer;
    }
  }

  int socket_;
  std::byte* shared_;
  uint64_t size_;
  uint64_t next_ = kOutput;  // where in shared_ the next output goes
  int given_ = 0;            // and not known to be taken: 2 at most
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
      mmap(nullptr, kShared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
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
  if (shared_ != nullptr) munmap(shared_, kShared);
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

Result<void> Sandbox::Serve(uint64_t offset, uint64_t size, bool view) {
  const auto got = input_(
      {shared_ + (view ? kViewed : kCopied), static_cast<size_t>(std::min<uint64_t>(size, kRoom))},
      offset);
  if (!got) return Forward(got);
  if (!Answer(socket_, {.kind = Kind::kRead, .code = 0, .offset = 0, .size = *got})) return Died();
  return {};
}

std::span<const std::byte> Sandbox::Output(uint64_t offset, uint64_t size) const {
  const uint64_t from = std::min<uint64_t>(offset, kShared);
  return {shared_ + from, static_cast<size_t>(std::min(size, kShared - from))};
}

Result<std::span<const std::byte>> Sandbox::Next() {
  if (std::exchange(given_, false) &&
      !Answer(socket_, {.kind = Kind::kGive, .code = 0, .offset = 0, .size = 0})) {
    return Died();
  }
  for (;;) {
    Message message = {};
    if (!Receive(socket_, message)) return Died();
    switch (message.kind) {
      case Kind::kRead:
        if (const auto served = Serve(message.offset, message.size, message.code != 0); !served) {
          return Forward(served);
        }
        break;
      case Kind::kGive:
        given_ = true;
        return Output(message.offset, std::min<uint64_t>(message.size, kRoom));
      case Kind::kDone:
        return std::span<const std::byte>();
      case Kind::kFailed:
      default: {
        const ExitCodeInfo info = DescribeExitCode(static_cast<ExitCode>(message.code));
        const bool known = !info.name.empty() && info.code != ExitCode::kOk;
        const auto said = Output(message.offset, std::min<uint64_t>(message.size, kMaxMessage));
        const std::string text(reinterpret_cast<const char*>(said.data()), said.size());
        return std::unexpected(Failure{known ? info.code : ExitCode::kInternal, Printable(text)});
      }
    }
  }
}

}  // namespace khop::image
