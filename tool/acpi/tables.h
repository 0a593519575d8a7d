// SPDX-License-Identifier: MIT
// What two ACPI tables say about the machine that matters to a hop: on a machine with ACPI the
// device tree has no more than /chosen.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "core/relocator/blob.h"
#include "tool/base/error.h"
#include "tool/devicetree/machine.h"

namespace khop::acpi {

inline constexpr const char* kFadtPath = "/sys/firmware/acpi/tables/FACP";
inline constexpr const char* kSpcrPath = "/sys/firmware/acpi/tables/SPCR";

// `name` is for messages: a path. Errors of both: kUnsupportedMachine if signature, length or
// checksum are wrong.

// How to call PSCI SYSTEM_RESET, from the FADT; kNone if the firmware does not claim PSCI.
Result<relocator::PsciConduit> FindPsciConduit(std::span<const std::byte> fadt,
                                               std::string_view name);

// The UART of the SPCR; nothing if the relocator cannot drive it.
Result<std::optional<devicetree::Console>> FindConsole(std::span<const std::byte> spcr,
                                                       std::string_view name);

}  // namespace khop::acpi
