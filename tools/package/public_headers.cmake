# The public headers: the three umbrellas, what needs other processes, the bridge to xtensor, and
# every header of the project that these include. As a script it prints them, one a line:
#   cmake -P tools/package/public_headers.cmake
cmake_minimum_required(VERSION 3.25)

# Sets `result` to their paths under `root`, in alphabetical order.
function(find_public_headers result root)
  set(found)
  set(waiting framework/framework.hpp framework/distributed/data_parallel.hpp
      framework/distributed/ops.hpp models/models.hpp tasks/tasks.hpp framework/ops/xtensor.hpp)
  while(waiting)
    list(POP_FRONT waiting header)
    list(APPEND found ${header})
    file(STRINGS ${root}/${header} lines REGEX "^ *# *include \"")
    list(TRANSFORM lines REPLACE ".*\"(.*)\".*" "\\1")
    list(APPEND waiting ${lines})
    list(REMOVE_DUPLICATES waiting)
    list(REMOVE_ITEM waiting ${found})
  endwhile()
  list(SORT found)
  set(${result} ${found} PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  find_public_headers(headers ${CMAKE_CURRENT_LIST_DIR}/../..)
  list(JOIN headers "\n" lines)
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${lines}")
endif()
