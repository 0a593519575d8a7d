// SPDX-License-Identifier: MIT
// The parts of the JSON reports that are the same everywhere. Internal to this folder.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tool/report/segment.h"
#include "tool/system/system.h"

namespace khop::report {

// Keeps the order in which the members are added.
using Json = nlohmann::ordered_json;

// Of every report: raised when a member changes its meaning or goes away, not when one is added.
inline constexpr int kSchema = 1;

Json ToJson(const std::vector<Segment>& segments);
Json ToJson(const ControlArea& control);
Json ToJson(const system::Speeds& speeds);
Json ToJson(const std::vector<ArenaPages>& arena);
// Two spaces of indent, a newline at the end; bytes that are not UTF-8 become U+FFFD.
std::string Dump(const Json& json);

}  // namespace khop::report
