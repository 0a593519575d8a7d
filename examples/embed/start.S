// SPDX-License-Identifier: MIT
// An arm64 Image (booting.rst), so that QEMU passes the device tree, and the two jumps.

        .section .head, "ax"
        .globl  _start
_start:
        b       1f
        .word   0
        .quad   0                       // text_offset
        .quad   image_end - _start      // image_size, .bss included
        .quad   0xa                     // flags: little-endian, 4K pages, anywhere
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0
1:      msr     DAIFSet, #0xf
        ldr     x1, =stack_end
        mov     sp, x1
        ldr     x1, =bss_start
        ldr     x2, =image_end
2:      cmp     x1, x2
        b.hs    3f
        stp     xzr, xzr, [x1], #16
        b       2b
3:      bl      EmbedMain
        b       .

        // uint64_t CurrentLevel(void)
        .globl  CurrentLevel
CurrentLevel:
        mrs     x0, CurrentEL
        ubfx    x0, x0, #2, #2
        ret

        // [[noreturn]] void EnterControlArea(uint64_t address): the MMU has been off all the time,
        // so that there is nothing to clean.
        .globl  EnterControlArea
EnterControlArea:
        dsb     sy
        ic      iallu
        dsb     sy
        isb
        br      x0

        .bss
        .balign 16
        .fill   65536, 1, 0
stack_end:
