# SPDX-License-Identifier: MIT
# SOURCE_DATE_EPOCH for everything that notes a time: as it was given, or when the commit was made.
function(khop_source_date_epoch result)
  set(epoch "$ENV{SOURCE_DATE_EPOCH}")
  if(NOT epoch MATCHES "^[0-9]+$")
    execute_process(COMMAND git log -1 --format=%ct WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
      OUTPUT_VARIABLE epoch ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
  if(NOT epoch MATCHES "^[0-9]+$")
    set(epoch 1767225600)  # no git: any fixed day does
  endif()
  set(ENV{SOURCE_DATE_EPOCH} ${epoch})
  set(${result} ${epoch} PARENT_SCOPE)
endfunction()
# In cpack, which reads this as its project's configuration.
if(CPACK_KHOP_SOURCE_DATE_EPOCH)
  set(ENV{SOURCE_DATE_EPOCH} ${CPACK_KHOP_SOURCE_DATE_EPOCH})
endif()
