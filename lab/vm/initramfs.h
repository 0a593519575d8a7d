// SPDX-License-Identifier: MIT
// Writes the initramfs of a guest: a newc cpio archive whose bytes depend on nothing but what was
// added.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "lab/vm/failure.h"

struct archive;  // libarchive

namespace khop::lab {

class Initramfs {
 public:
  // What a guest can be asked to confirm about the archive that it got.
  struct Written {
    uint64_t size = 0;            // bytes
    std::string sha256;           // of the archive
    std::string manifest_sha256;  // of the list of its files (guest/init.cc: manifest-sha256)
  };

  // Paths have no leading slash; a directory is added before what lies in it.
  void AddDirectory(std::string path, unsigned mode = 0755);
  void AddBytes(std::string path, std::string bytes, unsigned mode = 0644);
  // The host file is read when the archive is written.
  void AddFile(std::string path, std::filesystem::path source, unsigned mode = 0644);
  // `size` bytes that do not compress, the same for the same seed.
  void AddPadding(std::string path, uint64_t size, uint64_t seed);
  void AddSymlink(std::string path, std::string target);
  void AddCharDevice(std::string path, unsigned major, unsigned minor, unsigned mode = 0600);

  Result<Written> Write(const std::filesystem::path& path) const;
  // The same archive, compressed (gzip).
  Result<void> WritePacked(const std::filesystem::path& path) const;
  // The same files as a disk (ISO 9660 with Rock Ridge names), for what does not fit into memory.
  Result<void> WriteDisk(const std::filesystem::path& path) const;

 private:
  struct Directory {};
  struct Bytes {
    std::string bytes;
  };
  struct HostFile {
    std::filesystem::path source;
  };
  struct Padding {
    uint64_t size;
    uint64_t seed;
  };
  struct Symlink {
    std::string target;
  };
  struct CharDevice {
    unsigned major;
    unsigned minor;
  };
  struct Entry {
    std::string path;
    unsigned mode;
    std::variant<Directory, Bytes, HostFile, Padding, Symlink, CharDevice> content;
  };
  Result<void> WriteEntries(archive* out, const std::filesystem::path& path,
                            std::map<std::string, std::string>* digests) const;

  std::vector<Entry> entries_;
};

// What `path` holds, unpacked if it is compressed (a kernel module, .ko or .ko.xz).
Result<std::string> ReadUnpacked(const std::filesystem::path& path);

}  // namespace khop::lab
