// SPDX-License-Identifier: MIT
// The start of the benchmark wherever it is loaded and at whichever exception level, and what needs
// to be assembly: leaving EL3, exceptions, calls out of the machine, the MMU's switching off.

#include "core/arm64/assembly.inc"

#define SCTLR_EL1_OFF 0x30d00800
#define SCTLR_EL2_OFF 0x30c50830

        .macro address, register, symbol
        adrp    \register, \symbol
        add     \register, \register, :lo12:\symbol
        .endm

        // The header of an arm64 Image (Linux, Documentation/arch/arm64/booting.rst).
        .section .head, "ax"
        .globl  _start
_start:
        b       entry
        .word   0
        .quad   0                       // text_offset
        .quad   bench_end - _start      // image_size, .bss included
        .quad   0xa                     // little-endian, 4K pages, anywhere in memory
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0

        .text
entry:
        msr     DAIFSet, #0xf
        mov     x20, x0
        mrs     x21, CurrentEL
        lsr     x21, x21, #2
        cmp     x21, #3
        b.ne    lowered

        // Nobody is above us: be the firmware, and go on at EL2, or EL1 where there is none. Nobody
        // may have held back the other CPUs either.
        mrs     x0, MPIDR_EL1
        ldr     x1, =0xff00ffffff       // Aff3 to Aff0
        tst     x0, x1
        b.ne    BenchStop
        address x0, vectors
        msr     VBAR_EL3, x0
        // NS, RES1, SMD (no monitor: SMC is undefined, not an exception to nowhere), HCE, RW.
        mov     x0, #((1 << 0) | (3 << 4) | (1 << 7) | (1 << 8) | (1 << 10))
        msr     SCR_EL3, x0
        msr     CPTR_EL3, xzr           // no traps of FP
        mrs     x0, CNTFRQ_EL0
        cbnz    x0, 1f
        ldr     x0, =KHOP_BENCH_COUNTER_HZ
        msr     CNTFRQ_EL0, x0
1:      ldr     x0, =SCTLR_EL1_OFF
        msr     SCTLR_EL1, x0
        mov     x1, #0x3c5              // EL1h, all masked
        mrs     x0, ID_AA64PFR0_EL1
        tst     x0, #0xf00              // EL2
        b.eq    2f
        ldr     x0, =SCTLR_EL2_OFF
        msr     SCTLR_EL2, x0
        mov     x0, #(1 << 31)          // RW; E2H, TGE, VM and all traps 0
        msr     HCR_EL2, x0
        msr     CNTVOFF_EL2, xzr
        mov     x1, #0x3c9              // EL2h
2:      msr     SPSR_EL3, x1
        adr     x0, lowered
        msr     ELR_EL3, x0
        isb
        eret

lowered:
        msr     SPSel, #1
        address x0, vectors
        at_el2  x1, 1f
        msr     VBAR_EL1, x0
        b       2f
1:      msr     VBAR_EL2, x0
2:      isb
        // Dirty lines of an earlier owner must not be written back over what comes now.
        address x0, bench_bss
        address x1, bench_end
        for_each_line civac
        address x0, bench_bss
        address x1, bench_end
5:      stp     xzr, xzr, [x0], #16
        cmp     x0, x1
        b.lo    5b
        address x0, bench_stack_end
        mov     sp, x0
        mov     x0, x20
        mov     x1, x21
        mov     x29, xzr
        mov     x30, xzr
        bl      BenchMain
        b       .                       // not reached

        // void BenchMmuOff(): everything of this program is at the point of coherency afterwards.
        // Uses no stack: it must not be written between the cleaning and the end of the caches.
        .globl  BenchMmuOff
BenchMmuOff:
        address x0, bench_data
        address x1, bench_end
        for_each_line civac
        mov     x1, #SCTLR_MMU_AND_CACHES
        at_el2  x2, 1f
        mrs     x0, SCTLR_EL1
        bic     x0, x0, x1
        msr     SCTLR_EL1, x0
        isb
        tlbi    vmalle1
        b       2f
1:      mrs     x0, SCTLR_EL2
        bic     x0, x0, x1
        msr     SCTLR_EL2, x0
        isb
        tlbi    alle2
2:      dsb     sy
        isb
        ret

        // void BenchForgetData(): before the MMU is turned on. What was written with it off is in
        // memory; a copy from before that in the caches must not be seen.
        .globl  BenchForgetData
BenchForgetData:
        address x0, bench_data
        address x1, bench_end
        for_each_line ivac
        ret

        .balign 0x800
vectors:
        .rept   16
        .balign 0x80
        b       exception
        .endr

        // While bench_expecting is set, the instruction is skipped and x0 is -1.
exception:
        mrs     x1, CurrentEL
        cmp     x1, #(3 << 2)
        b.eq    3f
        address x0, bench_expecting
        ldr     w0, [x0]
        cbz     w0, 3f
        mov     x0, #-1
        at_el2  x1, 1f
        mrs     x1, ELR_EL1
        add     x1, x1, #4
        msr     ELR_EL1, x1
        eret
1:      mrs     x1, ELR_EL2
        add     x1, x1, #4
        msr     ELR_EL2, x1
        eret
3:      cmp     x1, #(3 << 2)
        b.eq    5f
        at_el2  x0, 4f
        mrs     x19, ESR_EL1
        mrs     x20, ELR_EL1
        mrs     x21, FAR_EL1
        bl      BenchMmuOff
        b       6f
4:      mrs     x19, ESR_EL2
        mrs     x20, ELR_EL2
        mrs     x21, FAR_EL2
        bl      BenchMmuOff
        b       6f
5:      mrs     x19, ESR_EL3
        mrs     x20, ELR_EL3
        mrs     x21, FAR_EL3
6:      address x0, bench_stack_end
        mov     sp, x0
        mov     x0, x19
        mov     x1, x20
        mov     x2, x21
        bl      BenchException
        b       .                       // not reached

        // uint64_t BenchSemihosting(uint64_t operation, uint64_t parameter)
        .globl  BenchSemihosting
BenchSemihosting:
        hlt     #0xf000
        ret

        // uint64_t BenchHvc(uint64_t function), uint64_t BenchSmc(uint64_t function)
        .globl  BenchHvc
BenchHvc:
        hvc     #0
        ret
        .globl  BenchSmc
BenchSmc:
        smc     #0
        ret

        // [[noreturn]] void BenchStop(): there is no other way to end.
        .globl  BenchStop
BenchStop:
        wfi
        b       BenchStop

        .bss
        .balign 4096
bench_stack:
        .fill   16384, 1, 0
bench_stack_end:
