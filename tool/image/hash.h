// SPDX-License-Identifier: MIT
// The hashes that a FIT may have of its parts, by the names that it calls them. SHA-1 and SHA-512
// (FIPS 180-4) are here for these alone.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace khop::image {

class Hash {
 public:
  virtual ~Hash() = default;
  virtual void Update(std::span<const std::byte> data) = 0;
  virtual std::vector<std::byte> Finish() = 0;  // big-endian, as in a FIT
};

// "crc32", "sha1", "sha256", "sha384", "sha512"; null for others.
std::unique_ptr<Hash> MakeHash(std::string_view name);

}  // namespace khop::image
