// SPDX-License-Identifier: MIT
// Runs on arm64, natively or under qemu-user: known answers through the scalar and the Armv8 forms,
// and the forms against each other. One line per check; exits 0 only if all passed, and 77 if the
// CPU lacks the instructions and --require-instructions was not given.
#include <cstdio>
#include <string>
#include <string_view>

#include "core/digest/crc32c.h"
#include "core/digest/digest_vectors.h"
#include "core/digest/sha256.h"
#include "core/digest/sha256_pieces.h"

namespace khop::digest {
namespace {

int failures = 0;

void Check(bool passed, const std::string& what) {
  std::printf("%s: %s\n", passed ? "PASS" : "FAIL", what.c_str());
  failures += passed ? 0 : 1;
}

std::string Hex(const Sha256Digest& digest) {
  std::string hex;
  for (const std::byte byte : digest) {
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) >> 4];
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) & 15];
  }
  return hex;
}

void CheckKnownAnswers(DigestFeatures features, const std::string& form) {
  bool ok = true;
  for (const vectors::Sha256Vector& vector : vectors::kSha256) {
    Sha256 sha(features);
    for (size_t i = 0; i < vector.repeat; ++i) {
      sha.Update(std::as_bytes(std::span(vector.message)));
    }
    ok = ok && Hex(sha.Finish()) == vector.digest;
  }
  Check(ok, form + " SHA-256, NIST vectors");

  ok = true;
  for (const vectors::Crc32cVector& vector : vectors::kCrc32c) {
    const auto data = std::as_bytes(std::span(vector.bytes)).first(vector.size);
    ok = ok && Crc32c(data, features) == vector.crc;
  }
  Check(ok, form + " CRC-32C, RFC 3720 vectors");

  Sha256 sha_of_all(features);
  std::vector<std::byte> crcs;
  for (const size_t length : vectors::Lengths()) {
    const auto data = vectors::RandomBytes(length, length);
    sha_of_all.Update(Sha256Of(data, features));
    const uint32_t crc = Crc32c(data, features);
    for (const int shift : {24, 16, 8, 0}) {
      crcs.push_back(static_cast<std::byte>(crc >> shift & 0xff));
    }
  }
  Check(Hex(sha_of_all.Finish()) == vectors::kSha256OfAll, form + " SHA-256, every length");
  Check(Crc32c(crcs, features) == vectors::kCrc32cOfAll, form + " CRC-32C, every length");
}

void CheckFormsAgree(DigestFeatures features) {
  const auto data = vectors::RandomBytes(4096 + 32, 11);
  bool sha_ok = true;
  bool crc_ok = true;
  for (size_t offset = 0; offset < 17; ++offset) {
    for (const size_t length : {0U, 1U, 7U, 8U, 63U, 64U, 65U, 200U, 4096U}) {
      const auto part = std::span(data).subspan(offset, length);
      sha_ok = sha_ok && Sha256Of(part, features) == Sha256Of(part, DigestFeatures::Scalar());
      crc_ok = crc_ok && Crc32c(part, features, 0x12345678) ==
                             Crc32c(part, DigestFeatures::Scalar(), 0x12345678);
    }
  }
  Check(sha_ok, "SHA-256 forms agree at every alignment");
  Check(crc_ok, "CRC-32C forms agree at every alignment");
}

// As many messages side by side as the form likes: any number of them, lengths that end at
// different times, some of them at addresses that the wide forms cannot load from, the others in
// chunks.
void CheckPieces(DigestFeatures features, const std::string& form) {
  const auto data = vectors::RandomBytes(70'000, 12);
  uint64_t random = 1;
  const auto next_random = [&](uint64_t below) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return (random >> 33) % below;
  };
  bool ok = true;
  for (size_t count = 0; count <= 40; ++count) {
    std::vector<std::span<const std::byte>> messages;
    for (size_t i = 0; i < count; ++i) {
      const size_t size = count % 2 == 0 ? 4096 : next_random(i % 3 == 0 ? 200 : 9000);
      size_t offset = next_random(60'000);
      if (i % 5 != 4) offset = offset / 64 * 64 + 64 - reinterpret_cast<uintptr_t>(&data[0]) % 64;
      messages.push_back(std::span(data).subspan(offset, size));
    }
    std::vector<std::span<const std::byte>> rest = messages;
    const auto cut = [&](uint64_t index) {
      const size_t most = index % 5 == 4 ? SIZE_MAX : (1 + next_random(40)) * Sha256::kBlock;
      const auto chunk = rest[index].first(std::min(most, rest[index].size()));
      rest[index] = rest[index].subspan(chunk.size());
      return chunk;
    };
    size_t given = 0;
    size_t right = 0;
    const bool all = Sha256OfEach(
        features,
        [&]() -> Sha256Message {
          if (given == messages.size()) return {};
          const size_t index = given++;
          return {cut(index), index, true};
        },
        [&](uint64_t index, const Sha256Digest& digest) {
          if (digest == Sha256Of(messages[index], DigestFeatures::Scalar())) ++right;
          return true;
        },
        cut);
    ok = ok && all && right == count;
  }
  Check(ok, form + " SHA-256 of many messages side by side");
}

// Around the length from which on there are three streams, and beyond.
void CheckThreeStreams(DigestFeatures features) {
  const auto data = vectors::RandomBytes(300'000, 13);
  bool ok = true;
  for (size_t size = 64'000; size < 300'000; size += size < 66'100 ? 7 : 9973) {
    for (const size_t offset : {0U, 3U, 8U}) {
      const auto part = std::span(data).subspan(offset, size - 16);
      ok = ok &&
           Crc32c(part, features, 0x12345678) == Crc32c(part, DigestFeatures::Scalar(), 0x12345678);
    }
  }
  Check(ok, "CRC-32C of three streams");
}

constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in CMakeLists.txt

int Main(bool require_instructions) {
  const DigestFeatures features = vectors::AllOfThisCpu();
  const bool complete = features.sha2 && features.crc32;
  if (!complete && !require_instructions) {
    std::printf("SKIP: this CPU has no SHA2 or no CRC32 instructions\n");
    return kSkipped;
  }
  Check(complete, "the CPU has SHA2 and CRC32 instructions");
  CheckKnownAnswers(DigestFeatures::Scalar(), "scalar");
  CheckPieces(DigestFeatures::Scalar(), "scalar");
  CheckPieces(features.WithoutInstructions(), "Advanced SIMD");
  if (complete) {
    CheckKnownAnswers(features, "Armv8");
    CheckFormsAgree(features);
    CheckPieces(features, "Armv8");
    CheckThreeStreams(features);
  }
  std::printf("%s\n", failures == 0 ? "all passed" : "FAILED");
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace khop::digest

int main(int argc, char** argv) {
  return khop::digest::Main(argc == 2 && std::string_view(argv[1]) == "--require-instructions");
}
