// SPDX-License-Identifier: MIT
// Writes the seed corpora of the fuzzers: seeds DIRECTORY makes DIRECTORY/NAME/… for each target.
#include <filesystem>
#include <fstream>
#include <string>

#include "tool/image/contents.h"
#include "tool/image/test_packed.h"
#include "tool/image/wire.h"

namespace {

using khop::image::Bytes;

void Put(const std::filesystem::path& directory, const std::string& name, const Bytes& bytes) {
  std::filesystem::create_directories(directory);
  std::ofstream(directory / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  namespace image = khop::image;
  const std::filesystem::path root = argv[1];
  const Bytes kernel = image::NoisyImage();
  const char* const targets[] = {"gzip", "xz", "lzma", "zstd", "lz4", "lz4_legacy", "bzip2"};
  size_t next = 0;
  for (const auto& [name, pack] : image::Packers()) {
    const std::string target = targets[next++];
    const Bytes packed = pack(kernel);
    Put(root / target, "kernel", packed);
    Put(root / target, "small", pack(Bytes(1000, std::byte{'x'})));
    Put(root / "contents", target, packed);
    Put(root / "contents", "zboot-" + target, image::MakeZboot(packed, name));
  }
  const Bytes uki = image::MakeUki({{".cmdline", Bytes(9, std::byte{'x'})},
                                    {".initrd", Bytes(100, std::byte{1})},
                                    {".dtbauto", image::MakeTree("lab,board")},
                                    {".linux", image::PackGzip(kernel)}});
  Put(root / "contents", "uki", uki);
  Put(root / "contents", "elf", image::MakeElf(kernel, 0x9000, 0xffff800080000000));
  Put(root / "contents", "tree", image::MakeTree("lab,board"));
  Put(root / "contents", "image", kernel);
  image::MemorySource source(uki);
  const auto contents =
      ReadContents(source, {.name = "seed", .compatible = {}, .configuration = {}});
  if (!contents) return 1;
  Put(root / "wire", "uki", ToBytes(*contents));
  return 0;
}
