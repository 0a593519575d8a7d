// SPDX-License-Identifier: MIT
// What a guest with a Debian root on a disk needs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lab/vm/initramfs.h"
#include "lab/vm/lab_files.h"

namespace khop::lab {

// Puts the modules for a virtio disk with ext4 and a virtio network, in the order of loading, into
// /modules.
Result<void> AddDiskModules(Initramfs& guest, const std::string& kernel);
// For the guest's shell.
inline constexpr const char* kLoadDiskModules = "for m in /modules/*; do insmod $m || exit 1; done";
// QEMU's arguments for the disk. With `snapshot` what is written is gone with the machine.
std::vector<std::string> DiskArguments(const std::filesystem::path& disk, bool snapshot);

// And for a network on which the guest, at 10.0.2.15, is reached by ssh at this port of the host.
std::vector<std::string> NetworkArguments(int port);

// What goes into the root before its init starts: a file of the host, text, or a symbolic link.
struct RootFile {
  std::string path;  // "etc/khop.conf"
  // NOLINTBEGIN(readability-redundant-member-init): g++ wants them for designated initializers.
  std::filesystem::path source = {};
  std::string text = {};
  std::string link = {};
  // NOLINTEND(readability-redundant-member-init)
  unsigned mode = 0644;
};

// An initrd that starts /sbin/init of the root on the disk, as a distribution's does.
Result<void> WriteRootInitrd(const std::string& kernel, const std::vector<RootFile>& files,
                             const std::filesystem::path& path);

}  // namespace khop::lab
