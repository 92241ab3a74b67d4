// A value on a device. A tensor knows nothing of gradients; see tape.hpp for those.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "framework/bfloat16.hpp"
#include "framework/check.hpp"
#include "framework/device.hpp"
#include "framework/storage.hpp"

namespace vla {

/// Of sizes and places.
using Index = std::int64_t;

/// bfloat16 is for activations on CUDA; on the CPU it is only stored and converted.
enum class DType { float32, float64, bfloat16, int64, uint8 };

std::ostream& operator<<(std::ostream& out, DType dtype);
/// "float32", "float64", "bfloat16", "int64" or "uint8"; Error for another name.
DType parse_dtype(std::string_view name);
/// Bytes per element.
std::size_t element_bytes(DType dtype);
/// Whether it is float32, float64 or bfloat16.
inline bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 || dtype == DType::bfloat16;
}

/// The type of elements that C++ has as T.
///@{
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::float64;
}
template <>
constexpr DType dtype_of<BFloat16>() {
  return DType::bfloat16;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::int64;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::uint8;
}
///@}

/// The sizes of a tensor's axes, first axis first. A scalar has none.
class Shape {
 public:
  Shape() = default;
  /// {2, 3} for two rows of three; {} for a scalar. Throws Error as below.
  Shape(std::initializer_list<Index> sizes) : Shape(std::vector<Index>(sizes)) {}
  /// Throws Error for a negative size or more elements than an Index can count.
  explicit Shape(std::vector<Index> sizes);

  /// The number of axes.
  int rank() const { return static_cast<int>(sizes_.size()); }
  /// The number of elements: the product of the sizes, 1 for a scalar.
  Index elements() const { return elements_; }
  /// Size of an axis; negative axes count from the end (-1 is the last). Throws Error out of range.
  Index operator[](int axis) const { return sizes_[static_cast<std::size_t>(checked_axis(axis))]; }
  /// `axis` counted from the front, after the check.
  int checked_axis(int axis) const;
  /// The sizes of all axes.
  ///@{
  const std::vector<Index>& sizes() const { return sizes_; }
  auto begin() const { return sizes_.begin(); }
  auto end() const { return sizes_.end(); }
  ///@}

  /// The same shape with the size of one axis replaced, or an axis removed or inserted. Throws
  /// Error for an axis out of range.
  ///@{
  Shape with(int axis, Index size) const;
  Shape without(int axis) const;
  Shape inserted(int axis, Index size) const;
  ///@}

  friend bool operator==(const Shape& a, const Shape& b) { return a.sizes_ == b.sizes_; }

 private:
  std::vector<Index> sizes_;
  Index elements_ = 1;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);

/// A contiguous, row-major array on a device. Copying a Tensor copies a handle: both then share the
/// same storage; `clone` copies the values. Access is by type, and a wrong type throws Error.
class Tensor {
 public:
  /// No tensor at all; `defined()` is false.
  Tensor() = default;
  /// Uninitialised elements.
  Tensor(Shape shape, DType dtype, Device device = {});

  /// Every element 0.
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  /// Every element `value`, rounded to the element type.
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
  /// The values in row-major order; Error unless there are as many as the shape has elements.
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values, Device device = {});
  /// The same for a vector.
  template <class T>
  static Tensor from(const Shape& shape, const std::vector<T>& values, Device device = {}) {
    return from<T>(shape, std::span<const T>(values), device);
  }
  /// One element without axes.
  static Tensor scalar(double value, DType dtype, Device device = {}) {
    return full({}, value, dtype, device);
  }
  /// begin, begin + 1, ..., end - 1 as int64 (end - begin); Error unless begin <= end.
  static Tensor range(Index begin, Index end, Device device = {});

  /// Whether it is a tensor at all.
  bool defined() const { return storage_ != nullptr; }
  /// The sizes of its axes.
  const Shape& shape() const { return shape_; }
  /// The number of its axes.
  int rank() const { return shape_.rank(); }
  /// Size of one axis; negative axes count from the end.
  Index size(int axis) const { return shape_[axis]; }
  /// Number of elements.
  Index elements() const { return shape_.elements(); }
  /// The type of its elements.
  DType dtype() const { return dtype_; }
  /// Where its elements are.
  Device device() const { return device_; }
  /// What its elements take.
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * element_bytes(dtype_); }

  /// The elements, readable where the device is. Throws Error for the wrong type.
  template <class T>
  const T* data() const {
    check_access(dtype_of<T>());
    return reinterpret_cast<const T*>(storage_->data());
  }
  /// The same, writable. Counts as a change in place: see `version`.
  template <class T>
  T* mutable_data() {
    check_access(dtype_of<T>());
    storage_->bump_version();
    return reinterpret_cast<T*>(storage_->data());
  }
  /// The elements in row-major order, of a tensor on the CPU.
  template <class T>
  std::span<const T> values() const {
    check_on_cpu();
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  /// The same, writable. Counts as a change in place.
  template <class T>
  std::span<T> mutable_values() {
    check_on_cpu();
    return {mutable_data<T>(), static_cast<std::size_t>(elements())};
  }
  /// One element, checked: as many indices as axes, each in range. CPU only.
  template <class T>
  T at(std::initializer_list<Index> indices) const {
    return values<T>()[static_cast<std::size_t>(offset(indices))];
  }
  /// The value of a tensor with one element, of any type and on any device.
  double item() const;

  /// The same elements under another shape, sharing storage. One size may be -1: what is left over.
  Tensor reshape(std::vector<Index> sizes) const;
  /// The same.
  ///@{
  Tensor reshape(std::initializer_list<Index> sizes) const {
    return reshape(std::vector<Index>(sizes));
  }
  Tensor reshape(const Shape& shape) const { return reshape(shape.sizes()); }
  ///@}
  /// A tensor of its own with the same values. Throws Error if the tensor is not defined.
  Tensor clone() const;
  /// The values as another element type, rounded; the tensor itself where it has it already.
  Tensor to(DType dtype) const;
  /// The values on another device; the tensor itself where it is there already.
  Tensor to(Device device) const;

  /// Sets every element, rounded to the element type.
  void fill(double value);
  /// Overwrites the elements with those of `source`, which may be on another device: same shape and
  /// type; both defined.
  void copy_from(const Tensor& source);
  /// Adds `value` element by element in place: same shape, floating type and device.
  void accumulate(const Tensor& value);

  /// Rises whenever the storage is opened for writing, through this handle or another.
  std::uint64_t version() const { return storage_ ? storage_->version() : 0; }
  /// Whether this is the only handle of its storage.
  bool unique() const { return storage_.use_count() == 1; }
  /// Whether a change of one shows in the other.
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }

 private:
  void check_access(DType wanted) const;
  void check_on_cpu() const;
  Index offset(std::initializer_list<Index> indices) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  DType dtype_ = DType::float32;
  Device device_;
};

/// The elements of an optional tensor; null where it is not defined.
template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
/// The same, writable.
template <class T>
T* mutable_data_or_null(Tensor& x) {
  return x.defined() ? x.mutable_data<T>() : nullptr;
}

/// Uninitialised elements under the shape, type and device of `x`. Throws Error if `x` is not
/// defined.
Tensor empty_like(const Tensor& x);
/// Zeros under the shape, type and device of `x`; not defined if `x` is not, as an optional input
/// that was left out has no gradient.
Tensor zeros_like(const Tensor& x);

/// Shape, type, device and the first elements: for people.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

/// Calls `function(T{})` with T the element type of a floating `dtype`; Error names `op` otherwise.
template <class Function>
decltype(auto) dispatch_floating(DType dtype, std::string_view op, Function&& function) {
  if (dtype == DType::float32) return function(float{});
  if (dtype == DType::float64) return function(double{});
  fail(op, ": element type ", dtype, " is not allowed; float32 or float64");
}

/// The same for every element type.
template <class Function>
decltype(auto) dispatch_any(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::float32:
      return function(float{});
    case DType::float64:
      return function(double{});
    case DType::bfloat16:
      return function(BFloat16{});
    case DType::int64:
      return function(std::int64_t{});
    case DType::uint8:
      break;
  }
  return function(std::uint8_t{});
}

template <class T>
Tensor Tensor::from(const Shape& shape, std::span<const T> values, Device device) {
  check(static_cast<Index>(values.size()) == shape.elements(), "tensor: ", values.size(),
        " values do not fill shape ", shape);
  Tensor result(shape, dtype_of<T>());
  std::span<T> target = result.mutable_values<T>();
  for (std::size_t i = 0; i < values.size(); ++i) target[i] = values[i];
  return result.to(device);
}

}  // namespace vla
