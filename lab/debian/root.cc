// SPDX-License-Identifier: MIT
#include "lab/debian/root.h"

namespace khop::lab {

Result<void> AddDiskModules(Initramfs& guest, const std::string& kernel) {
  const auto modules = FindModules(
      kernel, {"virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "crc16", "crc32c_generic",
               "libcrc32c", "mbcache", "jbd2", "ext4", "failover", "net_failover", "virtio_net"});
  guest.AddDirectory("modules");
  int number = 10;
  for (const std::filesystem::path& file : modules) {
    Result<std::string> module = ReadUnpacked(file);
    if (!module) return std::unexpected(module.error());
    guest.AddBytes("modules/" + std::to_string(number++), *std::move(module));
  }
  return {};
}

std::vector<std::string> DiskArguments(const std::filesystem::path& disk, bool snapshot) {
  return {"-drive",
          std::string("if=none,id=root,format=raw,cache=unsafe,snapshot=") +
              (snapshot ? "on" : "off") + ",file=" + disk.string(),
          "-device", "virtio-blk-device,drive=root"};
}

std::vector<std::string> NetworkArguments(int port) {
  return {"-netdev",
          "user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:" + std::to_string(port) + "-:22",
          "-device", "virtio-net-device,netdev=network"};
}

Result<void> WriteRootInitrd(const std::string& kernel, const std::vector<RootFile>& files,
                             const std::filesystem::path& path) {
  Initramfs guest;
  for (const char* directory : {"bin", "dev", "proc", "root", "new"}) {
    guest.AddDirectory(directory);
  }
  guest.AddCharDevice("dev/console", 5, 1);
  const Result<std::filesystem::path> busybox = FindGuestFile("busybox");
  if (!busybox) return std::unexpected(busybox.error());
  guest.AddFile("bin/busybox", *busybox, 0755);
  guest.AddSymlink("bin/sh", "busybox");
  if (const auto added = AddDiskModules(guest, kernel); !added) return added;
  std::string copies;
  int number = 0;
  for (const RootFile& file : files) {
    const std::string folder = std::filesystem::path(file.path).parent_path().string();
    copies += "$b mkdir -p /root/" + folder + "\n";
    if (!file.link.empty()) {
      copies += "$b ln -sf " + file.link + " /root/" + file.path + "\n";
      continue;
    }
    // Each under a number, so that no directories are needed here.
    const std::string name = "new/" + std::to_string(number++);
    if (file.source.empty()) {
      guest.AddBytes(name, file.text, file.mode);
    } else {
      guest.AddFile(name, file.source, file.mode);
    }
    copies += "$b cp -a /" + name + " /root/" + file.path + "\n";
  }
  guest.AddBytes("init",
                 "#!/bin/sh\n"
                 "b=/bin/busybox\n"
                 "$b mount -t devtmpfs devtmpfs /dev\n"
                 "for m in /modules/*; do $b insmod $m; done\n"
                 "$b mount -t ext4 " +
                     std::string(files.empty() ? "-o ro" : "") + " /dev/vda /root\n" + copies +
                     "$b mount -o remount,ro /root\n"
                     "$b mount --move /dev /root/dev\n"
                     "exec $b switch_root /root /sbin/init\n",
                 0755);
  const auto written = guest.Write(path);
  if (!written) return std::unexpected(written.error());
  return {};
}

}  // namespace khop::lab
