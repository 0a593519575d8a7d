// SPDX-License-Identifier: MIT
// What a load of a compressed kernel takes, beside Debian's decompressor of the same file alone:
// instructions on one CPU (docs/performance.md).
#include <cinttypes>
#include <cstdio>
#include <fstream>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kInstructionsOfATick = 16;  // -icount shift=0, 62.5 MHz
constexpr Seconds kLong(600);

class Decompress : public FirstMachine {
 protected:
  // An Image of 100 MiB: the lab's kernels, one behind the other, under a header that says so.
  static Result<std::filesystem::path> MakeImage(const std::vector<LabKernel>& kernels,
                                                 const std::filesystem::path& directory) {
    std::filesystem::path path = directory / "Image";
    std::ofstream image(path, std::ios::binary);
    uint64_t left = 100 * kMiB;
    for (const LabKernel& kernel : kernels) {
      std::ifstream part(kernel.image, std::ios::binary);
      std::string bytes(std::min(left, std::filesystem::file_size(kernel.image)), '\0');
      part.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      image.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      left -= bytes.size();
      if (!part || !image) return Fail("cannot write " + path.string());
    }
    if (left != 0) return Fail("the lab's kernels are too small");
    if (!image.flush()) return Fail("cannot write " + path.string());
    if (!SetSize(path)) return Fail("cannot change the headers of " + path.string());
    return path;
  }

  // Where the headers of an Image say how large it is: booting.rst's and the last section of PE's
  // (Microsoft PE/COFF specification).
  static bool SetSize(const std::filesystem::path& path) {
    std::fstream image(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto get = [&]<typename T>(uint64_t at, T value) {
      image.seekg(static_cast<std::streamoff>(at));
      image.read(reinterpret_cast<char*>(&value), sizeof(value));
      return value;
    };
    const auto put = [&](uint64_t at, auto value) {
      image.seekp(static_cast<std::streamoff>(at));
      image.write(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    const uint64_t size = std::filesystem::file_size(path);
    put(16, size);
    const uint64_t coff = get(60, uint32_t{}) + uint64_t{4};
    const uint64_t sections = coff + 20 + get(coff + 16, uint16_t{});
    const uint64_t last = sections + (get(coff + 2, uint16_t{}) - uint64_t{1}) * 40;
    put(last + 16, static_cast<uint32_t>(size - get(last + 20, uint32_t{})));
    return !image.flush().fail();
  }

  // Millions of instructions that `command` takes, its files in the page cache.
  Result<double> Count(const std::string& command) {
    Result<std::string> counted = guest().Must("khop-guest-tool count " + command, kLong);
    if (!counted) return std::unexpected(counted.error());
    uint64_t ticks = 0;
    if (sscanf(counted->c_str(), "ticks %" SCNu64, &ticks) != 1) return Fail(*counted);
    return static_cast<double>(ticks * kInstructionsOfATick) / 1e6;
  }
};

// Which process of a load had the CPU, millions of instructions.
struct Split {
  double alone = 0;   // khop, while nothing was being unpacked
  double beside = 0;  // khop, while something was
  double child = 0;   // what unpacks
};

TEST_F(Decompress, OneHundredMebibytes) {
  // Of lab/images.sh, and the programs that unpack such a file to nowhere if they are to test it.
  // How many times their instructions a load may take with SHA-256, and without, on two CPUs: to
  // unpack lz4 takes less than the rest of a load.
  constexpr struct {
    const char* name;
    double sha256;
    double two_cpus;
  } kForms[] = {{"gzip", 0.75, 0.65},
                {"xz", 1.2, 1.15},
                {"zstd", 1.2, 1.0},
                {"lz4", 1.7, 1.0},
                {"lz4-legacy", 2.6, 1.7}};
  const Result<std::filesystem::path> directory = MakeRunDirectory("Decompress.forms");
  MUST(directory);
  std::vector<LabKernel> kernels;
  for (const char* name : {"6.12", "7.2", "6.1", "5.10"}) {
    const Result<LabKernel> kernel = FindKernel(name);
    if (!kernel) GTEST_SKIP() << kernel.error().what;
    kernels.push_back(*kernel);
  }
  const Result<std::filesystem::path> image = MakeImage(kernels, *directory);
  MUST(image);
  Result<std::vector<GuestFile>> files = FindDecompressors();
  if (!files) GTEST_SKIP() << files.error().what;
  files->push_back({.path = "next/raw", .name = image->string()});
  for (const auto& [form, unused, unused_too] : kForms) {
    const auto made = WrapImage(form, *image, "/dev/null", *directory);
    MUST(made);
    files->push_back({.path = std::string("next/Image.") + form, .name = made->string()});
  }
  START_FIRST_MACHINE({.memory_mib = 2048, .instruction_count = true, .files = *files});
  MUST(guest().Must("chmod +x /next/*"));
  const auto load = [&](const std::string& name, const std::string& verify) {
    const auto count = Count("khop load /next/" + name + " --route in-place --verify " + verify +
                             " --cmdline console=ttyAMA0");
    EXPECT_TRUE(guest().Must("khop unload"));
    return count;
  };
  const auto split = [&](const std::string& name) -> Result<Split> {
    const auto text = guest().Must("khop-guest-tool split khop load /next/" + name +
                                       " --route in-place --verify none --cmdline console=ttyAMA0",
                                   kLong);
    EXPECT_TRUE(guest().Must("khop unload"));
    if (!text) return std::unexpected(text.error());
    Split made;
    if (sscanf(text->c_str(), "alone %lf beside %lf child %lf", &made.alone, &made.beside,
               &made.child) != 3) {
      return Fail(*text);
    }
    // shift=0: a nanosecond for each instruction.
    return Split{made.alone / 1e6, made.beside / 1e6, made.child / 1e6};
  };
  for (const char* verify : {"none", "crc32c", "sha256"}) {
    const auto raw = load("raw", verify);
    MUST(raw);
    printf("not compressed, %s: %.1f M\n", verify, *raw);
  }
  for (const auto& [form, limit, two_cpus] : kForms) {
    const std::string name(form);
    double unverified = 0;
    const auto alone = Count("/next/ld-linux-aarch64.so.1 --library-path /next /next/" +
                             name.substr(0, name.find('-')) + " -t /next/Image." + name);
    MUST(alone);
    printf("%-10s alone %.1f M\n", form, *alone);
    for (const char* verify : {"none", "crc32c", "sha256"}) {
      const auto loaded = load("Image." + name, verify);
      MUST(loaded);
      printf("%-10s load, %s: %.1f M, %.3f of it\n", form, verify, *loaded, *loaded / *alone);
      EXPECT_LE(*loaded / *alone, limit);
      if (verify == std::string_view("none")) unverified = *loaded;
    }
    const auto made = split("Image." + name);
    MUST(made);
    // Nobody's share is missing.
    EXPECT_GT(made->child, 0);
    EXPECT_NEAR((made->alone + made->beside + made->child) / unverified, 1, 0.05);
    // What can go on at the same time does, with room for 2 MiB between the two.
    const double path = made->alone + std::max(made->beside, made->child);
    printf(
        "%-10s load, none: child %.1f M, beside it %.1f M, without it %.1f M; on two CPUs %.3f\n",
        form, made->child, made->beside, made->alone, path / *alone);
  }
}

}  // namespace
}  // namespace khop::lab
