/* SPDX-License-Identifier: MIT */
/* The header is C: it is compiled as such, and a C program can call through it. */
#include "core/embed/khop.h"

size_t DigestFromC(const void* data, size_t size, uint8_t* digest);

size_t DigestFromC(const void* data, size_t size, uint8_t* digest) {
  return khop_digest(KHOP_DIGEST_CRC32C, data, size, digest);
}
