# SPDX-License-Identifier: MIT
# khop_fuzzer(NAME [FULL] SOURCES... DEPS... [DEFINITIONS...]): a libFuzzer program, declared with clang and
# KHOP_FUZZ=ON only: the preset `clang`, a build directory of its own, as the libraries get instrumented, too.
# The target `fuzzers` is what ./test builds and runs: all but those with FULL, which need too much of khop.
option(KHOP_FUZZ "Build the fuzzers (clang only)" OFF)
if(KHOP_FUZZ AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "KHOP_FUZZ needs clang 19 or newer: set CXX=clang++-19")
endif()
if(KHOP_FUZZ)
  target_compile_options(khop_options INTERFACE -fsanitize=fuzzer-no-link)
  add_custom_target(fuzzers)
endif()

function(khop_fuzzer name)
  cmake_parse_arguments(arg "FULL" "" "SOURCES;DEPS;DEFINITIONS" ${ARGN})
  if(NOT KHOP_FUZZ OR CMAKE_CROSSCOMPILING)
    return()
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} khop_options)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  if(NOT arg_FULL)
    add_dependencies(fuzzers ${name})
  endif()
endfunction()
