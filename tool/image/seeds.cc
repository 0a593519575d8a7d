// SPDX-License-Identifier: MIT
// Seeds for wire_fuzz: image_seeds DIRECTORY FILE... writes what the child answers about each FILE.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tool/image/contents.h"
#include "tool/image/wire.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  for (int i = 2; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    std::ifstream in(path, std::ios::binary);
    const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
    khop::image::MemorySource source(std::as_bytes(std::span(file)));
    const auto contents = ReadContents(
        source, {.name = path.string(), .compatible = {"lab,other"}, .configuration = {}});
    if (!contents) {
      fprintf(stderr, "%s\n", contents.error().message.c_str());
      return 1;
    }
    const auto bytes = ToBytes(*contents);
    std::ofstream(std::filesystem::path(argv[1]) / path.filename(), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  return 0;
}
