// SPDX-License-Identifier: MIT
#include "core/relocator/baremetal/case.h"

#include <cstring>

#include "core/relocator/baremetal/console.h"

namespace khop::baremetal {
namespace {

char command_line[256];

}  // namespace

void ReadCase() { ReadCommandLine(command_line, sizeof(command_line)); }

bool Asked(const char* word) {
  size_t length = 0;
  while (word[length] != '\0') ++length;
  for (const char* at = command_line; *at != '\0';) {
    size_t n = 0;
    while (at[n] != '\0' && at[n] != ' ') ++n;
    if (n == length && memcmp(at, word, n) == 0) return true;
    at += n;
    while (*at == ' ') ++at;
  }
  return false;
}

uint64_t PageSize() { return Asked("64k") ? 0x1'0000 : Asked("16k") ? 0x4000 : kPage; }
uint64_t KernelPages() { return kKernelSize / PageSize(); }
unsigned VaBits() { return Asked("va39") ? 39 : Asked("va42") ? 42 : 48; }

uint64_t SourceOf(uint64_t n) {
  return (Asked("far") ? kFarSources : kSources) - 3 * (n + 1) * PageSize();
}

bool AnyMoves() { return Asked("moves") || Asked("scatter") || Asked("block") || Asked("permute"); }
bool IsMoved(uint64_t n) { return !Asked("moves") || n % 7 == 0; }

handoff::DigestKind AskedKind() {
  if (Asked("none")) return handoff::DigestKind::kNone;
  return Asked("crc32c") ? handoff::DigestKind::kCrc32c : handoff::DigestKind::kSha256;
}

bool NothingVerified() { return AskedKind() == handoff::DigestKind::kNone || Asked("early"); }

}  // namespace khop::baremetal
