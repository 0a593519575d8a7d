// SPDX-License-Identifier: MIT
// The ways in and out of the relocator: what cannot be C++ because there is no stack yet, or no
// more. Registers of the regime in force are chosen at run time by CurrentEL: at EL2 the _EL2 names
// are right with and without HCR_EL2.E2H for everything used here.

#include "core/arm64/assembly.inc"

// BlobHeader, blob.h; checked there by static_assert.
#define BLOB_STACK_OFFSET 64
#define BLOB_STACK_SIZE 72
// kBlobMagic, kBlobVersion; BuildControlArea refuses a blob with others.
#define BLOB_MAGIC 0x4252484b
#define BLOB_VERSION 2
// FailureCode::kException; main.cc has the static_assert.
#define FAILURE_EXCEPTION 29
#define PSCI_SYSTEM_RESET 0x84000009

        .macro set_vbar, base, scratch
        at_el2  \scratch, 1f
        msr     VBAR_EL1, \base
        b       2f
1:      msr     VBAR_EL2, \base
2:      isb
        .endm

        .macro stack_range, base, end
        adr     x2, khop_blob
        ldr     \base, [x2, #BLOB_STACK_OFFSET]
        // The stack comes next to the blob, within a granule of 64 KiB. Of a damaged offset no more
        // is believed than what stays near: far away may be a device or nothing, and last words
        // on such a stack never end. CheckHeader refuses it.
        ubfx    \base, \base, #0, #17
        add     \base, \base, x2
        ldr     \end, [x2, #BLOB_STACK_SIZE]
        // At most a granule of 64 KiB: over a damaged size loops by cache line would take for ever.
        // KhopMain and CheckHeader refuse such a size.
        ubfx    \end, \end, #0, #17
        add     \end, \end, \base
        .endm

        .section .head, "ax"
        .globl  khop_blob
khop_blob:
        b       entry
        .word   BLOB_MAGIC
        .word   BLOB_VERSION
        .word   khop_blob_end - khop_blob  // from the linker script
        .fill   64, 1, 0                // BlobParameters, filled in by the loader

        .text
entry:
        msr     DAIFSet, #0xf
        msr     SPSel, #1
        isb
        mrs     x20, CNTVCT_EL0
        adr     x0, vectors
        set_vbar x0, x1
        // The stack will be written with the caches off, then read with them on: a stale line
        // would hide what was written, or overwrite it.
        stack_range x0, x1
        mov     sp, x1
        for_each_line ivac
        adr     x0, khop_blob
        mov     x1, x20
        mov     x29, xzr
        mov     x30, xzr
        bl      KhopMain
        b       .                       // not reached: KhopMain does not return

        // [[noreturn]] void KhopJump(entry, dtb, sctlr): the caller's IC IALLU is completed here.
        .globl  KhopJump
KhopJump:
        mov     x19, x0
        mov     x20, x1
        mov     x21, x2
        stack_range x0, x1              // no stack from here on
        // With the MMU off nothing of the stack is in the caches, and it goes to memory that is
        // the next kernel's: harmless then, needed with the MMU on.
        for_each_line civac
        at_el2  x0, 1f
        msr     SCTLR_EL1, x21
        isb
        tlbi    vmalle1
        b       2f
1:      msr     SCTLR_EL2, x21
        isb
        tlbi    alle2
2:      dsb     sy
        isb
        mov     x0, x20                 // booting.rst: x0 = dtb, x1..x3 = 0
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, xzr
        br      x19

        // [[noreturn]] void KhopFail(code, value, elr, far): MMU off, a fresh stack, last words.
        .globl  KhopFail
KhopFail:
        mov     x19, x0
        mov     x20, x1
        mov     x21, x2
        mov     x22, x3
        msr     DAIFSet, #0xf
        adr     x0, reset_vectors       // an exception from here on: straight to the reset
        set_vbar x0, x1
        mov     x5, #SCTLR_MMU_AND_CACHES
        at_el2  x0, 1f
        mrs     x4, SCTLR_EL1
        bic     x4, x4, x5
        msr     SCTLR_EL1, x4
        b       2f
1:      mrs     x4, SCTLR_EL2
        bic     x4, x4, x5
        msr     SCTLR_EL2, x4
2:      isb
        // Dirty lines of the old stack must not be written back over the new one. If the stack
        // itself is damaged, an exception follows, and the reset.
        stack_range x0, x1
        mov     sp, x1
        for_each_line ivac
        adr     x0, khop_blob
        mov     x1, x19
        mov     x2, x20
        mov     x3, x21
        mov     x4, x22
        mov     x27, xzr
        mov     x28, xzr
        bl      KhopLastWords           // returns the PsciConduit
        mov     x27, x0
        // First the conduit that was named, then, if the call returns or traps, the other one. At
        // EL2 always SMC: HVC would come back to us. x28 counts the attempts; x27 and x28 are kept
        // out of the C++ code (-ffixed), so that they are right in reset_exception too.
reset:
        add     x28, x28, #1
        cmp     x28, #2
        b.hi    3f
        movz    w0, #(PSCI_SYSTEM_RESET & 0xffff)
        movk    w0, #(PSCI_SYSTEM_RESET >> 16), lsl #16
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, xzr
        at_el2  x4, 1f
        cmp     x27, #1                 // PsciConduit::kSmc
        cset    x4, eq
        cmp     x28, #2
        cset    x5, eq
        eor     x4, x4, x5              // SMC if named and first, or not named and second
        cbnz    x4, 1f
        hvc     #0
        b       reset
1:      smc     #0
        b       reset
3:      wfe                             // nothing is left that could reset this machine
        b       3b

        .macro vector target
        .balign 0x80
        b       \target
        .endm

        .balign 0x800
vectors:
        .rept   16
        vector  exception
        .endr
        .balign 0x800
reset_vectors:
        .rept   16
        vector  reset_exception
        .endr

        // Only the MMU's own registers are used before KhopFail has a stack.
exception:
        at_el2  x0, 1f
        mrs     x1, ESR_EL1
        mrs     x2, ELR_EL1
        mrs     x3, FAR_EL1
        b       2f
1:      mrs     x1, ESR_EL2
        mrs     x2, ELR_EL2
        mrs     x3, FAR_EL2
2:      mov     x0, #FAILURE_EXCEPTION
        b       KhopFail

        // An exception in the last words, or a PSCI call that is not there.
reset_exception:
        b       reset
