// SPDX-License-Identifier: MIT
// SHA-256 by OpenSSL: the lab never uses khop's own digests to judge khop.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "lab/vm/failure.h"

struct evp_md_ctx_st;

namespace khop::lab {

class Sha256 {
 public:
  Sha256();
  void Update(const void* data, size_t size);
  // The digest in lower-case hexadecimal; nothing may be added after.
  std::string Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// The digest of several files, one after the other.
Result<std::string> Sha256OfFiles(std::initializer_list<std::string> paths);

}  // namespace khop::lab
