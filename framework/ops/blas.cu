#include <cublas_v2.h>

#include <array>
#include <memory>
#include <mutex>

#include "framework/cuda/kernel.cuh"
#include "framework/ops/blas_cuda.hpp"
#include "framework/ops/matmul.hpp"

namespace vla::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what cuBLAS asks for on Hopper
constexpr int kMostDevices = 16;

void check_blas(cublasStatus_t status, const char* op) {
  check(status == CUBLAS_STATUS_SUCCESS, op, ": cuBLAS: ", cublasGetStatusString(status));
}

struct Handle {
  cublasHandle_t handle = nullptr;
  std::mutex mutex;
};

// A workspace that is set from the start, so that a captured graph finds it again and results do
// not depend on what the library would allocate.
Handle& handle_for(Device device) {
  static std::array<Handle, kMostDevices>& handles = *new std::array<Handle, kMostDevices>;
  static std::array<std::once_flag, kMostDevices>& once =
      *new std::array<std::once_flag, kMostDevices>;
  Handle& found = handles[static_cast<std::size_t>(device.index)];
  std::call_once(once[static_cast<std::size_t>(device.index)], [&] {
    select(device);
    check_blas(cublasCreate(&found.handle), "matmul");
    check_blas(cublasSetStream(found.handle, static_cast<cudaStream_t>(stream(device))), "matmul");
    std::byte* workspace = allocate(kWorkspaceBytes, device);
    check(workspace != nullptr, "matmul: no memory for the workspace of cuBLAS on ", device);
    check_blas(cublasSetWorkspace(found.handle, workspace, kWorkspaceBytes), "matmul");
  });
  return found;
}

cudaDataType_t type_of(DType dtype) {
  if (dtype == DType::float64) return CUDA_R_64F;
  return dtype == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

cublasComputeType_t compute_type(DType dtype) {
  if (dtype == DType::float64) return CUBLAS_COMPUTE_64F;
  const bool tf32 = dtype == DType::float32 && matmul_precision() == MatmulPrecision::tf32;
  return tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

const void* elements(const Tensor& tensor) {
  return dispatch_any(tensor.dtype(),
                      [&](auto zero) -> const void* { return tensor.data<decltype(zero)>(); });
}

int blas_size(const char* op, Index size) {
  check(size >= 0 && size <= std::numeric_limits<int>::max(), op, ": size ", size,
        " is not allowed; 0 to ", std::numeric_limits<int>::max());
  return static_cast<int>(size);
}

}  // namespace

void gemm(const char* op, Transpose a_op, Transpose b_op, Index m, Index n, Index k,
          const Operand& a, const Operand& b, double beta, Tensor& c, Index batch) {
  if (m == 0 || n == 0 || batch == 0) return;
  if (k == 0) {
    if (beta == 0) c.fill(0);
    return;
  }
  const Device device = c.device();
  const DType dtype = a.matrices->dtype();
  void* into =
      dispatch_any(c.dtype(), [&](auto zero) -> void* { return c.mutable_data<decltype(zero)>(); });
  const double alpha_wide = 1;
  const float alpha = 1, beta_narrow = static_cast<float>(beta);
  const bool wide = dtype == DType::float64;
  const auto transpose = [](Transpose which) {
    return which == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  };
  Handle& handle = handle_for(device);
  std::lock_guard lock(handle.mutex);
  Begun begun(op, device);
  // cuBLAS is column-major: it sees every matrix transposed, and C^T = op(B)^T op(A)^T.
  check_blas(
      cublasGemmStridedBatchedEx(
          handle.handle, transpose(b_op), transpose(a_op), blas_size(op, n), blas_size(op, m),
          blas_size(op, k), wide ? static_cast<const void*>(&alpha_wide) : &alpha,
          elements(*b.matrices), type_of(dtype), blas_size(op, b.stride), b.step,
          elements(*a.matrices), type_of(dtype), blas_size(op, a.stride), a.step,
          wide ? static_cast<const void*>(&beta) : &beta_narrow, into, type_of(c.dtype()),
          blas_size(op, n), m * n, blas_size(op, batch), compute_type(dtype), CUBLAS_GEMM_DEFAULT),
      op);
  begun.finish();
}

}  // namespace vla::cuda
