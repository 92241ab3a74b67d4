#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

constexpr int kMostSlices = 4;  // of 16 value features, in a block
constexpr int kLoaders = 128;   // threads that bring chunks
constexpr int kScanThreads = kMostSlices * kWarp + kLoaders;
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
__device__ void load_inverse(const Team& team, const Scan<T>& scan,
                             const Split<parts, kChunk>& into, Index number) {
  const auto from = [&](int part) {
    return rows_of_matrix(scan.inverses, number * kStoredParts<T> + part, kChunk, kChunk);
  };
  if constexpr (kStoredParts<T> == 1) {
    begin_load(team, into, from(0), kChunk);
  } else {
#pragma unroll
    for (int part = 0; part < kStoredParts<T>; ++part)
      begin_load(team, Split<1, kChunk>{into.at(part, 0, 0), 0}, from(part), kChunk);
  }
}

// Begins to bring a chunk to a stage.
template <class T, int n, bool backward>
__device__ void load_stage(const Team& team, const Scan<T>& scan,
                           const Stage<T, n, backward>& stage, Chunk at, int chunks,
                           int first_value, int slices) {
  const DeltaRuleSizes& sizes = scan.n;
  const auto keys = [&](const T* x) { return rows_of_chunk(sizes, x, sizes.key, at); };
  if (scan.a) begin_load(team, stage.a, keys(scan.a), kChunk);
  if (scan.inverses) load_inverse(team, scan, stage.inverse, Index(at.head) * chunks + at.chunk);
  if (scan.b) begin_load(team, stage.b, keys(scan.b), kChunk);
  if (backward) begin_load(team, stage.z, keys(scan.z), kChunk);
  if constexpr (kIsNarrow<T>) {
    const auto values = [&](const T* x) { return rows_of_chunk(sizes, x, sizes.value, at); };
    begin_load(team, stage.x, values(scan.x), kChunk, first_value, slices * kSide);
    if (backward) begin_load(team, stage.y, values(scan.y), kChunk, first_value, slices * kSide);
  }
}

// A chunk of the scan, for the 16 rows of S from `row` on, which are slice `slice` of the block.
template <class T, int n, bool backward>
__device__ void advance(const Scan<T>& scan, const Stage<T, n, backward>& stage, Chunk at,
                        Strip<n>& state, int row, int slice) {
  const DeltaRuleSizes& sizes = scan.n;
  const auto of_values = [&](const T* x) {
    return read_transposed<kChunkTiles>(rows_of_chunk(sizes, x, sizes.value, at), row);
  };
  Strip<kChunkTiles> e;
  if constexpr (kIsNarrow<T>) {
#pragma unroll
    for (int j = 0; j < kChunkTiles; ++j)
      e.tiles[j] = load_tile<true>(stage.x, kSide * j, kSide * slice);
  } else {
    e = of_values(scan.x);
  }
  if (scan.a)
#pragma unroll
    for (int p = 0; p < n; ++p) {
      auto left = as_left<kResultParts<T>>(state.tiles[p]);
      if (!backward) left = negative(left);
      add_outer_apart(e, left,
                      [&](int j) { return load_right<true>(stage.a, kSide * j, kSide * p); });
    }
  if (scan.inverses) {
    const Strip<kChunkTiles> residual = e;
    clear(e);
#pragma unroll
    for (int p = 0; p < kChunkTiles; ++p) {
      const auto left = as_left<kResultParts<T>>(residual.tiles[p]);
      if constexpr (backward)
        add_outer_apart(
            e, left, [&](int j) { return load_right<true>(stage.inverse, kSide * j, kSide * p); },
            0, p + 1);
      else
        add_outer_apart(
            e, left, [&](int j) { return load_right(stage.inverse, kSide * p, kSide * j); }, p);
    }
  }
  if (scan.b)
#pragma unroll
    for (int p = 0; p < kChunkTiles; ++p) {
      auto left = as_left<kResultParts<T>>(e.tiles[p]);
      if (backward) left = negative(left);
      add_outer_apart(state, left,
                      [&](int j) { return load_right(stage.b, kSide * p, kSide * j); });
    }
  if constexpr (backward) {
    Left<kExactParts<T>> left[kChunkTiles];
    if constexpr (kIsNarrow<T>) {
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p)
        left[p] = load_left<true>(stage.y, kSide * p, kSide * slice);
    } else {
      const Strip<kChunkTiles> y = of_values(scan.y);
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p) left[p] = as_left<kExactParts<T>>(y.tiles[p]);
    }
#pragma unroll
    for (int p = 0; p < kChunkTiles; ++p)
      add_outer_apart(state, left[p],
                      [&](int j) { return load_right(stage.z, kSide * p, kSide * j); });
  }
  if (scan.errors) write_transposed(e, rows_of_chunk(sizes, scan.errors, sizes.value, at), row);
}

// Blocks (head, group of slices). A warp has 16 rows of S for the whole sequence; more warps bring
// the chunks, because every instruction of the first is in the way of the next chunk.
template <class T, int n, bool backward>
__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const Scan<T> scan, const int slices, const int stages) {
  extern __shared__ __align__(16) unsigned char bytes[];
  using Memory = Stage<T, n, backward>;
  const DeltaRuleSizes& sizes = scan.n;
  const int head = static_cast<int>(blockIdx.x);
  const int chunks = (static_cast<int>(sizes.time) + kChunk - 1) / kChunk;
  const int warp = threadIdx.x / kWarp;
  const int first_value = static_cast<int>(blockIdx.y) * slices * kSide;
  const int row = first_value + warp * kSide;
  const bool loads = warp >= slices, works = !loads && row < sizes.value;
  const Team loaders{static_cast<int>(threadIdx.x) - slices * kWarp, kLoaders};
  const auto chunk_at = [&](int step) { return Chunk{head, backward ? chunks - 1 - step : step}; };
  const auto load = [&](int step) {
    if (loads && step < chunks)
      load_stage(loaders, scan, Memory(bytes + step % stages * Memory::kBytes), chunk_at(step),
                 chunks, first_value, slices);
    close_loads();
  };

  Strip<n> state;
  clear(state);
  if (works && scan.initial)
    state = read_strip<n>(rows_of_matrix(scan.initial, head, sizes.value, sizes.key), row);
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
    const Chunk at = chunk_at(step);
    write_strip(
        state, rows_of_matrix(scan.states, Index(head) * chunks + at.chunk, sizes.value, sizes.key),
        row);
    advance(scan, Memory(bytes + step % stages * Memory::kBytes), at, state, row, warp);
  }
  if (works)
    write_strip(state, rows_of_matrix(scan.final_state, head, sizes.value, sizes.key), row);
}

template <class T, int n, bool backward>
void launch(const Scan<T>& scan, const char* op, Device device) {
  const Index heads = scan.n.batch * scan.n.heads, rows = (scan.n.value + kSide - 1) / kSide;
  const int multiprocessors = properties(device).multiprocessors;
  // As few slices in a block as let all blocks run at once.
  int slices = 1;
  const auto groups = [&] { return (rows + slices - 1) / slices; };
  while (slices < kMostSlices && slices < rows && heads * groups() > multiprocessors) slices *= 2;
  constexpr int kBytes = Stage<T, n, backward>::kBytes;
  int stages = 1;  // float32 is converted on the way, which cannot be begun early
  if constexpr (kIsNarrow<T>) {
    const int room = static_cast<int>(properties(device).shared_bytes);
    const int share = heads * groups() > multiprocessors ? room / 2 - 1024 : room;
    stages = std::clamp(share / kBytes, 1, kMostStages);
  }
  const Grid grid{dim3(static_cast<unsigned>(heads), static_cast<unsigned>(groups())),
                  static_cast<unsigned>(slices * kWarp + kLoaders),
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
