/* SPDX-License-Identifier: MIT */
/* What core/embed/khop.h needs of <stdint.h>, in the kernel. */
#include <linux/types.h>
