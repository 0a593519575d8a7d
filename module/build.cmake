# SPDX-License-Identifier: MIT
# cmake -DHEADERS=… -DOUTPUT=… [-DCXX=…] [-DKEY=… -DCERTIFICATE=…] -P this: khop_relocate.ko for the kernel
# of these headers, from the same tree that DKMS would get; with a key khop_relocate.signed.ko beside it.
# Cross-compiles where the machine is not arm64.
cmake_minimum_required(VERSION 3.25)
if(NOT EXISTS "${HEADERS}/Makefile")
  # As for the scenarios: not an error where the lab could not get them.
  message(STATUS "SKIPPED: there are no kernel headers at ${HEADERS}")
  return()
endif()
get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
file(STRINGS "${root}/CMakeLists.txt" version REGEX "^project\\(khop VERSION ")
string(REGEX REPLACE "^.*VERSION ([0-9.]+).*$" "\\1" VERSION "${version}")
set(DESTINATION "${OUTPUT}/khop-relocate-${VERSION}")
include("${CMAKE_CURRENT_LIST_DIR}/source.cmake")
set(cross "")
cmake_host_system_information(RESULT machine QUERY OS_PLATFORM)
if(NOT machine MATCHES "aarch64|arm64")
  set(cross aarch64-linux-gnu-)
endif()
file(REAL_PATH "${HEADERS}" headers)
set(more "")
if(CXX)
  set(more "KHOP_CXX=${CXX}")
endif()
execute_process(COMMAND make --no-print-directory -C "${headers}" ARCH=arm64 CROSS_COMPILE=${cross}
    CC=${cross}gcc ${more} "M=${DESTINATION}" modules
  RESULT_VARIABLE code OUTPUT_VARIABLE log ERROR_VARIABLE log)
if(NOT code EQUAL 0 OR log MATCHES "[Ww]arning:|WARNING:")
  message(FATAL_ERROR "the module was not built, or not without warnings:\n${log}")
endif()
file(COPY_FILE "${DESTINATION}/khop_relocate.ko" "${OUTPUT}/khop_relocate.ko" ONLY_IF_DIFFERENT)
message(STATUS "${OUTPUT}/khop_relocate.ko")
if(KEY)
  execute_process(COMMAND "${headers}/scripts/sign-file" sha256 "${KEY}" "${CERTIFICATE}"
      "${OUTPUT}/khop_relocate.ko" "${OUTPUT}/khop_relocate.signed.ko"
    COMMAND_ERROR_IS_FATAL ANY)
endif()
