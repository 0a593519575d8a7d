// SPDX-License-Identifier: MIT
#include "tool/image/unpack.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tool/image/wire.h"

namespace khop::image {
namespace {

constexpr size_t kMaxAnswer = size_t{4} << 20;
constexpr std::string_view kAgain = "load again when nobody writes to it";

}  // namespace

Result<Contents> InspectInSandbox(Input input, uint64_t file_size, const Question& question) {
  auto sandbox = Sandbox::Start(std::move(input), file_size, question.name,
                                [&](Channel& channel) -> Result<void> {
                                  const auto contents = ReadContents(channel, question);
                                  if (!contents) return Forward(contents);
                                  return channel.Give(ToBytes(*contents));
                                });
  if (!sandbox) return Forward(sandbox);
  std::vector<std::byte> answer;
  for (;;) {
    const auto bytes = sandbox->Next();
    if (!bytes) return Forward(bytes);
    if (bytes->empty()) break;
    if (answer.size() + bytes->size() > kMaxAnswer) break;  // and it will make no sense
    answer.insert(answer.end(), bytes->begin(), bytes->end());
  }
  return FromBytes(answer, file_size);
}

Result<Unpacker> Unpacker::Start(Input input, uint64_t file_size, const std::string& name,
                                 const Recipe& recipe) {
  Unpacker unpacker;
  unpacker.name_ = name;
  unpacker.recipe_ = recipe;
  if (recipe.codec == Codec::kNone) {
    unpacker.input_ = std::move(input);
    return unpacker;
  }
  auto sandbox =
      Sandbox::Start(std::move(input), file_size, name, [&](Channel& channel) -> Result<void> {
        auto decoder =
            MakeDecoder(recipe.codec, channel, recipe.pieces.front().from, name, recipe.tail);
        if (!decoder) return Forward(decoder);
        for (;;) {
          const auto room = channel.Room();
          const auto got = (*decoder)->Read(room);
          if (!got) return Forward(got);
          if (*got == 0) return {};
          if (auto given = channel.Give(room.first(*got)); !given) return given;
        }
      });
  if (!sandbox) return Forward(sandbox);
  unpacker.sandbox_.emplace(*std::move(sandbox));
  return unpacker;
}

Result<void> Unpacker::ReadPlain(std::span<std::byte> out) {
  while (!out.empty()) {
    if (piece_ == recipe_.pieces.size()) {
      memset(out.data(), 0, out.size());
      at_ += out.size();
      return {};
    }
    const Piece& piece = recipe_.pieces[piece_];
    const uint64_t end = piece.at + piece.from.size;
    if (at_ >= end) {
      ++piece_;
      continue;
    }
    const bool gap = at_ < piece.at;
    const auto size =
        static_cast<size_t>(std::min<uint64_t>(out.size(), (gap ? piece.at : end) - at_));
    if (gap) {
      memset(out.data(), 0, size);
    } else {
      const auto got = input_(out.first(size), piece.from.offset + (at_ - piece.at));
      if (!got) return Forward(got);
      if (*got != size) {
        return Fail(ExitCode::kFileChanged, name_, "it became shorter while it was read", kAgain);
      }
    }
    at_ += size;
    out = out.subspan(size);
  }
  return {};
}

Result<void> Unpacker::Read(std::span<std::byte> out) {
  if (!sandbox_) return ReadPlain(out);
  while (!out.empty()) {
    if (unpacked_.empty()) {
      const auto next = sandbox_->Next();
      if (!next) return Forward(next);
      if (next->empty()) {
        return Fail(ExitCode::kFileChanged, name_, "it unpacked to less than the first time",
                    kAgain);
      }
      unpacked_ = *next;
    }
    const size_t size = std::min(out.size(), unpacked_.size());
    memcpy(out.data(), unpacked_.data(), size);
    unpacked_ = unpacked_.subspan(size);
    out = out.subspan(size);
    at_ += size;
  }
  return {};
}

Result<void> Unpacker::Finish() {
  if (!sandbox_) return {};
  if (unpacked_.empty()) {
    const auto next = sandbox_->Next();
    if (!next) return Forward(next);
    unpacked_ = *next;
  }
  if (unpacked_.empty()) return {};
  return Fail(ExitCode::kFileChanged, name_, "it unpacked to more than the first time", kAgain);
}

}  // namespace khop::image
