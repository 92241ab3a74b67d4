# Libraries that have no package file of use, as targets vla::openblas and vla::libzip. Read by the
# build and by whoever finds the installed package; missing_library says what is not there, or is
# empty.
find_library(VLA_OPENBLAS openblas PATH_SUFFIXES openblas-pthread openblas)
find_library(VLA_LIBZIP zip)  # its own package file asks for programs that come apart from it
mark_as_advanced(VLA_OPENBLAS VLA_LIBZIP)
set(missing_library)
if(NOT VLA_OPENBLAS)
  # OpenBLAS itself, which holds BLAS and LAPACK: another BLAS would be found silently and be slow.
  set(missing_library "OpenBLAS was not found. Install it (Debian: apt install libopenblas-dev); no \
other BLAS is used, because a reference BLAS is tens of times slower.")
elseif(NOT VLA_LIBZIP)
  set(missing_library "libzip was not found. Install it (Debian: apt install libzip-dev).")
endif()
foreach(library IN ITEMS openblas libzip)
  string(TOUPPER VLA_${library} path)
  if(${path} AND NOT TARGET vla::${library})
    add_library(vla::${library} UNKNOWN IMPORTED)
    set_target_properties(vla::${library} PROPERTIES IMPORTED_LOCATION "${${path}}")
  endif()
endforeach()
