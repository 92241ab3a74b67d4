#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

constexpr int kMostSlices = 4;  // of 16 value features, in a block
constexpr int kScanThreads = kMostSlices * kWarp;
constexpr int kMostStages = 4;

// What of one chunk is in shared memory. Slices of X and Y have the block's value features, where
// they come as they are; float32 is read from global memory, as its parts would take too much room.
template <class T, int n, bool backward>
struct Stage {
  using Wide = Split<kExactParts<T>, kSide * n>;
  using Square = Split<kResultParts<T>, kChunk>;
  using Slices = Split<1, kMostSlices * kSide>;
  static constexpr int kOfKeys = Wide::bytes(kChunk), kOfSquare = Square::bytes(kChunk);
  static constexpr int kOfSlices = kIsNarrow<T> ? Slices::bytes(kChunk) : 0;
  static constexpr int kBytes =
      kOfSquare + (backward ? 3 : 2) * kOfKeys + (backward ? 2 : 1) * kOfSlices;
  Square inverse;
  Wide a, b, z;
  Slices x, y;

  __device__ explicit Stage(unsigned char* bytes) {
    const auto take = [&](auto& matrix, int size) {
      matrix.data = reinterpret_cast<BFloat16*>(bytes);
      matrix.part_size = matrix.part_elements(kChunk);
      bytes += size;
    };
    take(inverse, kOfSquare);
    take(a, kOfKeys);
    take(b, kOfKeys);
    if (backward) take(z, kOfKeys);
    take(x, kOfSlices);
    if (backward) take(y, kOfSlices);
  }
};

template <class T, int parts>
__device__ void load_inverse(const Scan<T>& scan, const Split<parts, kChunk>& into, Index number) {
  const auto from = [&](int part) {
    return rows_of_matrix(scan.inverses, number * kStoredParts<T> + part, kChunk, kChunk);
  };
  if constexpr (kStoredParts<T> == 1) {
    begin_load(into, from(0), kChunk);
  } else {
#pragma unroll
    for (int part = 0; part < kStoredParts<T>; ++part)
      begin_load(Split<1, kChunk>{into.at(part, 0, 0), 0}, from(part), kChunk);
  }
}

// Begins to bring a chunk to a stage; by all threads of the block.
template <class T, int n, bool backward>
__device__ void load_stage(const Scan<T>& scan, const Stage<T, n, backward>& stage, Index head,
                           Index chunk, Index chunks, int first_value, int slices) {
  const DeltaRuleSizes& sizes = scan.n;
  const auto keys = [&](const T* x) { return rows_of_chunk(sizes, x, sizes.key, head, chunk); };
  if (scan.a) begin_load(stage.a, keys(scan.a), kChunk);
  if (scan.inverses) load_inverse(scan, stage.inverse, head * chunks + chunk);
  if (scan.b) begin_load(stage.b, keys(scan.b), kChunk);
  if (backward) begin_load(stage.z, keys(scan.z), kChunk);
  if constexpr (kIsNarrow<T>) {
    const auto values = [&](const T* x) {
      return rows_of_chunk(sizes, x, sizes.value, head, chunk);
    };
    begin_load(stage.x, values(scan.x), kChunk, first_value, slices * kSide);
    if (backward) begin_load(stage.y, values(scan.y), kChunk, first_value, slices * kSide);
  }
}

// Blocks (head, group of slices); a warp has 16 rows of S for the whole sequence, the warps beyond
// the block's slices only help to load.
template <class T, int n, bool backward>
__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const Scan<T> scan, const int slices, const int stages) {
  extern __shared__ __align__(16) unsigned char bytes[];
  using Memory = Stage<T, n, backward>;
  const DeltaRuleSizes& sizes = scan.n;
  const Index head = blockIdx.x;
  const int chunks = static_cast<int>((sizes.time + kChunk - 1) / kChunk);
  const int warp = threadIdx.x / kWarp;
  const int first_value = static_cast<int>(blockIdx.y) * slices * kSide;
  const int row = first_value + warp * kSide;
  const bool works = warp < slices && row < sizes.value;
  const auto chunk_at = [&](int step) { return backward ? chunks - 1 - step : step; };
  const auto load = [&](int step) {
    if (step < chunks)
      load_stage(scan, Memory(bytes + step % stages * Memory::kBytes), head, chunk_at(step), chunks,
                 first_value, slices);
    close_loads();
  };

  Strip<n> state;
  clear(state);
  if (works && scan.initial) {
    const Rows<const float> initial = rows_of_matrix(scan.initial, head, sizes.value, sizes.key);
#pragma unroll
    for (int j = 0; j < n; ++j) state.tiles[j] = read_tile(initial, row, kSide * j);
  }
  for (int step = 0; step + 1 < stages; ++step) load(step);
  for (int step = 0; step < chunks; ++step) {
    if (stages > 1) {
      wait_for_loads(stages - 2);
      __syncthreads();
      load(step + stages - 1);
    } else {
      __syncthreads();
      load(step);
      wait_for_loads(0);
      __syncthreads();
    }
    if (!works) continue;
    const Memory stage(bytes + step % stages * Memory::kBytes);
    const Index chunk = chunk_at(step);
    const Rows<T> before =
        rows_of_matrix(scan.states, head * chunks + chunk, sizes.value, sizes.key);
#pragma unroll
    for (int j = 0; j < n; ++j) write_tile(state.tiles[j], before, row, kSide * j);

    Strip<kChunkTiles> e;
#pragma unroll
    for (int j = 0; j < kChunkTiles; ++j)
      if constexpr (kIsNarrow<T>)
        e.tiles[j] = load_tile<true>(stage.x, kSide * j, kSide * warp);
      else
        e.tiles[j] =
            read_transposed(rows_of_chunk(sizes, scan.x, sizes.value, head, chunk), kSide * j, row);
    if (scan.a)
#pragma unroll
      for (int p = 0; p < n; ++p) {
        auto left = as_left<kResultParts<T>>(state.tiles[p]);
        if (!backward) left = negative(left);
        add_outer(e, left, [&](int j) { return load_right<true>(stage.a, kSide * j, kSide * p); });
      }
    if (scan.inverses) {
      const Strip<kChunkTiles> residual = e;
      clear(e);
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p) {
        const auto left = as_left<kResultParts<T>>(residual.tiles[p]);
        if constexpr (backward)
          add_outer(
              e, left, [&](int j) { return load_right<true>(stage.inverse, kSide * j, kSide * p); },
              0, p + 1);
        else
          add_outer(
              e, left, [&](int j) { return load_right(stage.inverse, kSide * p, kSide * j); }, p);
      }
    }
    if (scan.b)
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p) {
        auto left = as_left<kResultParts<T>>(e.tiles[p]);
        if (backward) left = negative(left);
        add_outer(state, left, [&](int j) { return load_right(stage.b, kSide * p, kSide * j); });
      }
    if constexpr (backward) {
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p) {
        Left<kExactParts<T>> left;
        if constexpr (kIsNarrow<T>)
          left = load_left<true>(stage.y, kSide * p, kSide * warp);
        else
          left = as_left<kExactParts<T>>(read_transposed(
              rows_of_chunk(sizes, scan.y, sizes.value, head, chunk), kSide * p, row));
        add_outer(state, left, [&](int j) { return load_right(stage.z, kSide * p, kSide * j); });
      }
    }
    if (scan.errors) {
      const Rows<T> into = rows_of_chunk(sizes, scan.errors, sizes.value, head, chunk);
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p) write_transposed(e.tiles[p], into, kSide * p, row);
    }
  }
  wait_for_loads(0);
  if (!works) return;
  const Rows<float> into = rows_of_matrix(scan.final_state, head, sizes.value, sizes.key);
#pragma unroll
  for (int j = 0; j < n; ++j) write_tile(state.tiles[j], into, row, kSide * j);
}

template <class T, int n, bool backward>
void launch(const Scan<T>& scan, const char* op, Device device) {
  const Index heads = scan.n.batch * scan.n.heads, rows = (scan.n.value + kSide - 1) / kSide;
  const int multiprocessors = properties(device).multiprocessors;
  // As many blocks as there are multiprocessors, if need be of fewer slices each.
  Index slices = kMostSlices;
  const auto groups = [&] { return (rows + slices - 1) / slices; };
  while (slices > 1 && (heads * groups() < multiprocessors || slices >= 2 * rows)) slices /= 2;
  constexpr int kBytes = Stage<T, n, backward>::kBytes;
  int stages = 1;  // float32 is converted on the way, which cannot be begun early
  if constexpr (kIsNarrow<T>) {
    const int room = static_cast<int>(properties(device).shared_bytes);
    const int share = heads * groups() > multiprocessors ? room / 2 - 1024 : room;
    stages = std::clamp(share / kBytes, 1, kMostStages);
  }
  const Grid grid{dim3(static_cast<unsigned>(heads), static_cast<unsigned>(groups())), kScanThreads,
                  static_cast<std::size_t>(stages * kBytes)};
  Launch(op, device)(scan_kernel<T, n, backward>, grid, scan, slices, stages);
}

}  // namespace

template <class T>
int scan_bytes(int blocks) {
  return blocks == 8   ? Stage<T, 8, true>::kBytes
         : blocks == 4 ? Stage<T, 4, true>::kBytes
                       : Stage<T, 2, true>::kBytes;
}

template <class T>
void launch_scan(const Scan<T>& scan, bool backward, const char* op, Device device) {
  with_width(scan.n, [&](auto blocks) {
    constexpr int n = decltype(blocks)::value;
    if (backward)
      launch<T, n, true>(scan, op, device);
    else
      launch<T, n, false>(scan, op, device);
  });
}

template int scan_bytes<float>(int);
template int scan_bytes<BFloat16>(int);
template void launch_scan(const Scan<float>&, bool, const char*, Device);
template void launch_scan(const Scan<BFloat16>&, bool, const char*, Device);

}  // namespace vla::cuda
