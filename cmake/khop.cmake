# SPDX-License-Identifier: MIT
# Compile options shared by every target, and the helpers that declare libraries and tests.

add_library(khop_options INTERFACE)
target_include_directories(khop_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(khop_options INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  # g++ 12 warns of std::string's own code (GCC bug 105329).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
  # clang 19 warns of what std::stable_sort of g++ 12's library uses itself.
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:Clang>>:-Wno-deprecated-declarations>
  # Reproducible: no path of the build machine in the output.
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(KHOP_SANITIZE)
  target_compile_options(khop_options INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(khop_options INTERFACE -fsanitize=address,undefined)
endif()

# For folders whose tests run the same code thousands of times.
macro(khop_quick_tests)
  if(KHOP_SANITIZE)
    add_compile_options(-O1)
  endif()
endmacro()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(KHOP_TARGET_ARM64 TRUE)
endif()

# khop_library(NAME SOURCES... [DEPS ...]): a static library with the project's options.
function(khop_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  if(arg_SOURCES)
    add_library(${name} STATIC ${arg_SOURCES})
    target_link_libraries(${name} PUBLIC khop_options ${arg_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE khop_options ${arg_DEPS})
  endif()
endfunction()

# khop_test(NAME SOURCES... DEPS... LABEL unit SHARDS 1): one GoogleTest program, one ctest test, or
# several that share its tests.
# GoogleTest comes from the host; on the cross target such tests are not declared.
function(khop_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT;SHARDS" "SOURCES;DEPS;DEFINITIONS" ${ARGN})
  if(KHOP_ARM64_BUILD)
    return()
  endif()
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_SOURCES})
  target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} khop_options GTest::gtest_main GTest::gmock)
  # What was freed is kept back for a while, so that its use is found. The models of whole machines
  # would fill ASan's 256 MiB, and each fork copies the tables of all of it.
  set(asan "ASAN_OPTIONS=quarantine_size_mb=8")
  if(NOT arg_SHARDS)
    add_test(NAME ${arg_LABEL}.${name} COMMAND ${name})
    set_tests_properties(${arg_LABEL}.${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
      ENVIRONMENT "${asan}")
    return()
  endif()
  foreach(shard RANGE 1 ${arg_SHARDS})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${arg_LABEL}.${name}.${shard} COMMAND ${name})
    set_tests_properties(${arg_LABEL}.${name}.${shard} PROPERTIES LABELS ${arg_LABEL}
      TIMEOUT ${arg_TIMEOUT}
      ENVIRONMENT "${asan};GTEST_TOTAL_SHARDS=${arg_SHARDS};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

# The environment of everything in core/ when no operating system is there: no heap, exceptions,
# RTTI or dynamic initialisers; with the MMU off memory is Device memory (strict alignment).
set(KHOP_FREESTANDING_OPTIONS
  -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-asynchronous-unwind-tables
  -fno-stack-protector -mstrict-align -mno-outline-atomics -mbranch-protection=none
  -fno-tree-loop-distribute-patterns -fpie -fvisibility=hidden -O2
  # The relocator's assembly keeps its state there while C++ runs.
  -ffixed-x27 -ffixed-x28
  # No pointers to constants in tables: they would need relocations.
  -fno-tree-switch-conversion)

# khop_freestanding(NAME [PROGRAM] SOURCES... [SIMD ...]): objects for the blob and bare-metal
# programs, built on arm64 only. SIMD names the sources that may use Advanced SIMD; no other may.
# PROGRAM: part of a test program, not of the library that unit.core_is_freestanding checks.
function(khop_freestanding name)
  if(NOT KHOP_ARM64_BUILD)
    return()
  endif()
  cmake_parse_arguments(arg "PROGRAM" "" "SOURCES;SIMD" ${ARGN})
  add_library(${name} OBJECT ${arg_SOURCES})
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-mgeneral-regs-only>)
  set(objects ${name})
  if(arg_SIMD)
    add_library(${name}_simd OBJECT ${arg_SIMD})
    list(APPEND objects ${name}_simd)
  endif()
  foreach(library ${objects})
    target_link_libraries(${library} PRIVATE khop_options)
    target_compile_options(${library} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:${KHOP_FREESTANDING_OPTIONS}>)
    if(NOT arg_PROGRAM)
      set_property(GLOBAL APPEND PROPERTY KHOP_FREESTANDING_OBJECTS $<TARGET_OBJECTS:${library}>)
    endif()
  endforeach()
endfunction()
