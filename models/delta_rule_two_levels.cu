#include "models/delta_rule_tensor_core.cuh"

// S P + Q in float32. Errors against float64, T 4096, one head: those of one level (bfloat16 final
// S 6e-6, with 4 different keys 1.6e-5; float32 3e-7 and 1.6e-6).
namespace vla::cuda {
namespace {

// starts (heads, segments, rows, d) <- S where segments begin: from `initial` (heads, rows, d),
// null for 0, on, S <- S P + Q at each, P (heads, segments, d, d), null for I, and Q as wide as
// starts. Blocks (head, row); a thread for each column.
__global__ void chain_kernel(int segments, int rows, int d, const float* initial, const float* p,
                             const float* q, float* starts) {
  extern __shared__ float row[];
  const Index head = blockIdx.x;
  const int r = static_cast<int>(blockIdx.y), column = static_cast<int>(threadIdx.x);
  const auto of = [&](Index segment) {
    return ((head * segments + segment) * rows + r) * d + column;
  };
  float state = initial && column < d ? initial[(head * rows + r) * d + column] : 0;
  for (int segment = 0; segment < segments; ++segment) {
    if (column < d) starts[of(segment)] = row[column] = state;
    __syncthreads();
    if (column < d) {
      float sum = q[of(segment)];
      if (p) {
        const float* own = p + (head * segments + segment) * d * d + column;
#pragma unroll 16
        for (int i = 0; i < d; ++i) sum += row[i] * own[i * d];
      } else {
        sum += state;
      }
      state = sum;
    }
    __syncthreads();
  }
}

// Whether what a chunk adds to S depends on S: otherwise P = I.
template <class T>
bool changes_state(const Scan<T>& scan) {
  return scan.a && scan.b;
}

// How many segments take the least time, counted in chunks that a team scans one after the other.
template <class T>
int segments_of(const Scan<T>& scan, Device device) {
  const Index heads = scan.n.batch * scan.n.heads, chunks = chunks_of(scan.n);
  const Index rows = (scan.n.value + kSide - 1) / kSide;
  const Index more = changes_state(scan) ? (scan.n.key + kSide - 1) / kSide : 0;  // rows of P
  const Index at_once = kSlicesOfTeams * Index(properties(device).multiprocessors);
  const auto waves = [&](Index slices) { return (slices + at_once - 1) / at_once; };
  constexpr Index kMost = 64, kChain = 2, kAround = 16;  // of a segment, and of three more launches
  Index best = 1, least = waves(heads * rows) * chunks;
  for (Index segments = 2; segments <= std::min(kMost, chunks); ++segments) {
    const Index each = (chunks + segments - 1) / segments;
    const Index cost =
        each * (waves(heads * segments * (rows + more)) + waves(heads * segments * rows)) +
        kChain * segments + kAround;
    if (cost < least) {
      least = cost;
      best = segments;
    }
  }
  return static_cast<int>(best);
}

template <class T>
void launch_in_two_levels(const Scan<T>& scan, int segments, bool backward, const char* op,
                          Device device) {
  const DeltaRuleSizes& sizes = scan.n;
  const Index heads = sizes.batch * sizes.heads;
  const auto for_segments = [&](Index rows) {
    return Tensor({heads, segments, rows, sizes.key}, DType::float32, device);
  };
  Tensor q = for_segments(sizes.value), starts = for_segments(sizes.value), p;
  Scan<T> from_zero = scan;
  from_zero.segments = segments;
  from_zero.initial = from_zero.final_state = nullptr;
  from_zero.errors = from_zero.states = nullptr;
  from_zero.ends = q.mutable_data<float>();
  launch_segments(from_zero, backward, op, device);
  if (changes_state(scan)) {
    p = for_segments(sizes.key);
    Scan<T> from_identity = from_zero;
    from_identity.n.value = sizes.key;
    from_identity.x = from_identity.y = nullptr;
    from_identity.from_identity = true;
    from_identity.ends = p.mutable_data<float>();
    launch_segments(from_identity, backward, op, device);
  }
  const auto columns = static_cast<unsigned>((sizes.key + kWarp - 1) / kWarp * kWarp);
  Launch(op, device)(chain_kernel,
                     Grid{dim3(static_cast<unsigned>(heads), static_cast<unsigned>(sizes.value)),
                          columns, columns * sizeof(float)},
                     segments, static_cast<int>(sizes.value), static_cast<int>(sizes.key),
                     scan.initial, p.defined() ? p.data<float>() : nullptr, q.data<float>(),
                     starts.mutable_data<float>());
  Scan<T> from_starts = scan;
  from_starts.segments = segments;
  from_starts.initial = starts.data<float>();
  launch_segments(from_starts, backward, op, device);
}

}  // namespace

template <class T>
void launch_scan(const Scan<T>& scan, bool backward, const char* op, Device device) {
  const int segments = segments_of(scan, device);
  if (segments == 1)
    launch_segments(scan, backward, op, device);
  else
    launch_in_two_levels(scan, segments, backward, op, device);
}

template void launch_scan(const Scan<float>&, bool, const char*, Device);
template void launch_scan(const Scan<BFloat16>&, bool, const char*, Device);

}  // namespace vla::cuda
