#include "framework/tensor.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <ostream>

#include "framework/cuda/runtime.hpp"
#include "framework/parallel.hpp"
#include "framework/tensor_cuda.hpp"

namespace vla {
namespace {

constexpr Index kGrain = 1 << 15;  // elements below which a second thread costs more than it saves

}  // namespace

std::ostream& operator<<(std::ostream& out, DType dtype) {
  switch (dtype) {
    case DType::float32:
      return out << "float32";
    case DType::float64:
      return out << "float64";
    case DType::bfloat16:
      return out << "bfloat16";
    case DType::int64:
      return out << "int64";
    case DType::uint8:
      break;
  }
  return out << "uint8";
}

DType parse_dtype(std::string_view name) {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::int64, DType::uint8})
    if (concatenate(dtype) == name) return dtype;
  fail("unknown element type '", name, "'; allowed: float32, float64, bfloat16, int64, uint8");
}

std::size_t element_bytes(DType dtype) {
  return dispatch_any(dtype, [](auto zero) { return sizeof(zero); });
}

Shape::Shape(std::vector<Index> sizes) : sizes_(std::move(sizes)) {
  for (Index size : sizes_) {
    check(size >= 0, "shape ", *this, ": a size is negative; 0 or more is allowed");
    check(!__builtin_mul_overflow(elements_, size, &elements_), "shape ", *this,
          ": too many elements to count in 64 bits");
  }
}

int Shape::checked_axis(int axis) const {
  check(axis >= -rank() && axis < rank(), "axis ", axis, " of shape ", *this,
        " is out of range; allowed: ", -rank(), " to ", rank() - 1);
  return axis < 0 ? axis + rank() : axis;
}

Shape Shape::with(int axis, Index size) const {
  std::vector<Index> sizes = sizes_;
  sizes[static_cast<std::size_t>(checked_axis(axis))] = size;
  return Shape(std::move(sizes));
}

Shape Shape::without(int axis) const {
  std::vector<Index> sizes = sizes_;
  sizes.erase(sizes.begin() + checked_axis(axis));
  return Shape(std::move(sizes));
}

Shape Shape::inserted(int axis, Index size) const {
  check(axis >= -rank() - 1 && axis <= rank(), "axis ", axis, " cannot be inserted into shape ",
        *this);
  std::vector<Index> sizes = sizes_;
  sizes.insert(sizes.begin() + (axis < 0 ? axis + rank() + 1 : axis), size);
  return Shape(std::move(sizes));
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? ", " : "") << shape[axis];
  return out << ')';
}

Tensor::Tensor(Shape shape, DType dtype, Device device)
    : shape_(std::move(shape)), dtype_(dtype), device_(device) {
  std::size_t size = 0;
  check(!__builtin_mul_overflow(static_cast<std::size_t>(elements()), element_bytes(dtype), &size),
        "tensor: shape ", shape_, " of ", dtype, " has too many bytes");
  storage_ = std::make_shared<Storage>(size, device);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  return full(shape, 0, dtype, device);
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor result(shape, dtype, device);
  result.fill(value);
  return result;
}

double Tensor::item() const {
  check(defined(), "item: the tensor is empty");
  check(elements() == 1, "item: shape ", shape_, " has ", elements(), " elements; 1 is needed");
  return dispatch_any(dtype_, [&](auto zero) {
    return static_cast<double>(to(Device{}).values<decltype(zero)>()[0]);
  });
}

Tensor Tensor::reshape(std::vector<Index> sizes) const {
  auto rest = std::find(sizes.begin(), sizes.end(), -1);
  if (rest != sizes.end()) {
    *rest = 1;
    Index known = Shape(sizes).elements();
    check(known > 0 && elements() % known == 0, "reshape: ", elements(),
          " elements do not divide into ", Shape(sizes), " and a rest");
    *rest = elements() / known;
  }
  Tensor result = *this;
  result.shape_ = Shape(std::move(sizes));
  check(result.elements() == elements(), "reshape: ", shape_, " has ", elements(), " elements, ",
        result.shape_, " has ", result.elements());
  return result;
}

Tensor Tensor::clone() const {
  check(defined(), "clone: the tensor is not defined");
  Tensor result(shape_, dtype_, device_);
  result.copy_from(*this);
  return result;
}

Tensor Tensor::range(Index begin, Index end, Device device) {
  check(begin <= end, "range: ", begin, " to ", end, "; the end must not be before the beginning");
  Tensor result({end - begin}, DType::int64, device);
  on_device(
      "range", device,
      [&] {
        const std::span<Index> numbers = result.mutable_values<Index>();
        std::iota(numbers.begin(), numbers.end(), begin);
      },
      [&] { cuda::count_from(begin, result); });
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  check(defined(), "conversion of a tensor that is not defined");
  Tensor result(shape_, dtype, device_);
  const auto convert = [&] {
    dispatch_any(dtype_, [&](auto from) {
      dispatch_any(dtype, [&](auto into) {
        std::ranges::transform(values<decltype(from)>(),
                               result.mutable_values<decltype(into)>().begin(),
                               [](auto value) { return static_cast<decltype(into)>(value); });
      });
    });
  };
  on_device("conversion", device_, convert, [&] { cuda::convert(*this, result); });
  return result;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  check(defined(), "move of a tensor that is not defined to ", device);
  Tensor result(shape_, dtype_, device);
  result.copy_from(*this);
  return result;
}

void Tensor::fill(double value) {
  check(defined(), "fill of a tensor that is not defined");
  const auto on_cpu = [&] {
    dispatch_any(dtype_, [&](auto zero) {
      std::ranges::fill(mutable_values<decltype(zero)>(), static_cast<decltype(zero)>(value));
    });
  };
  on_device("fill", device_, on_cpu, [&] { cuda::fill(value, *this); });
}

void Tensor::copy_from(const Tensor& source) {
  check(defined() && source.defined(), "copy: the ", defined() ? "source" : "target",
        " is not defined");
  check(shape_ == source.shape_ && dtype_ == source.dtype_, "copy: source is ", source.dtype_,
        source.shape_, ", target is ", dtype_, shape_);
  storage_->bump_version();
  std::byte* into = storage_->data();
  const std::byte* from = source.storage_->data();
  if (device_.is_cpu() && source.device_.is_cpu()) {
    std::memmove(into, from, bytes());
  } else if constexpr (kCudaBuild) {
    if (device_ == source.device_)
      cuda::copy_on_device(into, from, bytes(), device_);
    else if (device_.is_cpu())
      cuda::copy_to_host(into, from, bytes(), source.device_);
    else if (source.device_.is_cpu())
      cuda::copy_to_device(into, from, bytes(), device_);
    else
      copy_from(source.to(Device{}));
  }
}

void Tensor::accumulate(const Tensor& value) {
  check(shape_ == value.shape_ && dtype_ == value.dtype_, "accumulate: ", value.dtype_,
        value.shape_, " into ", dtype_, shape_);
  check(device_ == value.device_, "accumulate: ", value.device_, " into ", device_);
  const auto on_cpu = [&] {
    dispatch_floating(dtype_, "accumulate", [&](auto zero) {
      using T = decltype(zero);
      const T* from = value.data<T>();
      T* into = mutable_data<T>();
      parallel_for(elements(), kGrain, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) into[i] += from[i];
      });
    });
  };
  on_device("accumulate", device_, on_cpu, [&] { cuda::accumulate(value, *this); });
}

void Tensor::check_access(DType wanted) const {
  check(defined(), "access to a tensor that is not defined");
  check(dtype_ == wanted, "access as ", wanted, " to a tensor of ", dtype_);
}

void Tensor::check_on_cpu() const {
  check(defined(), "access to a tensor that is not defined");
  check(device_.is_cpu(), "access from the CPU to a tensor on ", device_);
}

Index Tensor::offset(std::initializer_list<Index> indices) const {
  check(static_cast<int>(indices.size()) == rank(), "at: ", indices.size(), " indices for shape ",
        shape_);
  Index result = 0;
  int axis = 0;
  for (Index index : indices) {
    check(index >= 0 && index < shape_[axis], "at: index ", index, " on axis ", axis, " of shape ",
          shape_, " is out of range");
    result = result * shape_[axis++] + index;
  }
  return result;
}

Tensor empty_like(const Tensor& x) {
  check(x.defined(), "empty_like: the tensor is not defined");
  return Tensor(x.shape(), x.dtype(), x.device());
}

Tensor zeros_like(const Tensor& x) {
  return x.defined() ? Tensor::zeros(x.shape(), x.dtype(), x.device()) : Tensor();
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "tensor(undefined)";
  out << tensor.dtype() << tensor.shape() << " on " << tensor.device() << " [";
  dispatch_any(tensor.dtype(), [&](auto zero) {
    Tensor here = tensor.to(Device{});
    auto values = here.values<decltype(zero)>();
    const std::size_t shown = std::min<std::size_t>(values.size(), 8);
    for (std::size_t i = 0; i < shown; ++i) out << (i ? ", " : "") << +values[i];
    if (shown < values.size()) out << ", ...";
  });
  return out << ']';
}

}  // namespace vla
