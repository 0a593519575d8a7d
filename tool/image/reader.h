// SPDX-License-Identifier: MIT
// What ReadContents() and the readers of the containers share: one file, one question, one answer.
#pragma once

#include <string>
#include <string_view>

#include "tool/image/contents.h"

namespace khop::image {

class Reader {
 public:
  Reader(Source& the_file, const Question& the_question) : file(the_file), question(the_question) {}

  // A kernel in any format at `where`, `depth` containers deep. `name` is the part's ("" for the
  // file).
  Result<void> ReadKernel(Slice where, uint32_t depth, const std::string& name);

  void AddItem(uint32_t depth, const std::string& name, std::string what, Slice where,
               const std::string& detail = "") {
    contents.items.push_back({depth, Printable(name), std::move(what), where, Printable(detail)});
  }
  std::unexpected<Failure> Fails(ExitCode code, std::string_view why, std::string_view todo) const {
    return Fail(code, question.name, why, todo);
  }
  std::unexpected<Failure> Damaged(std::string_view why) const {
    return Fails(ExitCode::kDamagedImage, why, "get the file again");
  }
  // Errors: kTruncated if the slice is not wholly in `within`.
  Result<void> CheckWithin(Slice slice, Slice within, const std::string& what) const;

  Source& file;
  const Question& question;
  Contents contents;

 private:
  Result<void> ReadPlain(Slice where, uint32_t depth, const std::string& name);
  Result<void> ReadPacked(Slice where, uint32_t depth, const std::string& name, Codec codec,
                          uint64_t tail);
  Result<void> ReadZboot(Slice where, uint32_t depth, const std::string& name);
  Result<void> ReadElf(Slice where, uint32_t depth, const std::string& name);
  Result<void> SetKernel(Recipe recipe, std::span<const std::byte> head, std::string version);
  Result<std::string> FindVersion(const Recipe& recipe);
  Result<void> CheckLimit(uint64_t bytes) const;
};

// The containers; each adds what it holds to `reader.contents`, and reads the kernel in it.
Result<void> ReadUki(Reader& reader, Slice where, std::span<const std::byte> head, uint32_t depth,
                     const std::string& name);
Result<void> ReadUImage(Reader& reader, Slice where, std::span<const std::byte> head,
                        uint32_t depth, const std::string& name);
Result<void> ReadFit(Reader& reader, Slice where, uint32_t depth, const std::string& name);

}  // namespace khop::image
