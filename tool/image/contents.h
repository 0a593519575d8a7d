// SPDX-License-Identifier: MIT
// What is in a file that somebody took for a kernel: bytes in, struct out. Containers are looked
// into (UKI, EFI zboot, uImage, FIT, ELF), compressed kernels are unpacked once to know their size,
// or what their container claims is taken for it, or where their PE header ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tool/base/error.h"
#include "tool/image/codec.h"
#include "tool/image/image.h"
#include "tool/image/source.h"

namespace khop::image {

// A stretch of the file, and where in the payload its bytes belong.
struct Piece {
  Slice from;
  uint64_t at = 0;
  friend bool operator==(const Piece&, const Piece&) = default;
};

// How a payload comes out of a file: its pieces as they are (with zeros between them), or the one
// piece unpacked.
struct Recipe {
  std::vector<Piece> pieces;
  Codec codec = Codec::kNone;
  uint64_t tail = 0;  // of the packed data, see PackedInput
  uint64_t size = 0;  // of the payload
  // The whole file, as it is.
  bool IsWhole(uint64_t file_size) const {
    return codec == Codec::kNone && pieces.size() == 1 && pieces[0] == Piece{{0, file_size}, 0} &&
           size == file_size;
  }
  friend bool operator==(const Recipe&, const Recipe&) = default;
};

struct Kernel {
  Recipe recipe;
  ImageHeader header;
  std::string version;  // uname -r; empty if it was not found
};

// A part that is taken as it is.
struct Part {
  std::string name;  // ".initrd", "fdt-1"
  Slice where;
  friend bool operator==(const Part&, const Part&) = default;
};

// A line for people: a thing in the file.
struct Item {
  uint32_t depth = 0;
  std::string name;    // ".linux"; empty for the file itself
  std::string what;    // "an EFI zboot image"
  Slice where;         // size 0: it has no place of its own
  std::string detail;  // "gzip, 38.1 MiB unpacked"
  friend bool operator==(const Item&, const Item&) = default;
};

struct Contents {
  std::vector<std::string> formats;  // from the outside to the kernel: "UKI", "zboot", "gzip"
  std::optional<Kernel> kernel;
  std::vector<Part> initrds;
  std::vector<Part> trees;  // the first is a device tree, overlays follow
  std::optional<std::string> command_line;
  std::string os_release;  // of a UKI: os-release(5)
  std::vector<Item> items;
  std::vector<std::string> notes;

  std::string Format() const;  // "UKI, zboot, gzip, Image"
};

struct Question {
  std::string name;                     // the path, for messages
  std::vector<std::string> compatible;  // of the running machine's tree, the best first
  std::string configuration;            // of a FIT; empty: the one that fits
  uint64_t limit = uint64_t{4} << 30;   // no kernel may be larger
  bool need_kernel = true;              // else a file without one is no failure
  bool count = true;   // false: the size that compressed data claims will do, for now, and the
                       // version is not looked for
  bool unpack = true;  // false: only what the containers say; there is no Contents::kernel then
};

// Errors: kFileEmpty, kNotAKernel, kTruncated, kBigEndian (as ParseImage()), kDamagedImage,
// kUnsupportedImage, kOtherArchitecture, kTooLarge, kNoMemory, what the source says.
Result<Contents> ReadContents(Source& file, const Question& question);

}  // namespace khop::image
