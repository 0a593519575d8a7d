// SPDX-License-Identifier: MIT
// The bare-metal test program's own start, and the probe's: where the relocator jumps to.

        .section .head, "ax"
        .globl  _start
_start:
        msr     DAIFSet, #0xf
        msr     SPSel, #1
        adr     x0, harness_vectors
        mrs     x1, CurrentEL
        cmp     x1, #(2 << 2)
        b.eq    1f
        msr     VBAR_EL1, x0
        b       2f
1:      msr     VBAR_EL2, x0
2:      isb
        ldr     x0, =harness_stack_end
        mov     sp, x0
        bl      HarnessMain
        b       .

        // Noted before anything else touches them: x0..x7, then SP and DAIF are the relocator's.
        .globl  ProbeEntry
ProbeEntry:
        ldr     x16, =probe_registers
        stp     x0, x1, [x16]
        stp     x2, x3, [x16, #16]
        mrs     x17, DAIF
        str     x17, [x16, #32]
        mrs     x17, CurrentEL
        str     x17, [x16, #40]
        cmp     x17, #(2 << 2)
        b.eq    1f
        mrs     x17, SCTLR_EL1
        mrs     x15, TTBR0_EL1
        mrs     x14, TCR_EL1
        adr     x13, harness_vectors
        msr     VBAR_EL1, x13
        b       2f
1:      mrs     x17, SCTLR_EL2
        mrs     x15, TTBR0_EL2
        mrs     x14, TCR_EL2
        adr     x13, harness_vectors
        msr     VBAR_EL2, x13
2:      isb
        stp     x17, x15, [x16, #48]
        str     x14, [x16, #64]
        ldr     x0, =harness_stack_end
        mov     sp, x0
        bl      ProbeMain
        b       .

        .balign 0x800
harness_vectors:
        .rept   16
        .balign 0x80
        b       HarnessException
        .endr

        // uint64_t SemihostingCall(uint64_t operation, const void* parameters)
        .globl  SemihostingCall
SemihostingCall:
        hlt     #0xf000
        ret

        // void ResetMachine(): PSCI SYSTEM_RESET, at EL1.
        .globl  ResetMachine
ResetMachine:
        movz    w0, #0x0009
        movk    w0, #0x8400, lsl #16
        hvc     #0
        b       .

        // void EnterBlob(uint64_t address): as the kernel's last jump, MMU off.
        .globl  EnterBlob
EnterBlob:
        mov     x16, x0
        mov     x0, xzr
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, xzr
        br      x16

        // void EnterVheThenBlob(uint64_t address): the same with HCR_EL2.{E2H,TGE} set.
        .globl  EnterVheThenBlob
EnterVheThenBlob:
        mrs     x1, HCR_EL2
        orr     x1, x1, #(1 << 34)
        orr     x1, x1, #(1 << 27)
        msr     HCR_EL2, x1
        isb
        b       EnterBlob

        .bss
        .balign 16
harness_stack:
        .fill   16384, 1, 0
harness_stack_end:
