#include "models/delta_rule_tensor_core.cuh"

namespace vla::cuda {
namespace {

// A slice is 16 value features: 16 rows of S. A team of warps has it for the whole sequence, each
// with a part of the tokens of a chunk and of the columns of S: four warps where the time of a step
// counts, one where there are so many slices that the traffic in shared memory does.
constexpr int kMostStages = 4;
constexpr int kLoaders = 128;                          // threads that bring chunks
VLA_HOST_DEVICE constexpr int most_slices(int team) {  // of a block
  return team == 4 ? kSlicesOfTeams : 4;
}
VLA_HOST_DEVICE constexpr int most_threads(int team) {
  return most_slices(team) * team * kWarp + kLoaders;
}

// What of one chunk is in shared memory. Slices of X and Y have the block's value features, where
// they come as they are; float32 is read from global memory, as its parts would take too much room.
template <class T, int n, bool backward>
struct Stage {
  using Wide = Split<kExactParts<T>, kSide * n>;
  using Square = Split<kResultParts<T>, kChunk>;
  using Slices = Split<1, most_slices(1) * kSide>;
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

// What the warps of a team tell each other: left operands of a slice. One warp knows them itself.
template <class T, int n, bool backward, int team>
struct Exchange {
  using Results = SharedLefts<kResultParts<T>>;
  using Inputs = SharedLefts<kExactParts<T>>;
  static constexpr int kOfState = Results::bytes(n), kOfTokens = Results::bytes(kChunkTiles);
  static constexpr int kBytes =
      team == 1 ? 0 : kOfState + 2 * kOfTokens + (backward ? Inputs::bytes(kChunkTiles) : 0);
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
    if (scan.x) begin_load(team, stage.x, values(scan.x), kChunk, first_value, slices * kSide);
    if (backward && scan.y)
      begin_load(team, stage.y, values(scan.y), kChunk, first_value, slices * kSide);
  }
}

// Where a warp is: its slice among those of the block, the slice's first row of S, and its number
// in the team.
struct Place {
  int slice, row, number;
};

// A warp's part of n blocks, of tokens or of columns of S: number, number + team, ...
template <int n, int team>
struct Part {
  static constexpr int kCount = (n + team - 1) / team;
  Strip<kCount> strip;

  // Calls work(block, its number among the n).
  template <class Work>
  __device__ void each(const Place& place, Work work) {
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      if (place.number + k * team < n) work(strip.tiles[k], place.number + k * team);
  }
  // Puts this part's left operands where the others of the team find them.
  template <int parts>
  __device__ void tell(const Place& place, const SharedLefts<parts>& lefts) {
    if constexpr (team > 1)
      each(place, [&](const Tile& tile, int j) { lefts.put(j, as_left<parts>(tile)); });
  }
  // Left operand p of the n.
  template <int parts>
  __device__ Left<parts> left(const SharedLefts<parts>& lefts, int p) const {
    if constexpr (team > 1)
      return lefts.get(p);
    else
      return as_left<parts>(strip.tiles[p]);
  }
};

// part += factor times the sum over p < n of left(p) right(p, j), where has(p, j).
template <int chains, int n, int of, int team, class LeftOf, class RightOf, class Has>
__device__ void add_sums(Part<of, team>& part, const Place& place, float factor, LeftOf left,
                         RightOf right, Has has) {
  constexpr int kCount = Part<of, team>::kCount;
  Sums<team == 1 ? 1 : chains> sums[kCount];
#pragma unroll
  for (int p = 0; p < n; ++p)
    add_products(
        sums, left(p), [&](int k) { return right(p, place.number + k * team); },
        [&](int k) { return place.number + k * team < of && has(p, place.number + k * team); });
#pragma unroll
  for (int k = 0; k < kCount; ++k) sums[k].add_to(part.strip.tiles[k], factor);
}

// The scan takes a chunk. The exchange has S before it.
template <class T, int n, bool backward, int team>
__device__ void advance(const Scan<T>& scan, const Stage<T, n, backward>& stage,
                        const Exchange<T, n, backward, team>& exchange, Chunk at,
                        const Place& place, Part<n, team>& state) {
  constexpr int kParts = kResultParts<T>, kInputParts = kExactParts<T>;
  constexpr float kSign = backward ? 1 : -1;
  using Tokens = Part<kChunkTiles, team>;
  const auto always = [](int, int) { return true; };
  const auto wait = [&] {
    if constexpr (team > 1) wait_for_team(1 + place.slice, team * kWarp);
  };
  const auto values_at = [&](auto* x) { return rows_of_chunk(scan.n, x, scan.n.value, at); };
  Tokens e, y;
  e.each(place, [&](Tile& tile, int j) {
    if (!scan.x)
      clear(tile);
    else if constexpr (kIsNarrow<T>)
      tile = load_tile<true>(stage.x, kSide * j, kSide * place.slice);
    else
      tile = read_transposed(values_at(scan.x), kSide * j, place.row);
  });
  if (backward && !kIsNarrow<T> && scan.y) {
    y.each(place, [&](Tile& tile, int j) {
      tile = read_transposed(values_at(scan.y), kSide * j, place.row);
    });
    y.tell(place, exchange.y);
  }
  if (scan.a)
    add_sums<kParts, n>(
        e, place, kSign, [&](int p) { return state.left(exchange.state, p); },
        [&](int p, int j) { return load_right<true>(stage.a, kSide * j, kSide * p); }, always);
  if (scan.inverses) {
    const Tokens residual = e;
    e.tell(place, exchange.residuals);
    wait();
    clear(e.strip);
    add_sums<kParts, kChunkTiles>(
        e, place, 1, [&](int p) { return residual.left(exchange.residuals, p); },
        [&](int p, int j) {
          if constexpr (backward)
            return load_right<true>(stage.inverse, kSide * j, kSide * p);
          else
            return load_right(stage.inverse, kSide * p, kSide * j);
        },
        [](int p, int j) { return backward ? p >= j : p <= j; });
  }
  e.tell(place, exchange.errors);
  wait();
  if (scan.b)
    add_sums<kParts, kChunkTiles>(
        state, place, -kSign, [&](int p) { return e.left(exchange.errors, p); },
        [&](int p, int j) { return load_right(stage.b, kSide * p, kSide * j); }, always);
  if (backward && scan.y)
    add_sums<kInputParts, kChunkTiles>(
        state, place, 1,
        [&](int p) {
          if constexpr (kIsNarrow<T>)
            return load_left<true>(stage.y, kSide * p, kSide * place.slice);
          else
            return y.left(exchange.y, p);
        },
        [&](int p, int j) { return load_right(stage.z, kSide * p, kSide * j); }, always);
  state.tell(place, exchange.state);
  if (scan.errors)
    e.each(place, [&](const Tile& tile, int j) {
      write_transposed(tile, values_at(scan.errors), kSide * j, place.row);
    });
}

// Blocks (head and segment, group of slices). Further warps bring the chunks, because every
// instruction of the others is in the way of the next chunk; teams wait for themselves alone, so
// that loading goes on beside them (for the whole block to meet there made a step longer by half).
// compute-sanitizer's racecheck, which takes a wait of one team for one of the block, reports races
// between loads and reads here that __syncthreads() excludes; with the whole block meeting it
// reports none.
//
// Products of bfloat16: S and E, and what is between them, in two parts (three products with T,
// two with the inputs). Errors are those of what is stored, see kResultParts: 2e-5 for the final S.
template <class T, int n, bool backward, int team>
__global__ void __launch_bounds__(most_threads(team))
    scan_kernel(const Scan<T> scan, const int slices, const int stages) {
  extern __shared__ __align__(16) unsigned char bytes[];
  using Memory = Stage<T, n, backward>;
  using Told = Exchange<T, n, backward, team>;
  const DeltaRuleSizes& sizes = scan.n;
  const int head = static_cast<int>(blockIdx.x) / scan.segments;
  const int segment = static_cast<int>(blockIdx.x) % scan.segments;
  const int chunks = (static_cast<int>(sizes.time) + kChunk - 1) / kChunk;
  const int of_segment = (chunks + scan.segments - 1) / scan.segments;
  const int begin = min(segment * of_segment, chunks), end = min(begin + of_segment, chunks);
  const int warp = threadIdx.x / kWarp, slice = warp / team;
  const int first_value = static_cast<int>(blockIdx.y) * slices * kSide;
  const Place place{slice, first_value + slice * kSide, team == 1 ? 0 : warp % team};
  const bool loads = slice >= slices, works = !loads && place.row < sizes.value;
  const Team loaders{static_cast<int>(threadIdx.x) - slices * team * kWarp, kLoaders};
  const Told exchange(bytes + stages * Memory::kBytes + slice * Told::kBytes);
  const auto load = [&](int step) {
    const Chunk at{head, backward ? chunks - 1 - step : step};
    if (loads && step < end)
      load_stage(loaders, scan, Memory(bytes + step % stages * Memory::kBytes), at, chunks,
                 first_value, slices);
    close_copies();
  };
  Part<n, team> state;
  clear(state.strip);
  if (works && scan.initial)
    state.each(place, [&](Tile& tile, int j) {
      const auto from = rows_of_matrix(scan.initial, blockIdx.x, sizes.value, sizes.key);
      tile = read_strip<1>(from, place.row, kSide * j).tiles[0];
    });
  if (scan.from_identity)
    state.each(place, [&](Tile& tile, int j) {
      for_tile(tile, [&](int row, int column, float& value) {
        value = place.row + row == kSide * j + column;
      });
    });
  if (works) state.tell(place, exchange.state);
  // One turn more at the beginning for each stage but one, so that chunks are loaded in one place.
  for (int step = begin + 1 - stages; step < end; ++step) {
    if (step >= begin && stages > 1) wait_for_groups(stages - 2);
    if (step >= begin) __syncthreads();
    load(step + stages - 1);
    if (step < begin) continue;
    if (stages == 1) {
      wait_for_groups(0);
      __syncthreads();
    }
    if (!works) continue;
    const Chunk at{head, backward ? chunks - 1 - step : step};
    if (scan.states) {
      const auto before =
          rows_of_matrix(scan.states, Index(head) * chunks + at.chunk, sizes.value, sizes.key);
      state.each(place, [&](const Tile& tile, int j) {
        write_strip(Strip<1>{tile}, before, place.row, kSide * j);
      });
    }
    advance(scan, Memory(bytes + step % stages * Memory::kBytes), exchange, at, place, state);
  }
  if (!works) return;
  const auto leave = [&](float* states, Index number) {
    state.each(place, [&](const Tile& tile, int j) {
      write_strip(Strip<1>{tile}, rows_of_matrix(states, number, sizes.value, sizes.key), place.row,
                  kSide * j);
    });
  };
  if (scan.ends) leave(scan.ends, blockIdx.x);
  if (scan.final_state && segment == scan.segments - 1) leave(scan.final_state, head);
}

template <class T, int n, bool backward, int team>
void launch_with(const Scan<T>& scan, const char* op, Device device) {
  const Index heads = scan.n.batch * scan.n.heads * scan.segments;
  const Index rows = (scan.n.value + kSide - 1) / kSide;
  const int multiprocessors = properties(device).multiprocessors;
  const int room = static_cast<int>(properties(device).shared_bytes);
  constexpr int kStage = Stage<T, n, backward>::kBytes;
  constexpr int kExchange = Exchange<T, n, backward, team>::kBytes;
  // As few slices in a block as let all blocks run at once.
  int slices = 1;
  const auto groups = [&] { return (rows + slices - 1) / slices; };
  while (slices < most_slices(team) && slices < rows && heads * groups() > multiprocessors)
    slices *= 2;
  int stages = 1;  // float32 is converted on the way, which cannot be begun early
  if constexpr (kIsNarrow<T>) {
    const int share = heads * groups() > multiprocessors ? room / 2 - 1024 : room;
    stages = std::clamp((share - slices * kExchange) / kStage, 1, kMostStages);
  }
  const Grid grid{dim3(static_cast<unsigned>(heads), static_cast<unsigned>(groups())),
                  static_cast<unsigned>(slices * team * kWarp + kLoaders),
                  static_cast<std::size_t>(stages * kStage + slices * kExchange)};
  Launch(op, device)(scan_kernel<T, n, backward, team>, grid, scan, slices, stages);
}

template <class T, int n, bool backward>
void launch(const Scan<T>& scan, const char* op, Device device) {
  const Index rows = (scan.n.value + kSide - 1) / kSide;
  const Index slices = scan.n.batch * scan.n.heads * scan.segments * rows;
  constexpr int kWithTeams =
      Stage<T, n, backward>::kBytes + most_slices(4) * Exchange<T, n, backward, 4>::kBytes;
  const Properties& device_properties = properties(device);
  const bool room = static_cast<std::size_t>(kWithTeams) <= device_properties.shared_bytes;
  if (room && slices <= most_slices(4) * device_properties.multiprocessors)
    launch_with<T, n, backward, 4>(scan, op, device);
  else
    launch_with<T, n, backward, 1>(scan, op, device);
}

}  // namespace

template <class T>
int scan_bytes(int blocks) {
  return blocks == 8   ? Stage<T, 8, true>::kBytes
         : blocks == 4 ? Stage<T, 4, true>::kBytes
                       : Stage<T, 2, true>::kBytes;
}

template <class T>
void launch_segments(const Scan<T>& scan, bool backward, const char* op, Device device) {
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
template void launch_segments(const Scan<float>&, bool, const char*, Device);
template void launch_segments(const Scan<BFloat16>&, bool, const char*, Device);

}  // namespace vla::cuda
