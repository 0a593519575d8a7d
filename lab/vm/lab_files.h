// SPDX-License-Identifier: MIT
// Where the lab's files are, and the guest images made of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/vm/failure.h"
#include "lab/vm/initramfs.h"

namespace khop::lab {

struct LabKernel {
  std::filesystem::path image;
  std::string release;  // uname -r
  std::string package;  // package=version
  // What a disk needs (virtio_mmio, virtio_blk, isofs and theirs), in the order of loading.
  std::vector<std::filesystem::path> modules;
  // Others that a scenario asked for: FindDrivers().
  std::vector<std::filesystem::path> drivers;
};

// A kernel of the lab by its short name ("6.1"); fails when lab/fetch.cmake could not get it.
Result<LabKernel> FindKernel(const std::string& short_name);

// The modules of these names that the kernel has; what it has built in is left out.
std::vector<std::filesystem::path> FindModules(const std::string& short_name,
                                               const std::vector<std::string>& modules);

// The arm64 programs: khop and what the guest needs. Fails when one has not been built or fetched.
Result<std::filesystem::path> FindGuestFile(const std::string& name);

// UEFI firmware for QEMU's virt machine (-bios); fails when lab/fetch.cmake could not get it.
Result<std::filesystem::path> FindEfiFirmware();

// Adds Debian's makedumpfile and its libraries to a guest; fails when lab/fetch.cmake could not get
// it.
Result<void> AddMakedumpfile(Initramfs& guest);

// `image` in another wrapping (lab/images.sh has the names), in `directory`; with `initrd` in those
// that take one. Fails when a tool is missing.
Result<std::filesystem::path> WrapImage(const std::string& name, const std::filesystem::path& image,
                                        const std::filesystem::path& initrd,
                                        const std::filesystem::path& directory);

// Writes `directory`/signature, what security.ima has to be for `file` to be signed by the lab's
// key, and `directory`/certificate, the certificate in DER.
Result<void> SignForIma(const std::filesystem::path& file, const std::filesystem::path& directory);

// Puts the lab's kexec-tools into a guest as /kexec-tools/kexec, and khop as /khop/kexec; `package`
// gets its version. Fails when lab/fetch.cmake could not get it.
Result<void> AddKexecTools(Initramfs& guest, std::string* package = nullptr);

// Where a run of this name keeps its console log and images; made empty.
Result<std::filesystem::path> MakeRunDirectory(const std::string& name);

// What every guest has: init, a shell, khop, and the helpers of the scenarios. `with_khop` false
// for a guest that needs none (before khop exists).
Result<Initramfs> BaseGuest(bool with_khop = true);

// The initrd of a next kernel: the base, `padding` bytes that do not compress, and, unless the path
// is empty, a kernel as /next/Image for a further hop.
struct GuestImage {
  std::filesystem::path path;
  Initramfs::Written written;
};
Result<GuestImage> MakeNextGuest(const std::filesystem::path& directory, uint64_t padding,
                                 uint64_t seed, const std::filesystem::path& kernel = {},
                                 bool with_makedumpfile = false);

// A file of the host for a guest; `name` is one of FindGuestFile(), or a whole path.
struct GuestFile {
  std::string path;  // in the guest
  std::string name;
};

// Debian's gzip, xz, zstd and lz4 with their libraries, as next/NAME of a guest; fails when
// lab/fetch.cmake could not get them.
Result<std::vector<GuestFile>> FindDecompressors();

// The initrd of a first kernel: the base, with the next kernel as /next/Image and its initrd as
// /next/initrd. With `disk` not empty both go onto a disk image of that path, and the initrd has
// the modules of `kernel` for it: kMountDisk mounts it at /next. `kernel.drivers` become
// /drivers/NAME.ko. `files` come on top.
Result<GuestImage> MakeFirstGuest(const std::filesystem::path& directory,
                                  const std::filesystem::path& next_kernel,
                                  const std::filesystem::path& next_initrd,
                                  const LabKernel& kernel = {},
                                  const std::filesystem::path& disk = {},
                                  const std::vector<GuestFile>& files = {});

// For the guest's shell.
inline constexpr const char* kMountDisk =
    "for m in /modules/*; do insmod $m || exit 1; done; "
    "mount -t iso9660 -o ro /dev/vda /next";

}  // namespace khop::lab
