// SPDX-License-Identifier: MIT
// Every wrapping that images_test.cc has not.
#include "lab/scenarios/images_machine.h"

namespace khop::lab {
namespace {

TEST_F(Images, Gzip) { HopFrom("gzip", R"(["gzip","Image"])", WithBoth()); }

TEST_F(Images, Xz) { HopFrom("xz", R"(["xz","Image"])", WithBoth()); }

TEST_F(Images, Lzma) { HopFrom("lzma", R"(["lzma","Image"])", WithBoth()); }

TEST_F(Images, Lz4) { HopFrom("lz4", R"(["lz4","Image"])", WithBoth()); }

TEST_F(Images, Lz4Legacy) { HopFrom("lz4-legacy", R"(["lz4","Image"])", WithBoth()); }

TEST_F(Images, Bzip2) { HopFrom("bzip2", R"(["bzip2","Image"])", WithBoth()); }

TEST_F(Images, Zstd) { HopFrom("zstd", R"(["zstd","Image"])", WithBoth()); }

TEST_F(Images, ZbootGzip) { HopFrom("zboot-gzip", R"(["zboot","gzip","Image"])", WithBoth()); }

TEST_F(Images, ZbootXz) { HopFrom("zboot-xz", R"(["zboot","xz","Image"])", WithBoth()); }

TEST_F(Images, ZbootLzma) { HopFrom("zboot-lzma", R"(["zboot","lzma","Image"])", WithBoth()); }

TEST_F(Images, ZbootZstd) { HopFrom("zboot-zstd", R"(["zboot","zstd","Image"])", WithBoth()); }

TEST_F(Images, ZbootLz4) { HopFrom("zboot-lz4", R"(["zboot","lz4","Image"])", WithBoth()); }

TEST_F(Images, Uki) { HopFrom("uki", R"(["UKI","Image"])", ""); }

TEST_F(Images, Vmlinux) { HopFrom("vmlinux", R"(["ELF","Image"])", WithBoth()); }

TEST_F(Images, UImage) { HopFrom("uimage", R"(["uImage","gzip","Image"])", WithBoth()); }

TEST_F(Images, UImageMulti) { HopFrom("uimage-multi", R"(["uImage","Image"])", WithLine()); }

TEST_F(Images, FitExternal) { HopFrom("fit-external", R"(["FIT","gzip","Image"])", WithLine()); }

}  // namespace
}  // namespace khop::lab
