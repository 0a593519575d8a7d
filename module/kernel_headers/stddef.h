/* SPDX-License-Identifier: MIT */
/* What core/embed/khop.h needs of <stddef.h>, in the kernel. */
#include <linux/stddef.h>
#include <linux/types.h>
