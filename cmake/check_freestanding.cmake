# SPDX-License-Identifier: MIT
# cmake -DNM=… -DOBJDUMP=… -DLD=… -DOBJECTS=a,b,… -DBLOB=relocator.elf -DOUTPUT=x.o -P this
# All of core/ linked together needs nothing from outside but the four functions that a freestanding
# compiler may call; and in the blob only SHA-256 and the moves use FP or Advanced SIMD registers,
# which are not enabled before they run.
cmake_policy(SET CMP0057 NEW)
# khop_blob_end is the linker script's own.
set(allowed memcpy memset memmove memcmp khop_blob_end)
string(REPLACE "," ";" OBJECTS "${OBJECTS}")
execute_process(COMMAND ${LD} -r -o ${OUTPUT} ${OBJECTS} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${NM} -u ${OUTPUT} OUTPUT_VARIABLE undefined COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "U [^\n]+" undefined "${undefined}")
foreach(symbol ${undefined})
  string(SUBSTRING ${symbol} 2 -1 symbol)
  if(NOT symbol IN_LIST allowed)
    message(FATAL_ERROR "core/ needs ${symbol}, which a freestanding program does not have")
  endif()
endforeach()

if(BLOB)
  execute_process(COMMAND ${NM} -u ${BLOB} OUTPUT_VARIABLE undefined ERROR_QUIET)
  if(undefined)
    message(FATAL_ERROR "undefined symbols in the blob: ${undefined}")
  endif()
  execute_process(COMMAND ${OBJDUMP} -d --no-show-raw-insn ${BLOB}
    OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," code "${code}")
  string(REPLACE "\n" ";" code "${code}")
  set(function "")
  set(simd 0)
  foreach(line IN LISTS code)
    if(line MATCHES "^[0-9a-f]+ <(.*)>:")
      set(function "${CMAKE_MATCH_1}")
    # q0, v1.4s, d2, s3, b4, h5 as operands.
    elseif(line MATCHES "[\t ,{\\[]([qdsbh][0-9]+|v[0-9]+\\.[0-9]*[bhsdq])[- ,}\\]\n]" OR
           line MATCHES "[\t ,]([qdsbh][0-9]+|v[0-9]+\\.[0-9]+[bhsdq])$")
      math(EXPR simd "${simd} + 1")
      if(NOT function MATCHES "Sha256Blocks(Armv8|Neon)|VectorRegisters")
        message(FATAL_ERROR "FP or Advanced SIMD in ${function}: ${line}")
      endif()
    endif()
  endforeach()
  if(simd EQUAL 0)
    message(FATAL_ERROR "no SIMD instruction found at all: this check is broken")
  endif()
  message(STATUS "${simd} Advanced SIMD instructions, all in SHA-256 and the moves")
endif()
