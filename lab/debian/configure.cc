// SPDX-License-Identifier: MIT
// Configures an unpacked Debian root (tree.cmake) in a guest, where its own programs run.
//   khop_configure_debian SUITE-DIRECTORY KERNEL
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "lab/debian/root.h"
#include "lab/vm/guest.h"
#include "lab/vm/machine.h"

namespace khop::lab {
namespace {

// In the guest, with the root at /root. dpkg's own order of things: what others need to be
// configured comes first. Hooks that would start services find no systemd and leave it.
constexpr const char* kConfigure = R"(
set -e
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -o bind /dev /root/dev
mount -t tmpfs tmpfs /root/tmp
cat > /root/khop-lab/second-stage <<'END'
set -e
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true PATH=/usr/sbin:/usr/bin
export LC_ALL=C
chown -R --no-dereference 0:0 /etc /usr /var
cd /khop-lab/debs
ln -sf mawk /usr/bin/awk
dpkg --force-depends --install ????-base-passwd_* ????-base-files_*
dpkg --force-depends --unpack *.deb
dpkg --configure --pending --force-configure-any || dpkg --configure --pending --force-configure-any
rm -rf /khop-lab
echo khop > /etc/hostname
printf '127.0.0.1 localhost khop\n' > /etc/hosts
echo '/dev/vda / ext4 defaults 0 1' > /etc/fstab
END
chroot /root /bin/sh /khop-lab/second-stage > /root/configure.log 2>&1 || { tail -n 40 /root/configure.log; exit 1; }
chroot /root /usr/bin/dpkg --audit
umount /root/tmp /root/dev /root/sys /root/proc
umount /root
sync
)";

Result<void> Configure(const std::filesystem::path& directory, const std::string& kernel_name) {
  const Result<LabKernel> kernel = FindKernel(kernel_name);
  if (!kernel) return std::unexpected(kernel.error());
  Result<Initramfs> guest = BaseGuest(false);
  if (!guest) return std::unexpected(guest.error());
  if (const auto added = AddDiskModules(*guest, kernel_name); !added) return added;
  guest->AddDirectory("root");
  guest->AddBytes("configure", kConfigure, 0755);
  const std::filesystem::path initrd = directory / "configure.cpio";
  if (const auto written = guest->Write(initrd); !written) {
    return std::unexpected(written.error());
  }
  const std::filesystem::path disk = directory / "root.new";
  std::filesystem::copy_file(directory / "tree.img", disk,
                             std::filesystem::copy_options::overwrite_existing);
  auto machine = Machine::Start({.kernel = kernel->image,
                                 .initrd = initrd,
                                 .command_line = "console=ttyAMA0 khop_lab.nodigest",
                                 .memory_mib = 1024,
                                 .extra_arguments = DiskArguments(disk, /*snapshot=*/false),
                                 .console_log = directory / "configure.console"});
  if (!machine) return std::unexpected(machine.error());
  Guest shell(*machine);
  if (const auto up = shell.WaitUntilUp(Seconds(180)); !up) return std::unexpected(up.error());
  if (const auto mounted = shell.Must(std::string(kLoadDiskModules) + "; mount /dev/vda /root");
      !mounted) {
    return std::unexpected(mounted.error());
  }
  const auto done = shell.Must("sh /configure", Seconds(1800));
  if (!done) return std::unexpected(done.error());
  if (!done->empty()) return Fail("dpkg --audit: " + *done);
  if (const auto off = shell.PowerOff(); !off) return std::unexpected(off.error());
  std::filesystem::rename(disk, directory / "root.img");
  std::filesystem::remove(directory / "tree.img");
  std::filesystem::remove(initrd);
  return {};
}

}  // namespace
}  // namespace khop::lab

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: khop_configure_debian SUITE-DIRECTORY KERNEL\n");
    return 2;
  }
  const std::filesystem::path directory = argv[1];
  if (std::filesystem::exists(directory / "root.img")) return 0;
  if (!std::filesystem::exists(directory / "tree.img")) {
    std::printf("SKIPPED: there is no unpacked root in %s\n", directory.c_str());
    return 0;
  }
  const auto done = khop::lab::Configure(directory, argv[2]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().what.c_str());
  return done ? 0 : 1;
}
