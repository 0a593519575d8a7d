// SPDX-License-Identifier: MIT
// The real khop killed and refused at many of its system calls.
#include "lab/scenarios/bad_day_machine.h"

namespace khop::lab {
namespace {

class ManyBadDays : public BadDayMachine {};

TEST_F(ManyBadDays, KilledInPlace) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  KillEverywhere("in-place", 5);
  if (!HasFailure()) ExpectHops();
}

TEST_F(ManyBadDays, KilledInGather) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  KillEverywhere("gather", 13);
  if (!HasFailure()) ExpectHops();
}

TEST_F(ManyBadDays, CallsFailInPlace) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  for (const int error : {EINTR, ENOMEM, EIO, ENOSPC, EPERM}) FailEverywhere("in-place", error, 23);
  if (!HasFailure()) ExpectHops();
}

TEST_F(ManyBadDays, CallsFailInGather) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  for (const int error : {EINTR, ENOMEM, EIO, ENOSPC, EPERM}) FailEverywhere("gather", error, 23);
  if (!HasFailure()) ExpectHops();
}

}  // namespace
}  // namespace khop::lab
