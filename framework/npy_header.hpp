// The header of an array in numpy's format: text in, checked entries out.
#pragma once

#include <string>
#include <string_view>

#include "framework/tensor.hpp"

namespace vla {

/// What a header says of its array.
struct NpyHeader {
  DType dtype = DType::float32;
  Shape shape = {};
  bool fortran_order = false;  ///< the first axis runs fastest
};

/// Checks the text of a header, such as "{'descr': '<f4', 'fortran_order': False, 'shape': (3,),
/// }". Throws Error that starts with `source`, with what was found, for objects, records,
/// big-endian numbers, element types that a Tensor does not have, and text of another form.
NpyHeader parse_npy_header(std::string_view text, const std::string& source);

/// The text of a header in C order. A dtype that numpy does not have (bfloat16) is not allowed.
std::string format_npy_header(DType dtype, const Shape& shape);

}  // namespace vla
