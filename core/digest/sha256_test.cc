// SPDX-License-Identifier: MIT
#include "core/digest/sha256.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <random>
#include <string>

#include "core/digest/digest_vectors.h"
#include "core/digest/sha256_pieces.h"

namespace khop::digest {
namespace {

const DigestFeatures kAll = vectors::AllOfThisCpu();

std::string Hex(const Sha256Digest& digest) {
  std::string hex;
  for (const std::byte byte : digest) {
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) >> 4];
    hex += "0123456789abcdef"[static_cast<unsigned>(byte) & 15];
  }
  return hex;
}

Sha256Digest OpenSslSha256(std::span<const std::byte> data) {
  Sha256Digest digest;
  unsigned size = 0;
  EXPECT_EQ(EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(digest.data()),
                       &size, EVP_sha256(), nullptr),
            1);
  EXPECT_EQ(size, kSha256Size);
  return digest;
}

TEST(Sha256, KnownAnswers) {
  for (const vectors::Sha256Vector& vector : vectors::kSha256) {
    for (const DigestFeatures features : {DigestFeatures::Scalar(), kAll}) {
      Sha256 sha(features);
      for (size_t i = 0; i < vector.repeat; ++i) {
        sha.Update(std::as_bytes(std::span(vector.message)));
      }
      EXPECT_EQ(Hex(sha.Finish()), vector.digest);
    }
  }
}

TEST(Sha256, EveryLengthAsOpenSsl) {
  Sha256 all(DigestFeatures::Scalar());
  for (const size_t length : vectors::Lengths()) {
    const auto data = vectors::RandomBytes(length, length);
    const Sha256Digest reference = OpenSslSha256(data);
    EXPECT_EQ(Sha256Of(data, DigestFeatures::Scalar()), reference) << length;
    EXPECT_EQ(Sha256Of(data, kAll), reference) << length;
    all.Update(reference);
  }
  // The known answer of the arm64 program.
  EXPECT_EQ(Hex(all.Finish()), vectors::kSha256OfAll);
}

TEST(Sha256, AnyAlignment) {
  const auto data = vectors::RandomBytes(1000, 7);
  for (size_t offset = 0; offset < 20; ++offset) {
    for (const size_t length : {0U, 1U, 63U, 64U, 65U, 128U, 700U}) {
      const auto part = std::span(data).subspan(offset, length);
      EXPECT_EQ(Sha256Of(part, kAll), OpenSslSha256(part)) << offset << " " << length;
    }
  }
}

TEST(Sha256, PiecesOfAnySize) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto data = vectors::RandomBytes(random() % 5000, random());
    Sha256 sha(kAll);
    for (size_t done = 0; done < data.size();) {
      const size_t size = std::min<size_t>(random() % 200, data.size() - done);
      sha.Update(std::span(data).subspan(done, size));
      done += size;
    }
    EXPECT_EQ(sha.Finish(), OpenSslSha256(data)) << trial;
  }
}

// That each of `messages`, which begins with `first(tag)` and goes on with `more`, is hashed once.
template <typename Messages, typename First, typename... More>
void ExpectDigests(DigestFeatures features, const Messages& messages, First first, More... more) {
  size_t given = 0;
  std::vector<int> seen(messages.size());
  EXPECT_TRUE(Sha256OfEach(
      features,
      [&]() -> Sha256Message {
        if (given == messages.size()) return {};
        ++given;
        return {first(given - 1), given - 1, true};
      },
      [&](uint64_t tag, const Sha256Digest& digest) {
        ++seen[tag];
        EXPECT_EQ(digest, OpenSslSha256(messages[tag]));
        return true;
      },
      more...));
  EXPECT_EQ(seen, std::vector<int>(messages.size(), 1));
}

// What the lanes do, whatever is behind them: every message is hashed once, with its own tag, in
// any number and any mix of lengths and alignments.
TEST(Sha256, ManyMessagesSideBySide) {
  std::mt19937_64 random(4);
  const auto data = vectors::RandomBytes(20'000, 8);
  for (const DigestFeatures features :
       {DigestFeatures::Scalar(), kAll, kAll.WithoutInstructions()}) {
    for (size_t count = 0; count < 30; ++count) {
      std::vector<std::span<const std::byte>> messages;
      for (size_t i = 0; i < count; ++i) {
        const size_t offset = random() % 10'000;
        messages.push_back(std::span(data).subspan(i % 2 == 0 ? offset / 64 * 64 : offset,
                                                   random() % (i % 3 == 0 ? 100 : 9000)));
      }
      ExpectDigests(features, messages, [&](uint64_t tag) { return messages[tag]; });
    }
  }
}

// Messages in chunks of whole blocks, wherever these lie.
TEST(Sha256, MessagesGoOnElsewhere) {
  std::mt19937_64 random(5);
  const auto data = vectors::RandomBytes(20'000, 9);
  for (const DigestFeatures features :
       {DigestFeatures::Scalar(), kAll, kAll.WithoutInstructions()}) {
    for (size_t count = 1; count < 20; ++count) {
      std::vector<std::span<const std::byte>> rest;
      std::vector<std::vector<std::byte>> whole(count);
      for (size_t i = 0; i < count; ++i) {
        rest.push_back(std::span(data).subspan(random() % 100 * 64, random() % 9000));
        whole[i].assign(rest[i].begin(), rest[i].end());
      }
      const auto cut = [&](uint64_t tag) {
        const size_t size = std::min(rest[tag].size(), (random() % 20 + 1) * 64);
        const auto chunk = rest[tag].first(size);
        rest[tag] = rest[tag].subspan(size);
        return chunk;
      };
      ExpectDigests(features, whole, cut, cut);
    }
  }
}

TEST(Sha256, ManyMessagesEndWhenOneIsRefused) {
  const auto data = vectors::RandomBytes(6400, 8);
  size_t given = 0;
  size_t done = 0;
  EXPECT_FALSE(Sha256OfEach(
      kAll,
      [&]() -> Sha256Message { return {std::span(data).first(64 * (given + 1)), given++, true}; },
      [&](uint64_t, const Sha256Digest&) { return ++done < 3; }));
  EXPECT_EQ(done, 3U);
}

// Lengths beyond 2^32 bits, where a counter that is too narrow shows.
TEST(Sha256, MoreThanHalfAGigabyte) {
  const auto chunk = vectors::RandomBytes(1 << 20, 3);
  EVP_MD_CTX* reference = EVP_MD_CTX_new();
  ASSERT_EQ(EVP_DigestInit_ex(reference, EVP_sha256(), nullptr), 1);
  Sha256 sha(kAll);
  for (int i = 0; i < 513; ++i) {
    sha.Update(chunk);
    ASSERT_EQ(EVP_DigestUpdate(reference, chunk.data(), chunk.size()), 1);
  }
  Sha256Digest expected;
  ASSERT_EQ(
      EVP_DigestFinal_ex(reference, reinterpret_cast<unsigned char*>(expected.data()), nullptr), 1);
  EVP_MD_CTX_free(reference);
  EXPECT_EQ(sha.Finish(), expected);
}

}  // namespace
}  // namespace khop::digest
