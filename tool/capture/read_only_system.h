// SPDX-License-Identifier: MIT
// A System that only looks: what would change anything is refused with EROFS. Where the machine's
// own files come from is for classes below to say; all others are those of `host`, the machine that
// khop runs on.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tool/system/system.h"

namespace khop::capture {

// How the kernel was configured; its release follows.
inline constexpr std::string_view kConfig = "/boot/config-";
// Whether `path` is the machine's own: procfs, sysfs, devices, and what describes this boot.
bool IsOfTheMachine(std::string_view path);

class ReadOnlySystem : public system::System {
 public:
  explicit ReadOnlySystem(system::System& host) : host_(&host) {}

  system::SysResult<int> Open(const std::string& path, system::OpenMode mode) override;
  void Close(int fd) override;
  system::SysResult<system::FileInfo> Stat(int fd) override;
  system::SysResult<size_t> Read(int fd, std::span<std::byte> buffer) override;
  system::SysResult<size_t> ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) override;
  void DropFromCache(int /*fd*/) override {}
  system::SysResult<size_t> Write(int fd, std::span<const std::byte> data) override;
  system::SysResult<void> Rename(const std::string& from, const std::string& to) override;
  system::SysResult<void> Unlink(const std::string& path) override;
  system::SysResult<void> MakeDirectory(const std::string& path) override;
  system::SysResult<void> Lock(int fd) override;
  system::SysResult<int> ShmCreate(int key, uint64_t size, uint64_t page_size) override;
  system::SysResult<void> ShmLock(int id) override;
  system::SysResult<system::ShmInfo> ShmFind(int key) override;
  system::SysResult<std::byte*> ShmAttach(int id) override;
  system::SysResult<void> ShmDetach(std::byte* address) override;
  system::SysResult<void> ShmRemove(int id) override;
  system::SysResult<void> Populate(std::byte* address, uint64_t size) override;
  system::SysResult<void> TakeMemory(uint64_t size) override;
  system::SysResult<void> PreferNode(int node) override;
  system::SysResult<void> Punch(std::byte* address, uint64_t size) override;
  system::SysResult<void> KexecLoad(PhysAddr entry,
                                    std::span<const system::KexecSegment> segments) override;
  system::SysResult<void> KexecLoadCrash(PhysAddr entry,
                                         std::span<const system::KexecSegment> segments) override;
  system::SysResult<void> KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                        uint32_t flags) override;
  system::SysResult<void> Reboot(system::RebootMode mode) override;
  system::SysResult<void> TakeInterfacesDown() override;
  void Sync() override {}
  system::SysResult<uint32_t> WatchdogOptions(int fd) override;
  system::SysResult<void> SetWatchdogTimeout(int fd, uint32_t seconds) override;
  system::SysResult<int> Run(const std::vector<std::string>& argv) override;
  system::SysResult<void> Random(std::span<std::byte> out) override;
  uint64_t Counter() override { return 0; }
  unsigned CpuCount() override { return 1; }
  void CleanToPoc(const std::byte* /*address*/, uint64_t /*size*/) override {}
  void Wipe(std::span<std::byte> /*bytes*/) override {}
  system::SysResult<void> ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) override;

 protected:
  // What a file of the machine's has; the text lives as long as this object.
  virtual system::SysResult<const std::string*> Contents(const std::string& path) = 0;
  // The same for /proc/kpageflags, of which only parts are asked for.
  virtual system::SysResult<size_t> PageFlags(std::span<std::byte> buffer, uint64_t offset) = 0;

  system::System& host() { return *host_; }

 private:
  struct OpenFile {
    const std::string* text = nullptr;  // null: /proc/kpageflags
    uint64_t offset = 0;
  };

  system::System* host_;
  // Numbers that no descriptor of the host has.
  static constexpr int kFirst = 1 << 24;
  int next_ = kFirst;
  std::map<int, OpenFile> open_;
};

}  // namespace khop::capture
