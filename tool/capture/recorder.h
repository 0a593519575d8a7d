// SPDX-License-Identifier: MIT
// Notes what is asked of a machine, and the answers. Capturing is to run plan, doctor and report on
// this, so that nothing which they ask can be forgotten.
#pragma once

#include "tool/capture/capture.h"
#include "tool/capture/read_only_system.h"

namespace khop::capture {

class Recorder final : public ReadOnlySystem {
 public:
  explicit Recorder(system::System& live);

  // A file that the live machine does not have, to be read through this.
  void AddFile(const std::string& path, std::string text) { made_[path] = std::move(text); }
  // Notes who has each page of plain memory, of the first 64 GiB of it.
  void RecordPages();
  // What was noted. Seeds in the device tree are wiped; of the kernel log only the lines that khop
  // looks at are left.
  Capture Take();

  system::SysResult<system::FileInfo> Lstat(const std::string& path) override;
  system::SysResult<std::string> ReadLink(const std::string& path) override;
  system::SysResult<std::vector<std::string>> ListDirectory(const std::string& path) override;
  system::Errno KexecProbe() override;
  system::Errno KexecFileProbe(uint32_t flags) override;
  std::string Machine() override { return host().Machine(); }
  std::string KernelRelease() override { return host().KernelRelease(); }
  uint32_t EffectiveUid() override { return host().EffectiveUid(); }
  uint64_t PageSize() override { return host().PageSize(); }
  uint32_t DataCacheLine() override { return host().DataCacheLine(); }
  system::SysResult<std::string> KernelLog() override;
  uint64_t Hwcap() override { return host().Hwcap(); }
  system::Speeds MeasureSpeeds() override;

 protected:
  system::SysResult<const std::string*> Contents(const std::string& path) override;
  system::SysResult<size_t> PageFlags(std::span<std::byte> buffer, uint64_t offset) override;

 private:
  template <typename T>
  system::SysResult<T> Note(const std::string& path, system::SysResult<T> answer,
                            std::map<std::string, T>& notes);

  std::map<std::string, std::string> made_;
  std::map<std::string, system::FileInfo> infos_;
  Capture capture_;
};

// The records of /dev/kmsg that khop looks at, and the first.
std::string RelevantLog(std::string_view log);

}  // namespace khop::capture
