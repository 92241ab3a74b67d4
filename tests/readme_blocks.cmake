# The C++ in every README.md, built from the text as it stands, and run by readme_test.cpp.
# readme_blocks.awk says which block becomes what. A README that changes configures anew.
find_program(AWK awk REQUIRED)
set(root ${PROJECT_SOURCE_DIR})
file(GLOB_RECURSE readmes CONFIGURE_DEPENDS RELATIVE ${root} ${root}/framework/README.md
     ${root}/models/README.md ${root}/tasks/README.md ${root}/tests/README.md
     ${root}/tools/README.md)
list(PREPEND readmes README.md)

set(folder ${CMAKE_CURRENT_BINARY_DIR}/readme)
file(REMOVE_RECURSE ${folder}/new)
file(MAKE_DIRECTORY ${folder}/new)
foreach(readme ${readmes})
  string(REGEX REPLACE "/?README.md$" "" place "${readme}")
  string(MAKE_C_IDENTIFIER "readme/${place}" name)
  string(REGEX REPLACE "_$" "" name "${name}")  # readme, readme_framework, readme_models_vla
  execute_process(COMMAND ${AWK} -v out=${folder}/new/${name} -v readme=${root}/${readme}
                          -f ${CMAKE_CURRENT_LIST_DIR}/readme_blocks.awk ${root}/${readme}
                  COMMAND_ERROR_IS_FATAL ANY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${root}/${readme})
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
             ${CMAKE_CURRENT_LIST_DIR}/readme_blocks.awk)

file(GLOB sources RELATIVE ${folder}/new ${folder}/new/*.cpp)
foreach(source ${sources})
  file(COPY_FILE ${folder}/new/${source} ${folder}/${source} ONLY_IF_DIFFERENT)
  get_filename_component(target ${source} NAME_WE)
  add_executable(${target} ${folder}/${source})
  set(kernels ${target}.cu)
  if(VLA_CUDA_BUILD AND EXISTS ${folder}/new/${kernels})
    file(COPY_FILE ${folder}/new/${kernels} ${folder}/${kernels} ONLY_IF_DIFFERENT)
    target_sources(${target} PRIVATE ${folder}/${kernels})
  endif()
  target_link_libraries(${target} PRIVATE vla::tasks)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  needed_by(readme ${target})
  if(NOT target STREQUAL "readme_program")
    list(APPEND examples $<TARGET_FILE:${target}>)
  endif()
endforeach()
target_compile_definitions(vla_tests PRIVATE
  VLA_README_PROGRAM="$<TARGET_FILE:readme_program>"
  VLA_README_EXAMPLES="$<JOIN:${examples},|>")
