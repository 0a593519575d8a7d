# SPDX-License-Identifier: MIT
# Runs the bit flips of flips.cc (WORDS) in one QEMU, which stays over the machine's resets, and
# judges what the UART said: after each flip of payload, hand-off and tables a line of khop's and a
# reset, never the next kernel. What the loader fills in in the blob's header is behind no checksum
# but that of the last words: there a flip may also go without a line, or do no harm at all.
execute_process(
  # tb-size: each reset brings new code to translate, and QEMU would keep all of it.
  COMMAND ${QEMU} -M virt -accel tcg,tb-size=64 -cpu cortex-a57 -m 256M -display none -monitor none -serial stdio -nic none
    -semihosting-config enable=on,target=native,arg=flips,arg=${WORDS} -kernel ${PROGRAM}
  RESULT_VARIABLE status OUTPUT_VARIABLE said TIMEOUT 1170)
string(REPLACE "\r" "" said "${said}")
string(REGEX REPLACE "[][;]" "," said "${said}")
if(NOT status EQUAL 0 OR NOT said MATCHES "\ndone\n")
  string(LENGTH "${said}" size)
  set(from 0)
  if(size GREATER 500)
    math(EXPR from "${size} - 500")
  endif()
  string(SUBSTRING "${said}" ${from} -1 tail)
  message(FATAL_ERROR "the last flip hung, or the program failed (${status}):\n${tail}")
endif()

set(parts kernel initrd dtb handoff tables parameters)
set(wrong "")
foreach(part IN LISTS parts)
  string(REGEX MATCHALL "flip ${part} " all "${said}")
  list(LENGTH all all)
  string(REGEX MATCHALL "flip ${part} [0-9a-fx.]+\n+khop: [^\n]+, resetting\n" caught "${said}")
  list(LENGTH caught caught)
  string(REGEX MATCHALL "flip ${part} [0-9a-fx.]+\nstarted, whole\n" whole "${said}")
  list(LENGTH whole whole)
  math(EXPR silent "${all} - ${caught} - ${whole}")
  if(all EQUAL 0)
    continue()
  endif()
  message("${part}: ${all} flips, ${caught} caught with a line, ${silent} without, ${whole} started whole")
  if(NOT part STREQUAL "parameters" AND NOT caught EQUAL all)
    string(APPEND wrong " ${part}")
  endif()
endforeach()
if(said MATCHES "started, and")
  string(APPEND wrong " exception-in-the-next-kernel")
endif()
if(wrong)
  file(WRITE flips.log "${said}")
  message(FATAL_ERROR "escaped:${wrong}; all that was said is in flips.log")
endif()
