#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

template <class T, int n>
struct ProductsMemory {
  using Wide = Split<kExactParts<T>, kSide * n>;
  static constexpr int kOfTokens = Wide::bytes(kChunk);
  static constexpr int kRows = n < kChunkTiles ? kChunk : kSide * n;
  static constexpr int kBytes = 2 * kOfTokens + Wide::bytes(kRows);
  Wide x, y, m;  // m: at first the left factor

  __device__ explicit ProductsMemory(unsigned char* bytes)
      : x{reinterpret_cast<BFloat16*>(bytes), Wide::part_elements(kChunk)},
        y{reinterpret_cast<BFloat16*>(bytes + kOfTokens), Wide::part_elements(kChunk)},
        m{reinterpret_cast<BFloat16*>(bytes + 2 * kOfTokens), Wide::part_elements(kRows)} {}
};

// What is left of a block on the diagonal.
__device__ void mask_diagonal(Tile& tile, bool upper, bool strict) {
  for_tile(tile, [&](int i, int j, float& value) {
    if (i == j ? strict : upper == (i > j)) value = 0;
  });
}

// out += mask(left X^T) Y for this warp's strip of tokens.
template <class T, int n>
__device__ void add_masked(Strip<n>& out, const Left<kExactParts<T>> (&left)[n],
                           const ProductsMemory<T, n>& memory, bool upper, bool strict,
                           bool negated) {
  const int warp = threadIdx.x / kWarp;
  for (int j = upper ? warp : 0; j < (upper ? kChunkTiles : warp + 1); ++j) {
    Tile tile;
    clear(tile);
#pragma unroll
    for (int p = 0; p < n; ++p)
      multiply(tile, left[p], load_right<true>(memory.x, kSide * j, kSide * p));
    if (j == warp) mask_diagonal(tile, upper, strict);
    Left<kResultParts<T>> masked = as_left<kResultParts<T>>(tile);
    if (negated) masked = negative(masked);
    add_outer(out, masked, [&](int i) { return load_right(memory.y, kSide * j, kSide * i); });
  }
}

// A block for a head, a chunk, and a product. bfloat16: left, X, Y and M have one part, what the
// mask leaves two. Errors of O, dQ and dAlpha for random keys 3e-3, of dK 3.3e-3, of which 1.7e-3
// is the rounding of the result; for 4 different keys in 4096 tokens 5.3e-3 and 7.3e-3, which are
// those of E and dV as they are stored. float32: three parts, 2.5e-6 at most.
template <class T, int n>
__global__ void __launch_bounds__(kChunkThreads) products_kernel(const Products<T> products) {
  extern __shared__ __align__(16) unsigned char bytes[];
  const ProductsMemory<T, n> memory(bytes);
  const DeltaRuleSizes& sizes = products.n;
  const Product<T>& product = products.product[blockIdx.y];
  const Chunk at = chunk_of_block(sizes);
  const int row = threadIdx.x / kWarp * kSide;
  const Index left_width = product.left_has_keys ? sizes.key : sizes.value;
  const Index out_width = product.out_has_keys ? sizes.key : sizes.value;
  const Team team{static_cast<int>(threadIdx.x), kChunkThreads};
  const auto load_pair = [&](int i) {
    begin_load(team, memory.x, rows_of_chunk(sizes, product.pair[i].x, left_width, at), kChunk);
    begin_load(team, memory.y, rows_of_chunk(sizes, product.pair[i].y, out_width, at), kChunk);
  };
  begin_load(team, memory.m, rows_of_chunk(sizes, product.left, left_width, at), kChunk);
  close_copies();
  load_pair(0);
  close_copies();
  wait_for_groups(1);
  __syncthreads();
  Left<kExactParts<T>> left[n];
#pragma unroll
  for (int p = 0; p < n; ++p) left[p] = load_left(memory.m, row, kSide * p);
  __syncthreads();
  if (product.states)
    begin_load(team, memory.m, rows_of_matrix(product.states, blockIdx.x, sizes.value, sizes.key),
               kSide * n);
  close_copies();
  Strip<n> out;
  clear(out);
  for (int i = 0; i < product.pairs; ++i) {
    wait_for_groups(i == 0 ? 1 : 0);
    __syncthreads();
    add_masked(out, left, memory, product.pair[i].upper, product.pair[i].strict,
               product.pair[i].negative);
    if (i + 1 < product.pairs) {
      __syncthreads();
      load_pair(i + 1);
      close_copies();
    }
    if (i == 0 && product.states) {
      wait_for_groups(product.pairs > 1 ? 1 : 0);
      __syncthreads();
#pragma unroll
      for (int p = 0; p < n; ++p) {
        const auto operand = product.negative ? negative(left[p]) : left[p];
        if (product.transposed)
          add_outer(out, operand,
                    [&](int j) { return load_right<true>(memory.m, kSide * j, kSide * p); });
        else
          add_outer(out, operand,
                    [&](int j) { return load_right(memory.m, kSide * p, kSide * j); });
      }
    }
  }
  write_strip(out, rows_of_chunk(sizes, product.out, out_width, at), row);
}

}  // namespace

template <class T>
int products_bytes(int blocks) {
  return blocks == 8   ? ProductsMemory<T, 8>::kBytes
         : blocks == 4 ? ProductsMemory<T, 4>::kBytes
                       : ProductsMemory<T, 2>::kBytes;
}

template <class T>
void launch_products(const Products<T>& products, const char* op, Device device) {
  const DeltaRuleSizes& sizes = products.n;
  with_width(sizes, [&](auto blocks) {
    constexpr int n = decltype(blocks)::value;
    const Grid grid{dim3(static_cast<unsigned>(sizes.batch * sizes.heads * chunks_of(sizes)),
                         static_cast<unsigned>(products.count)),
                    kChunkThreads, ProductsMemory<T, n>::kBytes};
    Launch(op, device)(products_kernel<T, n>, grid, products);
  });
}

template int products_bytes<float>(int);
template int products_bytes<BFloat16>(int);
template void launch_products(const Products<float>&, const char*, Device);
template void launch_products(const Products<BFloat16>&, const char*, Device);

}  // namespace vla::cuda
