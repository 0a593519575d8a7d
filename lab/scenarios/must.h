// SPDX-License-Identifier: MIT
#pragma once

#include <gtest/gtest.h>

// Fails the test with the failure's sentence if a Result<> holds none.
#define MUST(expression)                                              \
  do {                                                                \
    const auto& must_result = (expression);                           \
    ASSERT_TRUE(must_result.has_value()) << must_result.error().what; \
  } while (false)
