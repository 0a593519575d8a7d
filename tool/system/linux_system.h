// SPDX-License-Identifier: MIT
// The System of the machine that khop runs on.
#pragma once

#include "tool/system/system.h"

namespace khop::system {

class LinuxSystem final : public System {
 public:
  SysResult<int> Open(const std::string& path, OpenMode mode) override;
  void Close(int fd) override;
  SysResult<FileInfo> Stat(int fd) override;
  SysResult<FileInfo> Lstat(const std::string& path) override;
  SysResult<size_t> Read(int fd, std::span<std::byte> buffer) override;
  SysResult<size_t> ReadAt(int fd, std::span<std::byte> buffer, uint64_t offset) override;
  void DropFromCache(int fd) override;
  SysResult<size_t> Write(int fd, std::span<const std::byte> data) override;
  SysResult<void> Rename(const std::string& from, const std::string& to) override;
  SysResult<void> Unlink(const std::string& path) override;
  SysResult<void> MakeDirectory(const std::string& path) override;
  SysResult<std::string> ReadLink(const std::string& path) override;
  SysResult<void> Lock(int fd) override;
  SysResult<std::vector<std::string>> ListDirectory(const std::string& path) override;
  SysResult<int> ShmCreate(int key, uint64_t size, uint64_t page_size) override;
  SysResult<void> ShmLock(int id) override;
  SysResult<ShmInfo> ShmFind(int key) override;
  SysResult<std::byte*> ShmAttach(int id) override;
  SysResult<void> ShmDetach(std::byte* address) override;
  SysResult<void> ShmRemove(int id) override;
  SysResult<void> Populate(std::byte* address, uint64_t size) override;
  SysResult<void> TakeMemory(uint64_t size) override;
  SysResult<void> PreferNode(int node) override;
  SysResult<void> Punch(std::byte* address, uint64_t size) override;
  SysResult<void> KexecLoad(PhysAddr entry, std::span<const KexecSegment> segments) override;
  SysResult<void> KexecLoadCrash(PhysAddr entry, std::span<const KexecSegment> segments) override;
  Errno KexecProbe() override;
  SysResult<void> KexecFileLoad(int kernel, int initrd, const std::string& command_line,
                                uint32_t flags) override;
  Errno KexecFileProbe(uint32_t flags) override;
  SysResult<void> Reboot(RebootMode mode) override;
  void Sync() override;
  SysResult<void> TakeInterfacesDown() override;
  SysResult<uint32_t> WatchdogOptions(int fd) override;
  SysResult<void> SetWatchdogTimeout(int fd, uint32_t seconds) override;
  SysResult<int> Run(const std::vector<std::string>& argv) override;
  std::string Machine() override;
  std::string KernelRelease() override;
  uint32_t EffectiveUid() override;
  uint64_t PageSize() override;
  SysResult<void> Random(std::span<std::byte> out) override;
  uint64_t Counter() override;
  uint32_t DataCacheLine() override;
  void CleanToPoc(const std::byte* address, uint64_t size) override;
  void Wipe(std::span<std::byte> bytes) override;
  SysResult<std::string> KernelLog() override;
  SysResult<void> ReadDeviceMemory(PhysAddr address, std::span<std::byte> out) override;
  uint64_t Hwcap() override;
  unsigned CpuCount() override;
  Speeds MeasureSpeeds() override;
};

}  // namespace khop::system
