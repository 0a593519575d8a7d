// SPDX-License-Identifier: MIT
// Device trees for tests: compiled from source by dtc, or what QEMU gives its guests.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tool/devicetree/tree.h"

namespace khop::devicetree {

// The blob of `source` (without the /dts-v1/ line). Fails the test if dtc does not take it.
std::vector<std::byte> CompileBlob(std::string_view source);
// The same, parsed.
Tree Compile(std::string_view source);
// Of QEMU's "virt" machine; `options` are further parts of -machine ("gic-version=3").
std::vector<std::byte> QemuBlob(std::string_view options);

// The bytes of a property by libfdt, another reader than ours; "(none)" if it is not there.
std::string PropertyOf(const std::vector<std::byte>& blob, const char* path, const char* name);
std::string Chosen(const std::vector<std::byte>& blob, const char* name);
// Everything in a tree but the properties of /chosen, in order, by the same.
std::vector<std::string> Contents(const std::vector<std::byte>& blob);

// What the running kernel does to its tree: kaslr-seed zeroed, rng-seed turned into NOPs.
void WipeSeeds(std::vector<std::byte>& blob);
// FDT_NOP tags in the structure block.
size_t CountNops(const std::vector<std::byte>& blob);

}  // namespace khop::devicetree
