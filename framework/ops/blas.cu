#include <cublasLt.h>
#include <cublas_v2.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

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

// How cuBLASLt multiplies x (m, k) with the transpose of W (n, k) and adds a bias to every row:
// found once for each size and kept.
struct BiasedPlan {
  cublasLtMatmulDesc_t how = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;
};

// What a plan is for: element type, precision, and the sizes m, n, k.
using PlanKey = std::tuple<DType, MatmulPrecision, Index, Index, Index>;

struct Handle {
  cublasHandle_t handle = nullptr;
  std::unique_ptr<Storage> workspace;
  std::map<PlanKey, BiasedPlan> plans;
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
    found.workspace = std::make_unique<Storage>(kWorkspaceBytes, device);
    select(device);
    check_blas(cublasCreate(&found.handle), "matmul");
    check_blas(cublasSetStream(found.handle, static_cast<cudaStream_t>(stream(device))), "matmul");
    check_blas(cublasSetWorkspace(found.handle, found.workspace->data(), kWorkspaceBytes),
               "matmul");
    // Parts of a sum over a long inner axis are added up in float32 where factors are bfloat16.
    check_blas(cublasSetMathMode(
                   found.handle,
                   static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                             CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
               "matmul");
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
  const void *one = wide ? static_cast<const void*>(&alpha_wide) : &alpha,
             *kept = wide ? static_cast<const void*>(&beta) : &beta_narrow;
  // cuBLAS is column-major: it sees every matrix transposed, and C^T = op(B)^T op(A)^T. For a
  // single product it has more ways, such as cutting a long inner axis.
  if (batch == 1)
    check_blas(cublasGemmEx(handle.handle, transpose(b_op), transpose(a_op), blas_size(op, n),
                            blas_size(op, m), blas_size(op, k), one, elements(*b.matrices),
                            type_of(dtype), blas_size(op, b.stride), elements(*a.matrices),
                            type_of(dtype), blas_size(op, a.stride), kept, into, type_of(c.dtype()),
                            blas_size(op, n), compute_type(dtype), CUBLAS_GEMM_DEFAULT),
               op);
  else
    check_blas(
        cublasGemmStridedBatchedEx(
            handle.handle, transpose(b_op), transpose(a_op), blas_size(op, n), blas_size(op, m),
            blas_size(op, k), one, elements(*b.matrices), type_of(dtype), blas_size(op, b.stride),
            b.step, elements(*a.matrices), type_of(dtype), blas_size(op, a.stride), a.step, kept,
            into, type_of(c.dtype()), blas_size(op, n), m * n, blas_size(op, batch),
            compute_type(dtype), CUBLAS_GEMM_DEFAULT),
        op);
  begun.finish();
}

namespace {

BiasedPlan find_plan(cublasLtHandle_t handle, const char* op, DType dtype, Index m, Index n,
                     Index k) {
  BiasedPlan plan;
  const cudaDataType_t type = type_of(dtype);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
  check_blas(cublasLtMatmulDescCreate(&plan.how, compute_type(dtype), CUDA_R_32F), op);
  check_blas(cublasLtMatmulDescSetAttribute(plan.how, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                            sizeof transposed),
             op);
  check_blas(cublasLtMatmulDescSetAttribute(plan.how, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                            sizeof epilogue),
             op);
  const auto layout = [&](cublasLtMatrixLayout_t& into, Index rows, Index columns) {
    check_blas(cublasLtMatrixLayoutCreate(&into, type, static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(columns), rows),
               op);
  };
  layout(plan.weight, k, n);
  layout(plan.x, k, m);
  layout(plan.y, n, m);
  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&preference), op);
  check_blas(
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &kWorkspaceBytes, sizeof kWorkspaceBytes),
      op);
  const std::uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  check_blas(
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                           &reduction, sizeof reduction),
      op);
  cublasLtMatmulHeuristicResult_t result{};
  int results = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, plan.how, plan.weight, plan.x, plan.y, plan.y, preference, 1, &result, &results);
  check_blas(cublasLtMatmulPreferenceDestroy(preference), op);
  plan.found = status == CUBLAS_STATUS_SUCCESS && results > 0;
  plan.algorithm = result.algo;
  return plan;
}

}  // namespace

bool gemm_with_bias(const char* op, Index m, Index n, Index k, const Tensor& x,
                    const Tensor& weight, const Tensor& bias, Tensor& y) {
  const DType dtype = x.dtype();
  if (dtype == DType::float64 || m == 0 || n == 0 || k == 0) return false;
  const Device device = y.device();
  Handle& handle = handle_for(device);
  const auto lt = reinterpret_cast<cublasLtHandle_t>(handle.handle);
  std::lock_guard lock(handle.mutex);
  BiasedPlan& plan = handle.plans[{dtype, matmul_precision(), m, n, k}];
  if (!plan.how) plan = find_plan(lt, op, dtype, m, n, k);
  if (!plan.found) return false;
  const void* bias_elements = elements(bias);
  check_blas(cublasLtMatmulDescSetAttribute(plan.how, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                            &bias_elements, sizeof bias_elements),
             op);
  void* into =
      dispatch_any(dtype, [&](auto zero) -> void* { return y.mutable_data<decltype(zero)>(); });
  const float one = 1, zero = 0;
  Begun begun(op, device);
  check_blas(
      cublasLtMatmul(lt, plan.how, &one, elements(weight), plan.weight, elements(x), plan.x, &zero,
                     into, plan.y, into, plan.y, &plan.algorithm, handle.workspace->data(),
                     kWorkspaceBytes, static_cast<cudaStream_t>(stream(device))),
      op);
  begun.finish();
  return true;
}

}  // namespace vla::cuda
