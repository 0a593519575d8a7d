// SPDX-License-Identifier: MIT
#include "lab/vm/sha256.h"

#include <openssl/evp.h>

#include <fstream>
#include <vector>

namespace khop::lab {

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
}

void Sha256::Update(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }

std::string Sha256::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_.get(), digest, &size);
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += kHex[digest[i] >> 4];
    text += kHex[digest[i] & 15];
  }
  return text;
}

Result<std::string> Sha256OfFiles(std::initializer_list<std::string> paths) {
  Sha256 sha;
  std::vector<char> buffer(size_t{1} << 20);
  for (const std::string& path : paths) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      return Fail("cannot read " + path);
    }
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
           file.gcount() > 0) {
      sha.Update(buffer.data(), static_cast<size_t>(file.gcount()));
    }
  }
  return sha.Finish();
}

}  // namespace khop::lab
