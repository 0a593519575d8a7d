// SPDX-License-Identifier: MIT
// The machine of a capture, behind the same seam as a real one. What would change it is refused.
#pragma once

#include "tool/capture/capture.h"
#include "tool/capture/read_only_system.h"

namespace khop::capture {

class CapturedSystem final : public ReadOnlySystem {
 public:
  // `host`: for files that are not the machine's own, such as the kernel that is planned with.
  CapturedSystem(system::System& host, Capture capture);

  const Capture& capture() const { return capture_; }
  // The relocator that the capture has.
  std::span<const std::byte> blob() const { return std::as_bytes(std::span(capture_.relocator)); }

  system::SysResult<system::FileInfo> Lstat(const std::string& path) override;
  system::SysResult<std::string> ReadLink(const std::string& path) override;
  system::SysResult<std::vector<std::string>> ListDirectory(const std::string& path) override;
  system::Errno KexecProbe() override;
  system::Errno KexecFileProbe(uint32_t flags) override;
  std::string Machine() override { return capture_.machine; }
  std::string KernelRelease() override { return capture_.release; }
  uint32_t EffectiveUid() override { return capture_.uid; }
  uint64_t PageSize() override { return capture_.page_size; }
  uint32_t DataCacheLine() override { return capture_.data_cache_line; }
  system::SysResult<std::string> KernelLog() override;
  uint64_t Hwcap() override { return capture_.hwcap; }
  system::Speeds MeasureSpeeds() override { return capture_.speeds; }

 protected:
  system::SysResult<const std::string*> Contents(const std::string& path) override;
  system::SysResult<size_t> PageFlags(std::span<std::byte> buffer, uint64_t offset) override;

 private:
  system::Errno ErrorOf(const std::string& path) const;

  Capture capture_;
};

}  // namespace khop::capture
