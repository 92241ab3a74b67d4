#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

// A slice is 16 value features: 16 rows of S. A team of four warps has it for the whole sequence,
// each with a quarter of the tokens of a chunk and of the columns of S.
constexpr int kMostSlices = 4;  // of a block
constexpr int kTeamWarps = kChunkTiles, kTeamThreads = kTeamWarps * kWarp;
constexpr int kLoaders = 128;  // threads that bring chunks
constexpr int kScanThreads = kMostSlices * kTeamThreads + kLoaders;
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

// What the warps of a team tell each other: left operands of a slice.
template <class T, int n, bool backward>
struct Exchange {
  using Results = SharedLefts<kResultParts<T>>;
  using Inputs = SharedLefts<kExactParts<T>>;
  static constexpr int kOfState = Results::bytes(n), kOfTokens = Results::bytes(kChunkTiles);
  static constexpr int kBytes =
      kOfState + 2 * kOfTokens + (backward ? Inputs::bytes(kChunkTiles) : 0);
  Results state, residuals, errors;
  Inputs y;

  __device__ explicit Exchange(unsigned char* bytes)
      : state{reinterpret_cast<uint4*>(bytes)},
        residuals{reinterpret_cast<uint4*>(bytes + kOfState)},
        errors{reinterpret_cast<uint4*>(bytes + kOfState + kOfTokens)},
        y{reinterpret_cast<uint4*>(bytes + kOfState + 2 * kOfTokens)} {}
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

// A warp's columns of S, in blocks: number, number + 4, ...
template <int n>
using Columns = Strip<(n + kTeamWarps - 1) / kTeamWarps>;
// Calls work(block of the state, its number) for a warp's columns.
template <int n, class Work>
__device__ void for_columns(Columns<n>& state, int number, Work work) {
#pragma unroll
  for (int k = 0; k < (n + kTeamWarps - 1) / kTeamWarps; ++k)
    if (number + k * kTeamWarps < n) work(state.tiles[k], number + k * kTeamWarps);
}

// Where a warp is: its slice among those of the block, the slice's first row of S, and its number
// in the team.
struct Place {
  int slice, row, number;
};

// The scan takes a chunk. The exchange has S before it.
template <class T, int n, bool backward>
__device__ void advance(const Scan<T>& scan, const Stage<T, n, backward>& stage,
                        const Exchange<T, n, backward>& exchange, Chunk at, const Place& place,
                        Columns<n>& state) {
  constexpr int kParts = kResultParts<T>, kSign = backward ? 1 : -1;
  const DeltaRuleSizes& sizes = scan.n;
  const int token = kSide * place.number;
  const auto values_at = [&](auto* x) { return rows_of_chunk(sizes, x, sizes.value, at); };
  Tile e;
  if constexpr (kIsNarrow<T>)
    e = load_tile<true>(stage.x, token, kSide * place.slice);
  else
    e = read_transposed(values_at(scan.x), token, place.row);
  if constexpr (backward) {
    if constexpr (kIsNarrow<T>)
      exchange.y.put(place.number, load_left<true>(stage.y, token, kSide * place.slice));
    else
      exchange.y.put(place.number,
                     as_left<kExactParts<T>>(read_transposed(values_at(scan.y), token, place.row)));
  }
  if (scan.a) {
    Sums<kParts> sums;
#pragma unroll
    for (int p = 0; p < n; ++p)
      sums.add(exchange.state.get(p), load_right<true>(stage.a, token, kSide * p));
    sums.add_to(e, kSign);
  }
  if (scan.inverses) {
    exchange.residuals.put(place.number, as_left<kParts>(e));
    wait_for_team(1 + place.slice, kTeamThreads);
    Sums<kParts> sums;
#pragma unroll
    for (int p = 0; p < kChunkTiles; ++p) {
      if constexpr (backward) {
        if (p >= place.number)
          sums.add(exchange.residuals.get(p), load_right<true>(stage.inverse, token, kSide * p));
      } else {
        if (p <= place.number)
          sums.add(exchange.residuals.get(p), load_right(stage.inverse, kSide * p, token));
      }
    }
    clear(e);
    sums.add_to(e, 1);
  }
  exchange.errors.put(place.number, as_left<kParts>(e));
  wait_for_team(1 + place.slice, kTeamThreads);
  for_columns<n>(state, place.number, [&](Tile& tile, int j) {
    if (scan.b) {
      Sums<kParts> sums;
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p)
        sums.add(exchange.errors.get(p), load_right(stage.b, kSide * p, kSide * j));
      sums.add_to(tile, -kSign);
    }
    if constexpr (backward) {
      Sums<kExactParts<T>> sums;
#pragma unroll
      for (int p = 0; p < kChunkTiles; ++p)
        sums.add(exchange.y.get(p), load_right(stage.z, kSide * p, kSide * j));
      sums.add_to(tile, 1);
    }
    exchange.state.put(j, as_left<kParts>(tile));
  });
  if (scan.errors) write_transposed(e, values_at(scan.errors), token, place.row);
}

// Blocks (head, group of slices). S is never written but to `states`; what warps need of each other
// goes through the exchange. Further warps bring the chunks, because every instruction of the
// others is in the way of the next chunk.
template <class T, int n, bool backward>
__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const Scan<T> scan, const int slices, const int stages) {
  extern __shared__ __align__(16) unsigned char bytes[];
  using Memory = Stage<T, n, backward>;
  using Team4 = Exchange<T, n, backward>;
  const DeltaRuleSizes& sizes = scan.n;
  const int head = static_cast<int>(blockIdx.x);
  const int chunks = (static_cast<int>(sizes.time) + kChunk - 1) / kChunk;
  const int warp = threadIdx.x / kWarp, slice = warp / kTeamWarps;
  const int first_value = static_cast<int>(blockIdx.y) * slices * kSide;
  const Place place{slice, first_value + slice * kSide, warp % kTeamWarps};
  const bool loads = slice >= slices, works = !loads && place.row < sizes.value;
  const Team loaders{static_cast<int>(threadIdx.x) - slices * kTeamThreads, kLoaders};
  const Team4 exchange(bytes + stages * Memory::kBytes + slice * Team4::kBytes);
  const auto chunk_at = [&](int step) { return Chunk{head, backward ? chunks - 1 - step : step}; };
  const auto load = [&](int step) {
    if (loads && step < chunks)
      load_stage(loaders, scan, Memory(bytes + step % stages * Memory::kBytes), chunk_at(step),
                 chunks, first_value, slices);
    close_loads();
  };
  Columns<n> state;
  clear(state);
  for (int step = 0; step + 1 < stages; ++step) load(step);
  if (works)
    for_columns<n>(state, place.number, [&](Tile& tile, int j) {
      if (scan.initial)
        tile = read_strip<1>(rows_of_matrix(scan.initial, head, sizes.value, sizes.key), place.row,
                             kSide * j)
                   .tiles[0];
      exchange.state.put(j, as_left<kResultParts<T>>(tile));
    });
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
    const Rows<T> before =
        rows_of_matrix(scan.states, Index(head) * chunks + at.chunk, sizes.value, sizes.key);
    for_columns<n>(state, place.number, [&](Tile& tile, int j) {
      write_strip(Strip<1>{tile}, before, place.row, kSide * j);
    });
    advance(scan, Memory(bytes + step % stages * Memory::kBytes), exchange, at, place, state);
  }
  if (works)
    for_columns<n>(state, place.number, [&](Tile& tile, int j) {
      write_strip(Strip<1>{tile}, rows_of_matrix(scan.final_state, head, sizes.value, sizes.key),
                  place.row, kSide * j);
    });
}

template <class T, int n, bool backward>
void launch(const Scan<T>& scan, const char* op, Device device) {
  const Index heads = scan.n.batch * scan.n.heads, rows = (scan.n.value + kSide - 1) / kSide;
  const int multiprocessors = properties(device).multiprocessors;
  constexpr int kStage = Stage<T, n, backward>::kBytes;
  constexpr int kExchange = Exchange<T, n, backward>::kBytes;
  const int room = static_cast<int>(properties(device).shared_bytes);
  // As few slices in a block as let all blocks run at once.
  int slices = 1;
  const auto groups = [&] { return (rows + slices - 1) / slices; };
  while (slices < kMostSlices && slices < rows && heads * groups() > multiprocessors &&
         kStage + 2 * slices * kExchange <= room)
    slices *= 2;
  int stages = 1;  // float32 is converted on the way, which cannot be begun early
  if constexpr (kIsNarrow<T>) {
    const int share = heads * groups() > multiprocessors ? room / 2 - 1024 : room;
    stages = std::clamp((share - slices * kExchange) / kStage, 1, kMostStages);
  }
  const Grid grid{dim3(static_cast<unsigned>(heads), static_cast<unsigned>(groups())),
                  static_cast<unsigned>(slices * kTeamThreads + kLoaders),
                  static_cast<std::size_t>(stages * kStage + slices * kExchange)};
  Launch(op, device)(scan_kernel<T, n, backward>, grid, scan, slices, stages);
}

}  // namespace

template <class T>
int scan_bytes(int blocks) {
  const auto bytes = [](auto stage, auto exchange) {
    return decltype(stage)::type::kBytes + decltype(exchange)::type::kBytes;
  };
  const auto of = [&](auto n) {
    return bytes(std::type_identity<Stage<T, decltype(n)::value, true>>(),
                 std::type_identity<Exchange<T, decltype(n)::value, true>>());
  };
  return blocks == 8   ? of(std::integral_constant<int, 8>())
         : blocks == 4 ? of(std::integral_constant<int, 4>())
                       : of(std::integral_constant<int, 2>());
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
