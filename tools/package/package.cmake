# Installing and packing. The installed tree may be moved: nothing in it has a path of this build.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(vla_cmake_folder ${CMAKE_INSTALL_LIBDIR}/cmake/vla)

install(TARGETS vla_settings vla_framework vla_distributed vla_models vla_tasks EXPORT vla
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
foreach(part settings framework distributed models tasks)
  set_target_properties(vla_${part} PROPERTIES EXPORT_NAME ${part})
endforeach()
set_target_properties(vla_framework vla_distributed vla_models vla_tasks PROPERTIES INSTALL_RPATH $ORIGIN)
if(TARGET vla)
  if(BUILD_SHARED_LIBS)
    file(RELATIVE_PATH libraries /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
    set_target_properties(vla PROPERTIES INSTALL_RPATH $ORIGIN/${libraries})
  endif()
  install(TARGETS vla COMPONENT program)
endif()

# Found when installing, so that a header which becomes public later is among them.
install(CODE "
  include([[${CMAKE_CURRENT_LIST_DIR}/public_headers.cmake]])
  find_public_headers(headers [[${PROJECT_SOURCE_DIR}]])
  foreach(header IN LISTS headers)
    get_filename_component(folder \${header} DIRECTORY)
    file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/include/vla/\${folder}\"
         TYPE FILE FILES \"${PROJECT_SOURCE_DIR}/\${header}\")
  endforeach()" COMPONENT development)

# --- For find_package ---------------------------------------------------------------------------
set(vla_links_mpi OFF)
if(VLA_MPI_BUILD AND NOT BUILD_SHARED_LIBS)
  set(vla_links_mpi ON)
endif()
install(EXPORT vla NAMESPACE vla:: FILE vlaTargets.cmake DESTINATION ${vla_cmake_folder}
        COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/vlaConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/vlaConfig.cmake
                              INSTALL_DESTINATION ${vla_cmake_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vlaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vlaConfig.cmake ${PROJECT_BINARY_DIR}/vlaConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/libraries.cmake
        DESTINATION ${vla_cmake_folder} COMPONENT development)

# --- For pkg-config -----------------------------------------------------------------------------
file(RELATIVE_PATH vla_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
set(vla_private_libraries "-lopenblas -lzip -llzma -lpng -pthread")
if(VLA_MPI_BUILD)
  string(APPEND vla_private_libraries " -lmpi")
endif()
set(vla_definitions)
set(vla_cuda_variable)
if(VLA_CUDA_BUILD)
  # Where the toolkit usually is; elsewhere: pkg-config --define-variable=cudalibdir=FOLDER ...
  set(vla_cuda_variable "cudalibdir=/usr/local/cuda/lib64")
  string(APPEND vla_private_libraries " -L\${cudalibdir} -lcudart -lcublasLt -lcublas")
  set(vla_definitions -DVLA_CUDA_BUILD)
endif()
set(vla_static_libraries)
if(NOT BUILD_SHARED_LIBS)
  set(vla_static_libraries ${vla_private_libraries})
  set(vla_private_libraries)
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/vla.pc.in ${PROJECT_BINARY_DIR}/vla.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vla.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)

# --- Debian packages: vla, the program; libvla-dev, the libraries ----------------------------------
if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vla)
set(CPACK_PACKAGE_CONTACT "vla <vla@localhost>")
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME vla)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS gnuplot-nox)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "${PROJECT_DESCRIPTION}: the program")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libvla-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libopenblas-dev, libzip-dev, liblzma-dev, libpng-dev, libstdc++-12-dev | libstdc++-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "cmake, pkg-config, libxtensor-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "${PROJECT_DESCRIPTION}: libraries and headers")
if(VLA_CUDA_BUILD)  # no package of Debian has them
  foreach(component PROGRAM DEVELOPMENT)
    string(APPEND CPACK_COMPONENT_${component}_DESCRIPTION
           "; built for CUDA, it needs libcudart, libcublas and libcublasLt of the CUDA Toolkit 13")
  endforeach()
endif()
# What would not run elsewhere is refused when packing begins.
set(refusal)
if(VLA_NATIVE)
  set(refusal "a build with VLA_NATIVE runs on processors like this one only")
elseif(BUILD_SHARED_LIBS)
  set(refusal "packages hold static libraries, and BUILD_SHARED_LIBS is on")
endif()
if(refusal)
  file(WRITE ${PROJECT_BINARY_DIR}/cpack_refuses.cmake
       "message(FATAL_ERROR \"vla: ${refusal}; pack what cmake --preset package builds\")\n")
  set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_BINARY_DIR}/cpack_refuses.cmake)
endif()
include(CPack)
