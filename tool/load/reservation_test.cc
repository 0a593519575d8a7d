// SPDX-License-Identifier: MIT
#include "tool/load/reservation.h"

#include <gtest/gtest.h>

#include "tool/load/crash_machine.h"

namespace khop::load {
namespace {

TEST(ReservationRoom, GivesWholePlacesAndNoMore) {
  Room room({{0x60000000}, 8 * kMiB}, 4096);
  const PhysRange all = kReservation;
  // The first pages are the kernel's.
  EXPECT_EQ(room.Take({.size = 100, .alignment = 4096}, all)->value, 0x60004000U);
  EXPECT_EQ(room.Take({.size = 3 * kMiB, .alignment = 2 * kMiB, .offset = 0x80000}, all)->value,
            0x60080000U);
  EXPECT_EQ(room.Take({.size = 2 * kMiB, .alignment = 4096, .boundary = 2 * kMiB}, all)->value,
            0x60400000U);
  EXPECT_EQ(room.Take({.size = 4096, .alignment = 4096}, {{0x60700000}, kMiB})->value, 0x60700000U);
  EXPECT_FALSE(room.Take({.size = 2 * kMiB, .alignment = 4096}, all));
  room.Withhold({{{0x60000000}, 6 * kMiB}});
  EXPECT_EQ(room.Take({.size = 4096, .alignment = 4096}, all)->value, 0x60600000U);
}

}  // namespace
}  // namespace khop::load
