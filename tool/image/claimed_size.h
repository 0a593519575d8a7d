// SPDX-License-Identifier: MIT
// How much compressed data unpacks to, by its container's word.
#pragma once

#include <cstdint>
#include <optional>

#include "tool/image/codec.h"
#include "tool/image/source.h"

namespace khop::image {

// Bytes that the data of `where` claims to unpack to: gzip's ISIZE (RFC 1952), the index of xz, the
// headers of zstd, lz4 and lzma; of a kernel's own build the size in the `tail` behind the data.
// Only to unpack it proves that: gzip's is modulo 4 GiB and of the last member, the others' are of
// the first stream. Nothing if there is no such claim (bzip2, lz4 -l, zstd from a pipe, …).
std::optional<uint64_t> ClaimedSize(Codec codec, Source& source, Slice where, uint64_t tail);

}  // namespace khop::image
