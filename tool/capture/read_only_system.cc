// SPDX-License-Identifier: MIT
#include "tool/capture/read_only_system.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "tool/capture/capture.h"

namespace khop::capture {

using system::Errno;
using system::OpenMode;
using system::SysResult;

namespace {

std::unexpected<Errno> ReadOnly() { return std::unexpected(Errno{EROFS}); }

}  // namespace

bool IsOfTheMachine(std::string_view path) {
  static constexpr std::array<std::string_view, 7> kPlaces = {
      "/proc", "/sys", "/dev", "/run/khop", "/run/systemd", "/var/lib/systemd", "/etc/systemd"};
  if (path.starts_with(kConfig)) return true;
  return std::ranges::any_of(kPlaces, [&](std::string_view place) {
    return path.starts_with(place) && (path.size() == place.size() || path[place.size()] == '/');
  });
}

SysResult<int> ReadOnlySystem::Open(const std::string& path, OpenMode mode) {
  if (mode != OpenMode::kRead) return ReadOnly();
  if (!IsOfTheMachine(path)) return host_->Open(path, mode);
  OpenFile file;
  if (path != kPageFlagsPath) {
    const auto text = Contents(path);
    if (!text) return std::unexpected(text.error());
    file.text = *text;
  } else if (const auto there = PageFlags({}, 0); !there) {
    return std::unexpected(there.error());
  }
  open_[next_] = file;
  return next_++;
}

void ReadOnlySystem::Close(int fd) {
  if (open_.erase(fd) == 0) host_->Close(fd);
}

SysResult<system::FileInfo> ReadOnlySystem::Stat(int fd) {
  const auto file = open_.find(fd);
  if (file == open_.end()) return host_->Stat(fd);
  return system::FileInfo{.size = file->second.text == nullptr ? 0 : file->second.text->size(),
                          .is_regular = true,
                          .mode = 0444};
}

SysResult<size_t> ReadOnlySystem::Read(int fd, std::span<std::byte> buffer) {
  const auto file = open_.find(fd);
  if (file == open_.end()) return host_->Read(fd, buffer);
  const auto got = ReadAt(fd, buffer, file->second.offset);
  if (got) file->second.offset += *got;
  return got;
}

SysResult<size_t> ReadOnlySystem::ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) {
  const auto file = open_.find(fd);
  if (file == open_.end()) return host_->ReadAt(fd, buffer, offset);
  if (file->second.text == nullptr) return PageFlags(buffer, offset);
  const std::string& text = *file->second.text;
  if (offset >= text.size()) return size_t{0};
  const size_t size = std::min(buffer.size(), text.size() - offset);
  memcpy(buffer.data(), text.data() + offset, size);
  return size;
}

SysResult<size_t> ReadOnlySystem::Write(int /*fd*/, std::span<const std::byte> /*data*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::Rename(const std::string& /*from*/, const std::string& /*to*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::Unlink(const std::string& /*path*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::MakeDirectory(const std::string& /*path*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::Lock(int /*fd*/) { return ReadOnly(); }
SysResult<int> ReadOnlySystem::ShmCreate(int /*key*/, uint64_t /*size*/, uint64_t /*page_size*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::ShmLock(int /*id*/) { return ReadOnly(); }
SysResult<system::ShmInfo> ReadOnlySystem::ShmFind(int /*key*/) {
  return std::unexpected(Errno{ENOENT});
}
SysResult<std::byte*> ReadOnlySystem::ShmAttach(int /*id*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::ShmDetach(std::byte* /*address*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::ShmRemove(int /*id*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::Populate(std::byte* /*address*/, uint64_t /*size*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::TakeMemory(uint64_t /*size*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::PreferNode(int /*node*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::Punch(std::byte* /*address*/, uint64_t /*size*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::KexecLoad(PhysAddr /*entry*/,
                                          std::span<const system::KexecSegment> /*segments*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::KexecLoadCrash(PhysAddr /*entry*/,
                                               std::span<const system::KexecSegment> /*segments*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::KexecFileLoad(int /*kernel*/, int /*initrd*/,
                                              const std::string& /*command_line*/,
                                              uint32_t /*flags*/) {
  return ReadOnly();
}
SysResult<void> ReadOnlySystem::Reboot(system::RebootMode /*mode*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::TakeInterfacesDown() { return ReadOnly(); }
SysResult<uint32_t> ReadOnlySystem::WatchdogOptions(int /*fd*/) { return ReadOnly(); }
SysResult<void> ReadOnlySystem::SetWatchdogTimeout(int /*fd*/, uint32_t /*seconds*/) {
  return ReadOnly();
}
SysResult<int> ReadOnlySystem::Run(const std::vector<std::string>& /*argv*/) { return ReadOnly(); }

// Nothing that it is for here is ever used; and so that two plans of one machine are the same.
SysResult<void> ReadOnlySystem::Random(std::span<std::byte> out) {
  std::ranges::fill(out, std::byte{0x5a});
  return {};
}

SysResult<void> ReadOnlySystem::ReadDeviceMemory(PhysAddr /*address*/,
                                                 std::span<std::byte> /*out*/) {
  return std::unexpected(Errno{EPERM});
}

}  // namespace khop::capture
