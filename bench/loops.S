// SPDX-License-Identifier: MIT
// Written from the description of what the kernels do: 64 bytes an iteration through eight general
// registers, one line an iteration for the cache, one barrier per page. In assembly, so that the
// number of instructions is what it says: 12 per 64 bytes copied, 4 per line maintained.

        // [\start, \start + 4096) by lines of x1. Changes x3 and x4.
        .macro page_lines, operation, start
        mov     x3, \start
        add     x4, \start, #4096
7:      dc      \operation, x3
        add     x3, x3, x1
        cmp     x3, x4
        b.lo    7b
        .endm

        // One page from x5 to x2; x2 ends behind it. Changes x3 and x6 to x13.
        .macro copy_page
        mov     x3, #(4096 / 64)
8:      ldp     x6, x7, [x5]
        ldp     x8, x9, [x5, #16]
        ldp     x10, x11, [x5, #32]
        ldp     x12, x13, [x5, #48]
        add     x5, x5, #64
        stnp    x6, x7, [x2]
        stnp    x8, x9, [x2, #16]
        stnp    x10, x11, [x2, #32]
        stnp    x12, x13, [x2, #48]
        add     x2, x2, #64
        subs    x3, x3, #1
        b.ne    8b
        .endm

        // x0: the next entry; x1: line size; x2: destination; x5: the entry's page.
        .macro relocate, before, after
1:      ldr     x4, [x0], #8
        and     x5, x4, #0xfffffffffffff000
        tbz     x4, #3, 2f
        .ifnb   \before
        page_lines \before, x2
        dsb     sy
        .endif
        .ifnb   \after
        mov     x14, x2
        .endif
        copy_page
        .ifnb   \after
        page_lines \after, x14
        dsb     sy
        .endif
        b       1b
2:      tbz     x4, #1, 3f
        mov     x0, x5
        b       1b
3:      tbz     x4, #0, 4f
        mov     x2, x5
        b       1b
4:      ret
        .endm

        .text
        .balign 64
        .globl  BenchRelocate510
BenchRelocate510:
        relocate before=ivac

        .balign 64
        .globl  BenchRelocate612
BenchRelocate612:
        relocate after=civac

        .balign 64
        .globl  BenchCountAdditions
BenchCountAdditions:
        subs    x0, x0, #1
        b.ne    BenchCountAdditions
        ret

        .balign 64
        .globl  BenchCountMixed
BenchCountMixed:
        mov     x2, #-1
1:      udiv    x3, x2, x0
        orr     x3, x3, #1
        udiv    x3, x2, x3
        str     x3, [x1]
        dsb     sy
        ldr     x3, [x1]
        subs    x0, x0, #1
        b.ne    1b
        ret
