// SPDX-License-Identifier: MIT
// What was measured, for people: Markdown and a picture.
#pragma once

#include <string>
#include <vector>

#include "bench/blackout/goals.h"
#include "bench/blackout/runs.h"

namespace khop::bench {

std::string ToMarkdown(const std::vector<Sample>& runs, const std::vector<Skipped>& skipped);

// The blackout of every way with `payload_mib`, to one scale.
std::string ToSvg(const std::vector<Sample>& runs, int payload_mib);

// `document` with what is between the lines <!-- blackout --> and <!-- end of blackout -->
// replaced; fails if they are not there.
lab::Result<std::string> PutBetweenMarks(const std::string& document, const std::string& markdown);

}  // namespace khop::bench
