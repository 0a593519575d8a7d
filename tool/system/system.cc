// SPDX-License-Identifier: MIT
#include "tool/system/system.h"

#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

namespace khop::system {

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    Reset();
    system_ = other.system_;
    fd_ = other.Release();
  }
  return *this;
}

SysResult<File> File::Open(System& system, const std::string& path, OpenMode mode) {
  const auto fd = system.Open(path, mode);
  if (!fd) return std::unexpected(fd.error());
  return File(system, *fd);
}

int File::Release() { return std::exchange(fd_, -1); }

void File::Reset() {
  if (fd_ >= 0) system_->Close(Release());
}

SysResult<std::string> ReadFile(System& system, const std::string& path, uint64_t limit) {
  const auto file = File::Open(system, path, OpenMode::kRead);
  if (!file) return std::unexpected(file.error());
  std::string text;
  // procfs and sysfs report size 0 or 4096: read until the end, whatever stat says. Most files are
  // small; for those that are not, fewer calls.
  std::string buffer(size_t{8} * 1024, '\0');
  for (;; buffer.resize(size_t{64} * 1024)) {
    const auto got = system.Read(file->fd(), std::as_writable_bytes(std::span(buffer)));
    if (!got) return std::unexpected(got.error());
    if (*got == 0) return text;
    text.append(buffer, 0, *got);
    if (text.size() > limit) return std::unexpected(Errno{EFBIG});
  }
}

SysResult<uint64_t> ReadNumber(System& system, const std::string& path) {
  const auto text = ReadFile(system, path, 4096);
  if (!text) return std::unexpected(text.error());
  uint64_t value = 0;
  const char* const end = text->data() + text->size();
  const auto [rest, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || (rest != end && *rest != '\n')) return std::unexpected(Errno{EINVAL});
  return value;
}

SysResult<void> WriteFile(System& system, const std::string& path, std::string_view text) {
  const auto file = File::Open(system, path, OpenMode::kWrite);
  if (!file) return std::unexpected(file.error());
  const auto written = system.Write(file->fd(), std::as_bytes(std::span(text)));
  if (!written) return std::unexpected(written.error());
  if (*written != text.size()) return std::unexpected(Errno{EIO});
  return {};
}

SysResult<size_t> ReadFully(System& system, int fd, std::span<std::byte> buffer, uint64_t offset) {
  size_t done = 0;
  while (done < buffer.size()) {
    const auto got = system.ReadAt(fd, buffer.subspan(done), offset + done);
    if (!got) return std::unexpected(got.error());
    if (*got == 0) break;
    done += *got;
  }
  return done;
}

SysResult<void> ReplaceFile(System& system, const std::string& path,
                            std::span<const std::byte> data) {
  const std::string fresh = path + kFresh;
  auto file = File::Open(system, fresh, OpenMode::kCreate);
  if (!file) return std::unexpected(file.error());
  Errno failure{0};
  for (size_t done = 0; done < data.size();) {
    const auto written = system.Write(file->fd(), data.subspan(done));
    if (!written || *written == 0) {
      failure = written ? Errno{ENOSPC} : written.error();
      break;
    }
    done += *written;
  }
  file->Reset();
  if (failure.value == 0) {
    const auto renamed = system.Rename(fresh, path);
    if (renamed) return {};
    failure = renamed.error();
  }
  (void)system.Unlink(fresh);
  return std::unexpected(failure);
}

std::string Describe(Errno error) { return std::generic_category().message(error.value); }

}  // namespace khop::system
