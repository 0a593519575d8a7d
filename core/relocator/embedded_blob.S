// SPDX-License-Identifier: MIT
        .section .rodata.khop_embedded_blob, "a"
        .balign 16
        .globl  khop_embedded_blob
        .globl  khop_embedded_blob_end
khop_embedded_blob:
        .incbin KHOP_BLOB_FILE
khop_embedded_blob_end:
        .section .note.GNU-stack, "", %progbits
