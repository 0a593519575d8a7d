# SPDX-License-Identifier: MIT
# What the relocator is run with, and what must come of it.

# Every exception level; MMU on and off; every digest, by the CPU's instructions and scalar.
set(level_el1 "")
set(level_el2 ",virtualization=on")
set(level_vhe ",virtualization=on")
set(cpu_el1 cortex-a57)
set(cpu_el2 cortex-a57)
set(cpu_vhe neoverse-n1)
foreach(level el1 el2 vhe)
  foreach(mmu mmu-on mmu-off)
    foreach(digest sha256 crc32c none)
      khop_baremetal_test(hop_${level}_${mmu}_${digest} "PASS"
        WORDS ${level} ${mmu} ${digest} moves CPU ${cpu_${level}} MACHINE ${level_${level}})
    endforeach()
  endforeach()
  khop_baremetal_test(in_place_${level} "PASS" WORDS ${level}
    CPU ${cpu_${level}} MACHINE ${level_${level}})
endforeach()
khop_baremetal_test(scalar_sha256 "PASS" WORDS scalar sha256)
# As on a Raspberry Pi 4, with the vector registers alone; verified before, and flagged so without.
foreach(mmu mmu-on mmu-off)
  khop_baremetal_test(old_cpu_${mmu} "PASS" WORDS ${mmu} old-cpu sha256 moves)
  khop_baremetal_test(early_${mmu} "PASS" WORDS ${mmu} early moves)
  khop_baremetal_test(not_early_${mmu} "PASS" WORDS ${mmu} not-early)
endforeach()
khop_baremetal_test(old_cpu_flipped "khop: payload digest does not match at 0x46200000; resetting"
  WORDS old-cpu flip-kernel)
# What "early" trusts is what "none" would.
khop_baremetal_test(early_flipped "PASS" WORDS early flip-dtb)
khop_baremetal_test(not_early_flipped "khop: payload digest does not match at 0x46300000; resetting"
  WORDS not-early flip-dtb)
khop_baremetal_test(early_not_a_kernel "khop: no kernel image at 0x46000000; resetting"
  WORDS early no-kernel)
khop_baremetal_test(scalar_crc32c "PASS" WORDS scalar crc32c)

# Relocation: everything scattered, blocks, destinations that are sources of others; each granule and
# VA size that some CPU here has, with the MMU on, and the same with it off.
set(cpu_4k cortex-a57)
set(cpu_16k neoverse-n1)
set(cpu_64k cortex-a57)
foreach(granule 4k 16k 64k)
  foreach(va va39 va42 va48)
    foreach(what scatter permute)
      khop_baremetal_test(${what}_${granule}_${va} "PASS"
        WORDS ${what} ${granule} ${va} CPU ${cpu_${granule}})
    endforeach()
  endforeach()
  foreach(what block moves)
    khop_baremetal_test(${what}_${granule} "PASS" WORDS ${what} ${granule} CPU ${cpu_${granule}})
  endforeach()
  foreach(what scatter permute)
    khop_baremetal_test(${what}_${granule}_mmu_off "PASS"
      WORDS ${what} ${granule} mmu-off CPU ${cpu_${granule}})
  endforeach()
endforeach()
foreach(level el1 el2 vhe)
  khop_baremetal_test(scatter_far_${level} "PASS" WORDS scatter far ${level} CPU ${cpu_${level}}
    MACHINE ${level_${level}} MEMORY 6G)
endforeach()
khop_baremetal_test(scatter_far_mmu_off "PASS" WORDS scatter far mmu-off MEMORY 6G)

# Each refusal and failure: its line on the UART, then the reset.
khop_baremetal_test(bad_magic "khop: hand-off has no magic, found 0x[0-9a-f]+; resetting"
  WORDS bad-magic)
khop_baremetal_test(bad_version "khop: hand-off version not understood: 0x9; resetting"
  WORDS bad-version)
khop_baremetal_test(bad_header "khop: hand-off header checksum is wrong: 0x[0-9a-f]+; resetting"
  WORDS bad-header)
khop_baremetal_test(bad_body "khop: hand-off body checksum is wrong: 0x[0-9a-f]+; resetting"
  WORDS bad-body)
khop_baremetal_test(bad_tables "khop: page-table checksum is wrong: 0x[0-9a-f]+; resetting"
  WORDS bad-tables)
khop_baremetal_test(bad_entry "khop: entry lies outside the arena: 0x44000000; resetting"
  WORDS bad-entry)
khop_baremetal_test(bad_move "khop: move goes outside the arena at 0x44000000; resetting"
  WORDS bad-move moves)
foreach(part blob stack handoff tables)
  khop_baremetal_test(move_onto_${part}
    "khop: move goes onto the relocator's memory at 0x440[0-9a-f]+; resetting" WORDS onto-${part} moves)
endforeach()
khop_baremetal_test(granule_of_another_cpu
  "khop: CPU lacks the page-table granule 2. 0xe; resetting" WORDS 16k)
khop_baremetal_test(no_stack "khop: stack is wrong: 0x0; resetting" WORDS no-stack)
foreach(level el1 el2 vhe)
  khop_baremetal_test(flipped_kernel_${level}
    "khop: payload digest does not match at 0x46200000; resetting"
    WORDS flip-kernel ${level} CPU ${cpu_${level}} MACHINE ${level_${level}})
  khop_baremetal_test(exception_${level}
    "khop: exception, ESR 0x9600000[0-9a-f] ELR 0x440[0-9a-f]+ FAR 0x280000000; resetting"
    WORDS exception moves ${level} CPU ${cpu_${level}} MACHINE ${level_${level}})
endforeach()
khop_baremetal_test(flipped_dtb "khop: payload digest does not match at 0x46300000; resetting"
  WORDS flip-dtb)
khop_baremetal_test(flipped_dtb_crc32c
  "khop: payload digest does not match at 0x46300000; resetting" WORDS flip-dtb crc32c)
khop_baremetal_test(not_a_kernel "khop: no kernel image at 0x46000000; resetting"
  WORDS no-kernel none)
# The conduit that was named is not there: the other one resets.
khop_baremetal_test(wrong_conduit "khop: payload digest does not match at 0x46300000; resetting"
  WORDS flip-dtb smc)
# The console itself faults: no line, but the reset.
khop_baremetal_test(console_faults "entering the relocator" WORDS flip-dtb bad-uart)
# The record of a failed hop is there after the reset, with and without a console.
foreach(level el1 el2 vhe)
  khop_baremetal_test(record_${level}
    "after the reset: ====1764000000.000000-D.khop: payload digest does not match at 0x46200000; resetting.khop: loaded at 1764000000"
    WORDS flip-kernel record ${level} CPU ${cpu_${level}} MACHINE ${level_${level}} REBOOT)
endforeach()
khop_baremetal_test(record_without_console
  "after the reset: ====1764000000.000000-D.khop: exception, ESR 0x96000005 ELR 0x440[0-9a-f]+ FAR 0x280000000; resetting"
  WORDS exception moves record bad-uart REBOOT)
