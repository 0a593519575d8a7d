# SPDX-License-Identifier: MIT
# The arm64 build: cross-built elsewhere, native on arm64; always linked statically, so that the one
# file runs on every distribution. Libraries come from build/sysroot in both cases.

get_filename_component(_khop_sysroot "${CMAKE_CURRENT_LIST_DIR}/../build/sysroot" ABSOLUTE)

execute_process(COMMAND uname -m OUTPUT_VARIABLE _khop_machine OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT _khop_machine MATCHES "aarch64|arm64")
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
  set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
  set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
  set(CMAKE_ASM_COMPILER aarch64-linux-gnu-gcc)
endif()
# Tells this build from a host build on an arm64 machine.
set(KHOP_ARM64_BUILD TRUE)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)

set(CMAKE_FIND_ROOT_PATH "${_khop_sysroot}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Once per configuration, not again for each of its compiler checks.
get_property(_khop_try_compile GLOBAL PROPERTY IN_TRY_COMPILE)
if(NOT _khop_try_compile)
  include("${CMAKE_CURRENT_LIST_DIR}/sysroot.cmake")
endif()
