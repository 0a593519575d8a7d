# SPDX-License-Identifier: MIT
# cmake -DQEMU=… -DPROGRAM=… -DBLOB=relocator.elf -DNM=… -DWORDS=none -DTRACE=FILE -P this
# Where the relocator's instructions go: one traced line for each, counted by function. WORDS: what it
# is asked for, as in instructions.txt.
cmake_policy(VERSION 3.25)
execute_process(COMMAND ${QEMU} --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "[0-9]+\\.[0-9]+" version "${version}")
set(one_by_one -singlestep)
if(version VERSION_GREATER_EQUAL 8.1)
  set(one_by_one -accel tcg,one-insn-per-tb=on)
endif()
execute_process(
  COMMAND ${QEMU} -M virt -cpu cortex-a57 -m 256M -display none -monitor none -serial stdio -no-reboot
    -nic none -icount shift=0 ${one_by_one} -d exec,nochain -D ${TRACE}
    # harness.cc puts it there.
    -dfilter 0x44000000+0x20000
    "-semihosting-config" "enable=on,target=native,arg=relocator_harness,arg=count ${WORDS}"
    -kernel ${PROGRAM}
  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result TIMEOUT 600)
if(NOT result EQUAL 0 OR NOT output MATCHES "PASS")
  message(FATAL_ERROR "${WORDS}: QEMU ended with ${result}: ${output}")
endif()

# Adds to what the variable has of a key, and the key to the list of them when it is new.
macro(add_to variable keys key amount)
  if(NOT DEFINED ${variable}_${key})
    set(${variable}_${key} 0)
    list(APPEND ${keys} ${key})
  endif()
  math(EXPR ${variable}_${key} "${${variable}_${key}} + ${amount}")
endmacro()

# By address: the first is that of the blob.
file(STRINGS ${TRACE} lines REGEX "^Trace")
set(addresses "")
set(base "")
foreach(line IN LISTS lines)
  if(NOT line MATCHES "\\[[0-9a-f]+/([0-9a-f]+)/")
    message(FATAL_ERROR "this QEMU traces otherwise: ${line}")
  endif()
  set(address ${CMAKE_MATCH_1})
  if(base STREQUAL "")
    set(base ${address})
  endif()
  add_to(count addresses ${address} 1)
endforeach()
list(LENGTH lines total)
if(total EQUAL 0)
  message(FATAL_ERROR "nothing was traced")
endif()

execute_process(COMMAND ${NM} -n -C --defined-only ${BLOB} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," symbols "${symbols}")
string(REPLACE "[" "(" symbols "${symbols}")
string(REPLACE "]" ")" symbols "${symbols}")
string(REPLACE "\n" ";" symbols "${symbols}")
list(FILTER symbols INCLUDE REGEX "^[0-9a-f]+ [tT] ")
list(SORT addresses)
# Both in ascending order: a function ends where the next one begins.
set(functions "")
set(name "")
foreach(address IN LISTS addresses)
  math(EXPR offset "0x${address} - 0x${base}")
  while(symbols)
    list(GET symbols 0 symbol)
    string(REGEX MATCH "^([0-9a-f]+) . (.*)$" ignored "${symbol}")
    math(EXPR start "0x${CMAKE_MATCH_1}")
    if(start GREATER offset)
      break()
    endif()
    # Without template arguments, parameters and namespaces.
    string(REGEX MATCH "^([A-Za-z0-9_: ]*\\(anonymous namespace\\)::)?[^(<]*" name "${CMAKE_MATCH_2}")
    string(REGEX REPLACE "^.*[: ]" "" name "${name}")
    list(POP_FRONT symbols)
  endwhile()
  add_to(of functions ${name} ${count_${address}})
endforeach()

set(rows "")
foreach(function IN LISTS functions)
  string(LENGTH "${of_${function}}" digits)
  math(EXPR pad "9 - ${digits}")
  string(REPEAT " " ${pad} spaces)
  list(APPEND rows "${spaces}${of_${function}} ${function}")
endforeach()
list(SORT rows ORDER DESCENDING)
message("${WORDS}: ${total} instructions of the relocator")
foreach(row IN LISTS rows)
  message("${row}")
endforeach()
