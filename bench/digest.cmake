# SPDX-License-Identifier: MIT
# cmake -DQEMU=… -DPROGRAM=… -P this
# Runs the digest benchmark with time made of instructions, prints a table, and holds khop's forms to
# what docs/performance.md says of them.
cmake_policy(VERSION 3.25)
execute_process(
  COMMAND ${QEMU} -M virt -cpu cortex-a57 -m 256M -display none -monitor none -serial stdio -no-reboot
    -nic none -icount shift=0 -semihosting-config enable=on,target=native -kernel ${PROGRAM}
  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result TIMEOUT 240)
if(NOT result EQUAL 0 OR NOT output MATCHES "digests: done")
  message(FATAL_ERROR "QEMU ended with ${result}: ${output}")
endif()
# Instructions for 10,000 bytes: QEMU's counter has 16 a tick.
string(REGEX MATCHALL "[^\n]+ bytes=[^\n]+" lines "${output}")
foreach(line IN LISTS lines)
  string(REGEX MATCH "^(.+) bytes=(0x[0-9a-f]+) ticks=(0x[0-9a-f]+)" ignored "${line}")
  set(name ${CMAKE_MATCH_1})
  math(EXPR ${name} "${CMAKE_MATCH_3} * 16 * 10000 / ${CMAKE_MATCH_2}")
  math(EXPR whole "${${name}} / 10000")
  math(EXPR part "${${name}} % 10000 + 10000")
  string(SUBSTRING ${part} 1 4 part)
  message("${name}: ${whole}.${part} instructions per byte")
endforeach()
# `name` is at most `percent` per cent of `of`.
function(at_most name percent of)
  math(EXPR limit "${${of}} * ${percent} / 100")
  if(${name} GREATER limit)
    message(FATAL_ERROR "${name} takes ${${name}}, more than ${percent} % of ${of}'s ${${of}}")
  endif()
endfunction()
at_most(sha256-sha2 100 openssl-sha2)
at_most(sha256-simd 50 openssl-neon)
at_most(sha256-simd 50 openssl-scalar)
at_most(sha256-scalar 115 openssl-scalar)
if(crc32c-crc32 GREATER 2115)
  message(FATAL_ERROR "CRC-32C takes ${crc32c-crc32}, more than 2115")
endif()
