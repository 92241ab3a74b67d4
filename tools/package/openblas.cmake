# OpenBLAS itself, which holds BLAS and LAPACK, as the target vla::openblas: another BLAS would be
# found silently and be slow. Read by the build and by whoever finds the installed package; where
# there is none, VLA_OPENBLAS is false and openblas_missing says so.
find_library(VLA_OPENBLAS openblas PATH_SUFFIXES openblas-pthread openblas)
mark_as_advanced(VLA_OPENBLAS)
set(openblas_missing "OpenBLAS was not found. Install it (Debian: apt install libopenblas-dev); no \
other BLAS is used, because a reference BLAS is tens of times slower.")
if(VLA_OPENBLAS AND NOT TARGET vla::openblas)
  add_library(vla::openblas UNKNOWN IMPORTED)
  set_target_properties(vla::openblas PROPERTIES IMPORTED_LOCATION "${VLA_OPENBLAS}")
endif()
