// SPDX-License-Identifier: MIT
#include "tool/devicetree/writer.h"

#include <libfdt.h>

namespace khop::devicetree {
namespace {

constexpr size_t kHeaderSize = 40;  // version 17
constexpr uint32_t kVersion = 17;
constexpr uint32_t kLastCompatibleVersion = 16;

template <class T>
void Put(std::vector<std::byte>& out, T value) {
  for (size_t i = sizeof(T); i-- > 0;) {
    out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
}

}  // namespace

void Writer::PutCell(uint32_t value) { Put(structure_, value); }

void Writer::PutBytes(std::span<const std::byte> bytes) {
  structure_.insert(structure_.end(), bytes.begin(), bytes.end());
  structure_.resize(AlignUp(structure_.size(), 4));
}

void Writer::BeginNode(std::string_view name) {
  PutCell(FDT_BEGIN_NODE);
  PutBytes(StringValue(name));
}

void Writer::EndNode() { PutCell(FDT_END_NODE); }

void Writer::AddProperty(std::string_view name, std::span<const std::byte> value) {
  auto known = string_offsets_.find(name);
  if (known == string_offsets_.end()) {
    known = string_offsets_.emplace(name, static_cast<uint32_t>(strings_.size())).first;
    strings_ += name;
    strings_ += '\0';
  }
  PutCell(FDT_PROP);
  PutCell(static_cast<uint32_t>(value.size()));
  PutCell(known->second);
  last_value_ = structure_.size();
  PutBytes(value);
}

std::vector<std::byte> Writer::Finish(std::span<const PhysRange> reservations, uint32_t boot_cpu,
                                      size_t aligned_value, size_t& structure_offset) const {
  const size_t after_reservations = kHeaderSize + 16 * (reservations.size() + 1);
  structure_offset = after_reservations;
  if (!IsAligned(structure_offset + aligned_value, 8)) structure_offset += 4;
  const size_t structure_size = structure_.size() + 4;  // FDT_END
  const size_t strings_offset = structure_offset + structure_size;
  // Where the block does not move, the 4 bytes stand at the end.
  const size_t total = after_reservations + 4 + structure_size + strings_.size();

  std::vector<std::byte> out;
  out.reserve(total);
  Put<uint32_t>(out, FDT_MAGIC);
  Put(out, static_cast<uint32_t>(total));
  Put(out, static_cast<uint32_t>(structure_offset));
  Put(out, static_cast<uint32_t>(strings_offset));
  Put(out, static_cast<uint32_t>(kHeaderSize));
  Put(out, kVersion);
  Put(out, kLastCompatibleVersion);
  Put(out, boot_cpu);
  Put(out, static_cast<uint32_t>(strings_.size()));
  Put(out, static_cast<uint32_t>(structure_size));
  for (const PhysRange& range : reservations) {
    Put(out, range.start.value);
    Put(out, range.size);
  }
  out.resize(structure_offset);  // the list's end, and the block's shift
  out.insert(out.end(), structure_.begin(), structure_.end());
  Put<uint32_t>(out, FDT_END);
  for (const char c : strings_) out.push_back(static_cast<std::byte>(c));
  out.resize(total);
  return out;
}

std::vector<std::byte> Cell64(uint64_t value) {
  std::vector<std::byte> out;
  Put(out, value);
  return out;
}

std::vector<std::byte> StringValue(std::string_view text) {
  std::vector<std::byte> out;
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
  out.push_back(std::byte{0});
  return out;
}

}  // namespace khop::devicetree
