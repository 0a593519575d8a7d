// SPDX-License-Identifier: MIT
#include "lab/vm/initramfs.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "lab/vm/sha256.h"

namespace khop::lab {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

// Incompressible bytes from a seed: the splitmix64 sequence.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed) {}
  void Fill(char* data, size_t size) {
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
      state_ += 0x9e3779b97f4a7c15;
      uint64_t value = state_;
      value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
      value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
      value ^= value >> 31;
      memcpy(data + done, &value, std::min(sizeof value, size - done));
    }
  }

 private:
  uint64_t state_;
};

struct FreeArchive {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct FreeReader {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};

// Appends data to the archive and to the digest of the file that it belongs to.
bool Append(archive* out, Sha256& sha, const char* data, size_t size) {
  sha.Update(data, size);
  return size == 0 || archive_write_data(out, data, size) == static_cast<la_ssize_t>(size);
}

}  // namespace

void Initramfs::AddDirectory(std::string path, unsigned mode) {
  entries_.push_back({std::move(path), mode, Directory{}});
}
void Initramfs::AddBytes(std::string path, std::string bytes, unsigned mode) {
  entries_.push_back({std::move(path), mode, Bytes{std::move(bytes)}});
}
void Initramfs::AddFile(std::string path, std::filesystem::path source, unsigned mode) {
  entries_.push_back({std::move(path), mode, HostFile{std::move(source)}});
}
void Initramfs::AddPadding(std::string path, uint64_t size, uint64_t seed) {
  entries_.push_back({std::move(path), 0644, Padding{size, seed}});
}
void Initramfs::AddSymlink(std::string path, std::string target) {
  entries_.push_back({std::move(path), 0777, Symlink{std::move(target)}});
}
void Initramfs::AddCharDevice(std::string path, unsigned major, unsigned minor, unsigned mode) {
  entries_.push_back({std::move(path), mode, CharDevice{major, minor}});
}

// `digests`: of every regular file, in the order of the bytes of its path.
Result<void> Initramfs::WriteEntries(archive* out, const std::filesystem::path& path,
                                     std::map<std::string, std::string>* digests) const {
  if (archive_write_open_filename(out, path.c_str()) != ARCHIVE_OK) {
    return Fail("cannot write " + path.string() + ": " + archive_error_string(out));
  }
  int64_t inode = 0;
  for (const Entry& item : entries_) {
    const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), item.path.c_str());
    archive_entry_set_perm(entry.get(), item.mode);
    archive_entry_set_ino64(entry.get(), ++inode);
    archive_entry_set_nlink(entry.get(), 1);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_size(entry.get(), 0);
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    std::ifstream source;
    if (std::holds_alternative<Directory>(item.content)) {
      archive_entry_set_filetype(entry.get(), AE_IFDIR);
    } else if (const auto* link = std::get_if<Symlink>(&item.content)) {
      archive_entry_set_filetype(entry.get(), AE_IFLNK);
      archive_entry_set_symlink(entry.get(), link->target.c_str());
    } else if (const auto* device = std::get_if<CharDevice>(&item.content)) {
      archive_entry_set_filetype(entry.get(), AE_IFCHR);
      archive_entry_set_rdevmajor(entry.get(), device->major);
      archive_entry_set_rdevminor(entry.get(), device->minor);
    } else if (const auto* bytes = std::get_if<Bytes>(&item.content)) {
      archive_entry_set_size(entry.get(), static_cast<int64_t>(bytes->bytes.size()));
    } else if (const auto* padding = std::get_if<Padding>(&item.content)) {
      archive_entry_set_size(entry.get(), static_cast<int64_t>(padding->size));
    } else if (const auto* file = std::get_if<HostFile>(&item.content)) {
      std::error_code error;
      const uintmax_t size = std::filesystem::file_size(file->source, error);
      source.open(file->source, std::ios::binary);
      if (error || !source) {
        return Fail("cannot read " + file->source.string() + " for the initramfs");
      }
      archive_entry_set_size(entry.get(), static_cast<int64_t>(size));
    }
    if (archive_write_header(out, entry.get()) != ARCHIVE_OK) {
      return Fail("initramfs entry " + item.path + ": " + archive_error_string(out));
    }
    if (archive_entry_filetype(entry.get()) != AE_IFREG) {
      continue;
    }
    Sha256 sha;
    bool good = true;
    if (const auto* bytes = std::get_if<Bytes>(&item.content)) {
      good = Append(out, sha, bytes->bytes.data(), bytes->bytes.size());
    } else if (const auto* padding = std::get_if<Padding>(&item.content)) {
      Noise noise(padding->seed);
      std::vector<char> buffer(kChunk);
      for (uint64_t left = padding->size; left != 0 && good;) {
        const size_t size = static_cast<size_t>(std::min<uint64_t>(left, kChunk));
        noise.Fill(buffer.data(), size);
        good = Append(out, sha, buffer.data(), size);
        left -= size;
      }
    } else {
      std::vector<char> buffer(kChunk);
      while (good && (source.read(buffer.data(), kChunk) || source.gcount() > 0)) {
        good = Append(out, sha, buffer.data(), static_cast<size_t>(source.gcount()));
      }
    }
    if (!good) {
      return Fail("initramfs entry " + item.path + ": " + archive_error_string(out));
    }
    (*digests)["/" + item.path] = sha.Finish();
  }
  if (archive_write_close(out) != ARCHIVE_OK) {
    return Fail("cannot write " + path.string() + ": " + archive_error_string(out));
  }
  return {};
}

Result<void> Initramfs::WritePacked(const std::filesystem::path& path) const {
  const std::unique_ptr<archive, FreeArchive> out(archive_write_new());
  archive_write_set_format_cpio_newc(out.get());
  archive_write_add_filter_gzip(out.get());
  archive_write_set_filter_option(out.get(), "gzip", "timestamp", nullptr);
  archive_write_set_bytes_in_last_block(out.get(), 1);
  std::map<std::string, std::string> digests;
  return WriteEntries(out.get(), path, &digests);
}

Result<void> Initramfs::WriteDisk(const std::filesystem::path& path) const {
  const std::unique_ptr<archive, FreeArchive> out(archive_write_new());
  archive_write_set_format_iso9660(out.get());
  std::map<std::string, std::string> digests;
  return WriteEntries(out.get(), path, &digests);
}

Result<Initramfs::Written> Initramfs::Write(const std::filesystem::path& path) const {
  const std::unique_ptr<archive, FreeArchive> out(archive_write_new());
  archive_write_set_format_cpio_newc(out.get());
  archive_write_set_bytes_in_last_block(out.get(), 1);
  std::map<std::string, std::string> digests;
  if (const Result<void> done = WriteEntries(out.get(), path, &digests); !done) {
    return std::unexpected(done.error());
  }

  Written written;
  std::error_code error;
  written.size = std::filesystem::file_size(path, error);
  const Result<std::string> digest = Sha256OfFiles({path.string()});
  if (error || !digest) {
    return Fail("cannot read back " + path.string());
  }
  written.sha256 = *digest;
  Sha256 manifest;
  for (const auto& [name, file_digest] : digests) {
    std::string line = file_digest;
    line.append("  ").append(name).append("\n");
    manifest.Update(line.data(), line.size());
  }
  written.manifest_sha256 = manifest.Finish();
  return written;
}

Result<std::string> ReadUnpacked(const std::filesystem::path& path) {
  const std::unique_ptr<archive, FreeReader> in(archive_read_new());
  archive_read_support_filter_all(in.get());
  archive_read_support_format_raw(in.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_filename(in.get(), path.c_str(), kChunk) != ARCHIVE_OK ||
      archive_read_next_header(in.get(), &entry) != ARCHIVE_OK) {
    return Fail("cannot read " + path.string() + ": " + archive_error_string(in.get()));
  }
  std::string bytes;
  std::vector<char> buffer(kChunk);
  la_ssize_t count = 0;
  while ((count = archive_read_data(in.get(), buffer.data(), buffer.size())) > 0) {
    bytes.append(buffer.data(), static_cast<size_t>(count));
  }
  if (count < 0) return Fail("cannot unpack " + path.string());
  return bytes;
}

}  // namespace khop::lab
