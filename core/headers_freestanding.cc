// SPDX-License-Identifier: MIT
// Compiles every public header of core/ without an operating system. Links nothing.
#include "core/arm64/instructions.h"
#include "core/arm64/page_table_builder.h"
#include "core/arm64/page_table_walker.h"
#include "core/base/addr.h"
#include "core/base/error.h"
#include "core/base/range_set.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/plan/control_area.h"
#include "core/relocator/blob.h"
#include "core/relocator/hop.h"
