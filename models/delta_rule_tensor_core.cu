#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

// N strictly lower triangular (16, 16): I + N inverted, to (first, first) of `inverse`. By a warp;
// a thread has a column.
template <int parts>
__device__ void invert_diagonal(const float (&below)[kSide][kSide + 1],
                                const Split<parts, kChunk>& inverse, int first) {
  const int column = threadIdx.x % kSide;
  float x[kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i) x[i] = float(i == column);
#pragma unroll
  for (int s = 0; s < kSide; ++s)
#pragma unroll
    for (int i = s + 1; i < kSide; ++i) x[i] -= below[i][s] * x[s];
  if (threadIdx.x % kWarp >= kSide) return;
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    float rest = x[i];
#pragma unroll
    for (int part = 0; part < parts; ++part) {
      const BFloat16 rounded(rest);
      *inverse.at(part, first + i, first + column) = rounded;
      rest -= float(rounded);
    }
  }
}

template <class T, int n>
struct InverseMemory {
  using Wide = Split<kExactParts<T>, kSide * n>;
  using Square = Split<kResultParts<T>, kChunk>;
  static constexpr int kOfKeys = Wide::bytes(kChunk);
  static constexpr int kOfFactor = std::max(kOfKeys, Square::bytes(kChunk));  // at first K
  static constexpr int kBytes = kOfKeys + kOfFactor;
};

// T^T for a chunk, T = (I + tril(K Alpha^T, -1))^-1: the rows of I divided by I + tril(...)
// transposed, a strip by each warp. Substitution within blocks of 16 is in float32, what is between
// them in two parts (float32: three), and so is the result.
template <class T, int n>
__global__ void __launch_bounds__(kChunkThreads)
    inverse_kernel(const DeltaRuleSizes sizes, const T* k, const T* alpha, T* inverses) {
  extern __shared__ __align__(16) unsigned char bytes[];
  __shared__ float diagonal[kChunkTiles][kSide][kSide + 1];
  using Memory = InverseMemory<T, n>;
  const typename Memory::Wide coefficients{reinterpret_cast<BFloat16*>(bytes),
                                           Memory::Wide::part_elements(kChunk)};
  const typename Memory::Square factor{reinterpret_cast<BFloat16*>(bytes + Memory::kOfKeys),
                                       Memory::Square::part_elements(kChunk)};
  const typename Memory::Wide keys{reinterpret_cast<BFloat16*>(bytes + Memory::kOfKeys),
                                   Memory::Wide::part_elements(kChunk)};
  const Chunk at = chunk_of_block(sizes);
  const Team team{static_cast<int>(threadIdx.x), kChunkThreads};
  const int warp = threadIdx.x / kWarp;
  begin_load(team, keys, rows_of_chunk(sizes, k, sizes.key, at), kChunk);
  begin_load(team, coefficients, rows_of_chunk(sizes, alpha, sizes.key, at), kChunk);
  close_copies();
  wait_for_groups(0);
  __syncthreads();
  Left<kExactParts<T>> left[n];
#pragma unroll
  for (int p = 0; p < n; ++p) left[p] = load_left(keys, kSide * warp, kSide * p);
  __syncthreads();
  for (int j = 0; j <= warp; ++j) {
    Tile tile;
    clear(tile);
#pragma unroll
    for (int p = 0; p < n; ++p)
      multiply(tile, left[p], load_right<true>(coefficients, kSide * j, kSide * p));
    for_tile(tile, [&](int row, int column, float& value) {
      if (j == warp) diagonal[warp][row][column] = value;
      value = -value;
    });
    if (j < warp) store(tile, factor, kSide * warp, kSide * j);
  }
  __syncwarp();
  invert_diagonal(diagonal[warp], factor, kSide * warp);
  __syncthreads();
  Strip<kChunkTiles> inverse;
#pragma unroll
  for (int j = 0; j < kChunkTiles; ++j)
    for_tile(inverse.tiles[j],
             [&](int row, int column, float& value) { value = j == warp && row == column; });
  divide_by_transposed(inverse, factor);
#pragma unroll
  for (int part = 0; part < kStoredParts<T>; ++part) {
    const Rows<T> into =
        rows_of_matrix(inverses, Index(blockIdx.x) * kStoredParts<T> + part, kChunk, kChunk);
    write_strip(inverse, into, kSide * warp);
#pragma unroll
    for (int j = 0; j < kChunkTiles; ++j)
      for_tile(inverse.tiles[j], [](int, int, float& value) { value -= float(T(value)); });
  }
}

template <class T>
void invert(const DeltaRuleTensors& in, Tensor& inverses) {
  with_width(in.n, [&](auto blocks) {
    constexpr int n = decltype(blocks)::value;
    const Grid grid{dim3(static_cast<unsigned>(in.n.batch * in.n.heads * chunks_of(in.n))),
                    kChunkThreads, InverseMemory<T, n>::kBytes};
    Launch("delta_rule", inverses.device())(inverse_kernel<T, n>, grid, in.n, in.key.data<T>(),
                                            in.coefficient.data<T>(), inverses.mutable_data<T>());
  });
}

// Calls function(T{}) for the element types that there are.
template <class Function>
void dispatch(DType dtype, Function&& function) {
  if (dtype == DType::bfloat16)
    function(BFloat16{});
  else
    function(float{});
}

Tensor states_for(const DeltaRuleTensors& in) {
  const DeltaRuleSizes& n = in.n;
  return {{n.batch, n.heads, chunks_of(n), n.value, n.key}, in.query.dtype(), in.query.device()};
}

template <class T>
void forward(const DeltaRuleTensors& in, DeltaRuleForward& out) {
  const Device device = in.query.device();
  const bool has_key = in.key.defined();
  if (has_key) invert<T>(in, out.inverses);
  const T *q = in.query.data<T>(), *alpha = in.coefficient.data<T>();
  Scan<T> scan{.n = in.n,
               .x = in.value.data<T>(),
               .a = data_or_null<T>(in.key),
               .inverses = data_or_null<T>(out.inverses),
               .b = alpha,
               .initial = data_or_null<float>(in.initial_state),
               .errors = has_key ? out.errors.mutable_data<T>() : nullptr,
               .states = out.states.mutable_data<T>(),
               .final_state = out.final_state.mutable_data<float>()};
  launch_scan(scan, false, "delta_rule", device);
  // O = Q S^T + tril(Q Alpha^T) E
  Products<T> products{.n = in.n, .count = 1};
  products.product[0] = Product<T>{.left = q,
                                   .left_has_keys = true,
                                   .states = out.states.data<T>(),
                                   .transposed = true,
                                   .pairs = 1,
                                   .pair = {{.x = alpha, .y = out.errors.data<T>()}},
                                   .out = out.output.mutable_data<T>()};
  launch_products(products, "delta_rule", device);
}

template <class T>
void backward(const DeltaRuleTensors& in, const DeltaRuleForward& kept,
              const DeltaRuleUpstream& upstream, DeltaRuleTensors& out) {
  const Device device = in.query.device();
  const char* op = "delta_rule gradient";
  const bool has_key = in.key.defined();
  const T *q = in.query.data<T>(), *alpha = in.coefficient.data<T>(), *k = data_or_null<T>(in.key);
  const T *e = kept.errors.data<T>(), *g = upstream.output.data<T>();
  // G = triu(Alpha Q^T) dO
  Tensor through_output = empty_like(out.value);
  Products<T> before{.n = in.n, .count = 1};
  before.product[0] = Product<T>{.left = alpha,
                                 .left_has_keys = true,
                                 .pairs = 1,
                                 .pair = {{.x = q, .y = g, .upper = true}},
                                 .out = through_output.mutable_data<T>()};
  launch_products(before, op, device);
  Tensor adjoints = states_for(in);  // D at the end of every chunk
  T* dv = out.value.mutable_data<T>();
  Scan<T> scan{.n = in.n,
               .x = through_output.data<T>(),
               .a = alpha,
               .inverses = data_or_null<T>(kept.inverses),
               .b = k,
               .y = g,
               .z = q,
               .initial = upstream.final_state.data<float>(),
               .errors = dv,
               .states = adjoints.mutable_data<T>(),
               .final_state = out.initial_state.mutable_data<float>()};
  launch_scan(scan, true, op, device);
  // dQ = dO S + tril(dO E^T) Alpha
  Products<T> after{.n = in.n, .count = has_key ? 3 : 2};
  after.product[0] = Product<T>{.left = g,
                                .out_has_keys = true,
                                .states = kept.states.data<T>(),
                                .pairs = 1,
                                .pair = {{.x = e, .y = alpha}},
                                .out = out.query.mutable_data<T>()};
  // dAlpha = E D + triu(E dO^T) Q - triu(E dV^T, 1) K
  after.product[1] =
      Product<T>{.left = e,
                 .out_has_keys = true,
                 .states = adjoints.data<T>(),
                 .pairs = has_key ? 2 : 1,
                 .pair = {{.x = g, .y = q, .upper = true},
                          {.x = dv, .y = k, .upper = true, .strict = true, .negative = true}},
                 .out = out.coefficient.mutable_data<T>()};
  // dK = -(dV S + tril(dV E^T, -1) Alpha)
  if (has_key)
    after.product[2] = Product<T>{.left = dv,
                                  .out_has_keys = true,
                                  .states = kept.states.data<T>(),
                                  .negative = true,
                                  .pairs = 1,
                                  .pair = {{.x = e, .y = alpha, .strict = true, .negative = true}},
                                  .out = out.key.mutable_data<T>()};
  launch_products(after, op, device);
}

}  // namespace

bool has_tensor_core_form(const DeltaRuleSizes& n, DType dtype, Device device) {
  constexpr Index kWidest = 128;
  if (dtype != DType::bfloat16 && dtype != DType::float32) return false;
  if (n.key < 1 || n.value < 1 || std::max(n.key, n.value) > kWidest) return false;
  constexpr Index kMost = std::numeric_limits<int>::max();
  if (n.heads * kWidest > kMost / kChunk || n.time > kMost - kChunk) return false;
  int needed = 0;
  with_width(n, [&](auto blocks) {
    const int width = decltype(blocks)::value;
    needed = dtype == DType::bfloat16
                 ? std::max(scan_bytes<BFloat16>(width), products_bytes<BFloat16>(width))
                 : std::max(scan_bytes<float>(width), products_bytes<float>(width));
  });
  const Properties& properties = cuda::properties(device);
  return properties.major >= 8 && static_cast<std::size_t>(needed) <= properties.shared_bytes;
}

DeltaRuleForward delta_rule_on_tensor_cores(const DeltaRuleTensors& in) {
  const DeltaRuleSizes& n = in.n;
  const DType dtype = in.query.dtype();
  const Device device = in.query.device();
  DeltaRuleForward out;
  out.output = Tensor({n.batch, n.time, n.heads, n.value}, dtype, device);
  out.final_state = Tensor({n.batch, n.heads, n.value, n.key}, DType::float32, device);
  out.states = states_for(in);
  out.errors = in.value;
  if (in.key.defined()) {
    out.errors = empty_like(in.value);
    const Index parts = dtype == DType::bfloat16 ? kStoredParts<BFloat16> : kStoredParts<float>;
    out.inverses =
        Tensor({n.batch, n.heads, chunks_of(n), parts, kMostChunk, kMostChunk}, dtype, device);
  }
  dispatch(dtype, [&](auto zero) { forward<decltype(zero)>(in, out); });
  return out;
}

DeltaRuleTensors delta_rule_adjoint_on_tensor_cores(const DeltaRuleTensors& in,
                                                    const DeltaRuleForward& kept,
                                                    const DeltaRuleUpstream& upstream) {
  DeltaRuleTensors out{.n = in.n};
  out.query = empty_like(in.query);
  out.coefficient = empty_like(in.coefficient);
  out.value = empty_like(in.value);
  if (in.key.defined()) out.key = empty_like(in.key);
  out.initial_state = empty_like(upstream.final_state);
  dispatch(in.query.dtype(), [&](auto zero) { backward<decltype(zero)>(in, kept, upstream, out); });
  return out;
}

}  // namespace vla::cuda
