// SPDX-License-Identifier: MIT
#pragma once

// kexec_load of one page that loops for ever, or of nothing. 0, or 1 after a message.
int ForeignKexec(bool load);
// The same of the crash image: a few pages at the end of the crash reservation.
int ForeignCrash(bool load);
