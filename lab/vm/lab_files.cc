// SPDX-License-Identifier: MIT
#include "lab/vm/lab_files.h"

#include <cstdlib>
#include <fstream>
#include <system_error>

namespace khop::lab {
namespace {

// Both may be moved by the environment; CMake gives where they are else.
std::filesystem::path FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::filesystem::path LabDirectory() { return FromEnvironment("KHOP_LAB_DIR", KHOP_LAB_DIR); }
std::filesystem::path Arm64Directory() { return FromEnvironment("KHOP_ARM64_DIR", KHOP_ARM64_DIR); }

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

Result<void> AddModule(Initramfs& guest, std::string path, const std::filesystem::path& file) {
  Result<std::string> module = ReadUnpacked(file);
  if (!module) return std::unexpected(module.error());
  guest.AddBytes(std::move(path), *std::move(module));
  return {};
}

}  // namespace

std::vector<std::filesystem::path> FindModules(const std::string& short_name,
                                               const std::vector<std::string>& modules) {
  std::vector<std::filesystem::path> found;
  for (const std::string& module : modules) {
    for (const char* suffix : {".ko", ".ko.xz"}) {
      std::filesystem::path file =
          LabDirectory() / "kernels" / short_name / "modules" / (module + suffix);
      if (Exists(file)) found.push_back(std::move(file));
    }
  }
  return found;
}

Result<LabKernel> FindKernel(const std::string& short_name) {
  const std::filesystem::path directory = LabDirectory() / "kernels" / short_name;
  LabKernel kernel{
      .image = directory / "Image", .release = "", .package = "", .modules = {}, .drivers = {}};
  std::ifstream version(directory / "version");
  if (!std::getline(version, kernel.release) || !std::getline(version, kernel.package) ||
      !Exists(kernel.image)) {
    return Fail("the lab has no kernel " + short_name + " (cmake -P lab/fetch.cmake says why)");
  }
  kernel.modules = FindModules(
      short_name, {"virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "cdrom", "isofs"});
  return kernel;
}

Result<std::filesystem::path> FindGuestFile(const std::string& name) {
  for (const std::filesystem::path& path :
       {Arm64Directory() / name, Arm64Directory() / "lab/guest" / name,
        Arm64Directory() / "examples/embed" / name, Arm64Directory() / "bench" / name,
        LabDirectory() / name}) {
    if (Exists(path)) {
      return path;
    }
  }
  return Fail(name + " is not there; build the preset arm64 and run cmake -P lab/fetch.cmake");
}

Result<std::filesystem::path> FindEfiFirmware() {
  std::filesystem::path path = LabDirectory() / "firmware" / "QEMU_EFI.fd";
  if (!Exists(path)) {
    return Fail("the lab has no UEFI firmware (cmake -P lab/fetch.cmake says why)");
  }
  return path;
}

Result<std::filesystem::path> WrapImage(const std::string& name, const std::filesystem::path& image,
                                        const std::filesystem::path& initrd,
                                        const std::filesystem::path& directory) {
  const std::string command = std::string(KHOP_LAB_SOURCE) + "/images.sh " + image.string() + " " +
                              directory.string() + " " + initrd.string() + " -- " + name;
  // The paths are the lab's own.
  const int status = std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
  std::filesystem::path made = directory / name;
  if (status != 0 || !std::filesystem::exists(made)) {
    return Fail("lab/images.sh did not make " + name + ": see its output");
  }
  return made;
}

Result<void> SignForIma(const std::filesystem::path& file, const std::filesystem::path& directory) {
  const std::string certificate = (LabDirectory() / "keys/lab.pem").string();
  // The paths are the lab's own.
  const std::string command = std::string(KHOP_LAB_SOURCE) + "/kernel/ima-signature " +
                              (LabDirectory() / "keys/lab.key").string() + " " + certificate + " " +
                              file.string() + " > " + (directory / "signature").string() +
                              " && openssl x509 -in " + certificate + " -outform DER -out " +
                              (directory / "certificate").string();
  if (std::system(command.c_str()) != 0) {  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
    return Fail("lab/kernel/ima-signature made no signature of " + file.string());
  }
  return {};
}

Result<void> AddKexecTools(Initramfs& guest, std::string* package) {
  const std::filesystem::path directory = LabDirectory() / "kexec-tools";
  std::ifstream version(directory / "version");
  std::string name;
  if (!std::getline(version, name)) {
    return Fail("the lab has no kexec-tools (cmake -P lab/fetch.cmake says why)");
  }
  if (package != nullptr) *package = name;
  guest.AddDirectory("kexec-tools");
  guest.AddFile("kexec-tools/kexec", directory / "kexec", 0755);
  guest.AddDirectory("khop");
  guest.AddSymlink("khop/kexec", "/bin/khop");
  // Where the program looks for its loader and its libraries.
  constexpr const char* kLoader = "ld-linux-aarch64.so.1";
  const std::string libraries = "lib/aarch64-linux-gnu/";
  guest.AddDirectory("lib");
  guest.AddDirectory("lib/aarch64-linux-gnu");
  guest.AddSymlink(std::string("lib/") + kLoader, "aarch64-linux-gnu/" + std::string(kLoader));
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(directory / "lib", error)) {
    guest.AddFile(libraries + file.path().filename().string(), file.path(), 0755);
  }
  if (error) return Fail("cannot read " + directory.string() + ": " + error.message());
  return {};
}

Result<std::vector<GuestFile>> FindDecompressors() {
  std::vector<GuestFile> files;
  std::error_code error;
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(LabDirectory() / "decompressors", error)) {
    if (!file.is_regular_file()) continue;
    files.push_back({"next/" + file.path().filename().string(), file.path().string()});
  }
  if (error || files.empty()) {
    return Fail("the lab has no decompressors (cmake -DSET=full -P lab/fetch.cmake says why)");
  }
  return files;
}

Result<std::filesystem::path> MakeRunDirectory(const std::string& name) {
  std::filesystem::path directory = LabDirectory() / "run" / name;
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (!std::filesystem::create_directories(directory, error)) {
    return Fail("cannot make " + directory.string() + ": " + error.message());
  }
  return directory;
}

Result<Initramfs> BaseGuest(bool with_khop) {
  Initramfs guest;
  for (const char* directory : {"bin", "dev", "proc", "sys", "run", "tmp", "next"}) {
    guest.AddDirectory(directory);
  }
  guest.AddCharDevice("dev/console", 5, 1);
  guest.AddCharDevice("dev/null", 1, 3, 0666);
  struct Program {
    const char* name;
    const char* path;
    bool wanted;
  };
  for (const Program& program :
       {Program{"khop-guest-init", "init", true}, Program{"busybox", "bin/busybox", true},
        Program{"khop-guest-tool", "bin/khop-guest-tool", true},
        Program{"khop", "bin/khop", with_khop}}) {
    if (!program.wanted) {
      continue;
    }
    const Result<std::filesystem::path> file = FindGuestFile(program.name);
    if (!file) {
      return std::unexpected(file.error());
    }
    guest.AddFile(program.path, *file, 0755);
  }
  guest.AddSymlink("bin/sh", "busybox");
  return guest;
}

Result<void> AddMakedumpfile(Initramfs& guest) {
  const std::filesystem::path directory = LabDirectory() / "makedumpfile";
  std::error_code error;
  guest.AddDirectory("lib");
  for (const auto& entry : std::filesystem::directory_iterator(directory / "lib", error)) {
    guest.AddFile("lib/" + entry.path().filename().string(), entry.path(), 0755);
  }
  if (error || !Exists(directory / "makedumpfile")) {
    return Fail("the lab has no makedumpfile (cmake -P lab/fetch.cmake says why)");
  }
  guest.AddFile("bin/makedumpfile", directory / "makedumpfile", 0755);
  return {};
}

Result<GuestImage> MakeNextGuest(const std::filesystem::path& directory, uint64_t padding,
                                 uint64_t seed, const std::filesystem::path& kernel,
                                 bool with_makedumpfile) {
  Result<Initramfs> guest = BaseGuest();
  if (!guest) {
    return std::unexpected(guest.error());
  }
  if (with_makedumpfile) {
    if (const Result<void> added = AddMakedumpfile(*guest); !added) {
      return std::unexpected(added.error());
    }
  }
  if (padding != 0) {
    guest->AddPadding("padding", padding, seed);
  }
  if (!kernel.empty()) {
    guest->AddFile("next/Image", kernel);
  }
  GuestImage image{.path = directory / "next.cpio", .written = {}};
  const Result<Initramfs::Written> written = guest->Write(image.path);
  if (!written) {
    return std::unexpected(written.error());
  }
  image.written = *written;
  return image;
}

Result<GuestImage> MakeFirstGuest(const std::filesystem::path& directory,
                                  const std::filesystem::path& next_kernel,
                                  const std::filesystem::path& next_initrd, const LabKernel& kernel,
                                  const std::filesystem::path& disk,
                                  const std::vector<GuestFile>& files) {
  // Of a small memory khop itself would be a good part.
  Result<Initramfs> guest = BaseGuest(disk.empty());
  if (!guest) {
    return std::unexpected(guest.error());
  }
  if (disk.empty()) {
    guest->AddFile("next/Image", next_kernel);
    guest->AddFile("next/initrd", next_initrd);
  } else {
    Initramfs on_disk;
    on_disk.AddFile("Image", next_kernel);
    on_disk.AddFile("initrd", next_initrd);
    const Result<std::filesystem::path> khop = FindGuestFile("khop");
    if (!khop) {
      return std::unexpected(khop.error());
    }
    on_disk.AddFile("khop", *khop, 0755);
    guest->AddSymlink("bin/khop", "/next/khop");
    if (const Result<void> written = on_disk.WriteDisk(disk); !written) {
      return std::unexpected(written.error());
    }
    guest->AddDirectory("modules");
    for (size_t i = 0; i < kernel.modules.size(); ++i) {
      const Result<void> added =
          AddModule(*guest, "modules/" + std::to_string(i), kernel.modules[i]);
      if (!added) return std::unexpected(added.error());
    }
  }
  if (!files.empty()) guest->AddDirectory("lib");
  for (const GuestFile& file : files) {
    const Result<std::filesystem::path> source = FindGuestFile(file.name);
    if (!source) return std::unexpected(source.error());
    guest->AddFile(file.path, *source, 0755);
  }
  guest->AddDirectory("drivers");
  for (const std::filesystem::path& driver : kernel.drivers) {
    const std::string name = driver.filename().string();
    const Result<void> added =
        AddModule(*guest, "drivers/" + name.substr(0, name.find('.')) + ".ko", driver);
    if (!added) return std::unexpected(added.error());
  }
  GuestImage image{.path = directory / "first.cpio", .written = {}};
  const Result<Initramfs::Written> written = guest->Write(image.path);
  if (!written) {
    return std::unexpected(written.error());
  }
  image.written = *written;
  return image;
}

}  // namespace khop::lab
