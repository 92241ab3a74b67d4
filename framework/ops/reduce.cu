#include "framework/cuda/columns.cuh"

namespace vla::cuda {
namespace {

// --- sums and maxima ----------------------------------------------------------------------------

// The runs are cut into segments, the last of which may be shorter: the threads of a segment write
// one result, and results of several segments are folded again. The cut depends on sizes alone.
struct Cut {
  Index length, segment, segments;
};

Cut cut_run(Index length, Index wanted, Index least, Index most) {
  const Index segment = std::clamp(wanted, least, most);
  return {length, segment, std::max<Index>(1, parts_of(length, segment))};
}

template <class Fold>
struct Folding {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return Fold::fold(a, b);
  }
};

// Of runs whose elements are neighbours: y (outer, segments). A team folds one segment.
template <class Fold, class In, class Out, int team, int size>
__global__ void fold_rows_kernel(const In* x, Index outer, Cut cut, Out* y) {
  using A = Accumulated<In>;
  const Index item = Index(blockIdx.x) * (kThreads / team) + threadIdx.x / team;
  if (item >= outer * cut.segments) return;
  const int lane = threadIdx.x % team;
  const Index begin = item % cut.segments * cut.segment;
  const Index end = std::min(cut.length, begin + cut.segment);
  const In* run = x + item / cut.segments * cut.length;
  A parts[size];
#pragma unroll
  for (int j = 0; j < size; ++j) parts[j] = A(Fold::start);
  for (Index i = begin + Index(lane) * size; i < end; i += team * size) {
    const auto piece = read_piece<size>(run + i);
#pragma unroll
    for (int j = 0; j < size; ++j) parts[j] = Fold::fold(parts[j], widened(piece.elements[j]));
  }
#pragma unroll
  for (int j = 1; j < size; ++j) parts[0] = Fold::fold(parts[0], parts[j]);
  const A result = combine_team<team>(parts[0], Folding<Fold>());
  if (lane == 0) y[item] = Out(result);
}

// Of runs that lie side by side: y (outer, segments, inner). A block folds one segment of some
// columns; see Tiling.
template <class Fold, class In, class Out, int size>
__global__ void fold_columns_kernel(const In* x, Index inner, Cut cut, int column_threads,
                                    Index tiles, Out* y) {
  using A = Accumulated<In>;
  const int row_thread = threadIdx.x / column_threads;
  const Index column =
      (Index(blockIdx.x) % tiles * column_threads + threadIdx.x % column_threads) * size;
  const Index item = Index(blockIdx.x) / tiles;
  const Index begin = item % cut.segments * cut.segment;
  const Index end = std::min(cut.length, begin + cut.segment);
  const In* run = x + item / cut.segments * cut.length * inner + column;
  A parts[size];
#pragma unroll
  for (int j = 0; j < size; ++j) parts[j] = A(Fold::start);
  if (column < inner) {
#pragma unroll 4
    for (Index row = begin + row_thread; row < end; row += kThreads / column_threads) {
      const auto piece = read_piece<size>(run + row * inner);
#pragma unroll
      for (int j = 0; j < size; ++j) parts[j] = Fold::fold(parts[j], widened(piece.elements[j]));
    }
  }
  combine_column(parts, column_threads, Folding<Fold>());
  if (row_thread == 0 && column < inner)
    for (int j = 0; j < size; ++j) y[item * inner + column + j] = Out(parts[j]);
}

template <class Fold, class In, class Out>
void fold_rows(const Tensor& x, const FoldRun& run, const Cut& cut, Tensor& y) {
  const Launch launch(Fold::name, x.device());
  const Index items = run.outer * cut.segments;
  // Segments are whole numbers of packs if runs are: see cut_for.
  with_piece_size<In>(run.length, [&](auto size) {
    if (run.length <= 1024)
      launch(fold_rows_kernel<Fold, In, Out, kWarp, size>, grid_for(items * kWarp), x.data<In>(),
             run.outer, cut, y.mutable_data<Out>());
    else
      launch(fold_rows_kernel<Fold, In, Out, kThreads, size>, grid_for(items * kThreads),
             x.data<In>(), run.outer, cut, y.mutable_data<Out>());
  });
}

template <class Fold, class In, class Out>
void fold_columns(const Tensor& x, const FoldRun& run, const Cut& cut, Tensor& y) {
  with_piece_size<In>(run.inner, [&](auto size) {
    const Tiling by = tiling(run.inner / size);
    const Index blocks = run.outer * cut.segments * by.tiles;
    Launch(Fold::name, x.device())(fold_columns_kernel<Fold, In, Out, size>,
                                   grid_for(blocks * kThreads), x.data<In>(), run.inner, cut,
                                   by.column_threads, by.tiles, y.mutable_data<Out>());
  });
}

// Segments are short enough that no thread adds up more than 128 elements in a float.
Cut cut_for(const Tensor& x, const FoldRun& run) {
  if (run.inner == 1) {
    const Index wanted = parts_of(run.outer * run.length, kWantedBlocks);
    return cut_run(run.length, parts_of(wanted, 8) * 8, 1 << 12, 1 << 15);
  }
  const Index pack = 16 / static_cast<Index>(element_bytes(x.dtype()));
  const Tiling by = tiling(run.inner % pack == 0 ? run.inner / pack : run.inner);
  const Index rows = by.row_threads();
  return cut_run(run.length, parts_of(run.outer * run.length * by.tiles, kWantedBlocks), 8 * rows,
                 128 * rows);
}

template <class Fold>
void fold_run(const Tensor& x, const FoldRun& run, Tensor& y) {
  const Cut cut = cut_for(x, run);
  Tensor parts = y;
  if (cut.segments > 1)
    parts = Tensor({run.outer, cut.segments, run.inner}, DType::float64, x.device());
  dispatch_kernel(x.dtype(), Fold::name, [&](auto in) {
    dispatch_kernel(parts.dtype(), Fold::name, [&](auto out) {
      if (run.inner == 1)
        fold_rows<Fold, decltype(in), decltype(out)>(x, run, cut, parts);
      else
        fold_columns<Fold, decltype(in), decltype(out)>(x, run, cut, parts);
    });
  });
  if (cut.segments > 1) fold_run<Fold>(parts, {run.outer, cut.segments, run.inner}, y);
}

// --- running sums -------------------------------------------------------------------------------

// Along runs whose elements are neighbours: a block for each, which goes along it in chunks of as
// many elements as it has threads.
template <class T>
__global__ void running_rows_kernel(const T* x, Index length, bool reverse, T* y) {
  __shared__ double warp_sums[kThreads / kWarp];
  const Index first = Index(blockIdx.x) * length;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  double before = 0;  // the sum of the chunks before this one
  for (Index chunk = 0; chunk < length; chunk += kThreads) {
    const Index step = chunk + threadIdx.x;
    const bool inside = step < length;
    const Index place = first + (reverse ? length - 1 - step : step);
    double sum = inside ? double(widened(x[place])) : 0;
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const double left = __shfl_up_sync(0xFFFFFFFF, sum, distance);
      if (lane >= distance) sum += left;
    }
    __syncthreads();  // all have read the last chunk's sums
    if (lane == kWarp - 1) warp_sums[warp] = sum;
    __syncthreads();
    double others = before;  // what comes before this warp's elements
    for (int i = 0; i < kThreads / kWarp; ++i) {
      if (i == warp) others = before;
      before += warp_sums[i];
    }
    if (inside) y[place] = T(others + sum);
  }
}

// Along runs that lie side by side, cut into segments: a thread for each segment of each run. It
// writes its running sums to y, from the sums `before` (outer, segments, inner) of all up to the
// end of each segment on, or with `totals` only its last sum, to an array of that shape.
template <bool totals, class T, class Out>
__global__ void running_columns_kernel(const T* x, FoldRun run, Cut cut, bool reverse,
                                       const double* before, Out* y) {
  const Index item = thread_index();
  if (item >= run.outer * cut.segments * run.inner) return;
  const Index column = item % run.inner, segment = item / run.inner % cut.segments;
  const Index first = item / run.inner / cut.segments * run.length * run.inner + column;
  const Index end = std::min(run.length, (segment + 1) * cut.segment);
  double sum = before && segment > 0 ? before[item - run.inner] : 0;
#pragma unroll 4
  for (Index step = segment * cut.segment; step < end; ++step) {
    const Index place = first + (reverse ? run.length - 1 - step : step) * run.inner;
    sum += double(widened(x[place]));
    if constexpr (!totals) y[place] = Out(sum);
  }
  if constexpr (totals) y[item] = sum;
}

// Few runs would leave most of the device idle, so then they are cut.
template <class T>
void running_columns(const Tensor& x, const FoldRun& run, bool reverse, Tensor& y) {
  const Launch launch("cumulative_sum", x.device());
  const Index runs = std::max<Index>(1, run.outer * run.inner);
  const Index wanted = parts_of(run.length * runs, kWantedBlocks * kThreads);
  const Cut cut = cut_run(run.length, wanted, 64, std::max<Index>(64, run.length));
  const Grid grid = grid_for(run.outer * cut.segments * run.inner);
  Tensor sums, before;
  if (cut.segments > 1) {
    sums = Tensor({run.outer, cut.segments, run.inner}, DType::float64, x.device());
    before = empty_like(sums);
    launch(running_columns_kernel<true, T, double>, grid, x.data<T>(), run, cut, reverse, nullptr,
           sums.mutable_data<double>());
    running_sum(sums, {run.outer, cut.segments, run.inner}, false, before);
  }
  launch(running_columns_kernel<false, T, T>, grid, x.data<T>(), run, cut, reverse,
         data_or_null<double>(before), y.mutable_data<T>());
}

// --- element by element -------------------------------------------------------------------------

struct QuotientOrZero {
  static constexpr auto name = "norm";
  template <class T>
  static __device__ T value(T a, T b) {
    return b == 0 ? T(0) : a / b;
  }
};
struct Equal {
  static constexpr auto name = "max";
  template <class T>
  static __device__ T value(T a, T b) {
    return T(a == b);
  }
};

template <class Function, class T, int size>
__global__ void pairs_kernel(const T* a, const T* b, T* y, Index count) {
  const Index i = thread_index() * size;
  if (i >= count) return;
  const auto left = read_piece<size>(a + i), right = read_piece<size>(b + i);
  Piece<T, size> out;
#pragma unroll
  for (int j = 0; j < size; ++j)
    out.elements[j] = T(Function::value(widened(left.elements[j]), widened(right.elements[j])));
  write_piece(y + i, out);
}

template <class Function>
void combine_pairs(const Tensor& a, const Tensor& b, Tensor& y) {
  const Index count = y.elements();
  dispatch_kernel(y.dtype(), Function::name, [&](auto zero) {
    using T = decltype(zero);
    with_piece_size<T>(count, [&](auto size) {
      Launch(Function::name, y.device())(pairs_kernel<Function, T, size>, grid_for(count / size),
                                         a.data<T>(), b.data<T>(), y.mutable_data<T>(), count);
    });
  });
}

template <class T>
__global__ void divisors_kernel(T* values, Index count) {
  const Index i = thread_index();
  if (i >= count) return;
  const auto value = widened(values[i]);
  if (value == 0 || isinf(value)) values[i] = T(1);
}

}  // namespace

void reduce_run(SumFold, const Tensor& x, const FoldRun& run, Tensor& y) {
  fold_run<SumFold>(x, run, y);
}

void reduce_run(MaxFold, const Tensor& x, const FoldRun& run, Tensor& y) {
  fold_run<MaxFold>(x, run, y);
}

void running_sum(const Tensor& x, const FoldRun& run, bool reverse, Tensor& y) {
  const Launch launch("cumulative_sum", x.device());
  dispatch_kernel(x.dtype(), "cumulative_sum", [&](auto zero) {
    using T = decltype(zero);
    if (run.inner == 1)
      launch(running_rows_kernel<T>, grid_for(run.outer * kThreads), x.data<T>(), run.length,
             reverse, y.mutable_data<T>());
    else
      running_columns<T>(x, run, reverse, y);
  });
}

void quotient_or_zero(const Tensor& a, const Tensor& b, Tensor& y) {
  combine_pairs<QuotientOrZero>(a, b, y);
}

void equal(const Tensor& a, const Tensor& b, Tensor& y) { combine_pairs<Equal>(a, b, y); }

void make_divisors(Tensor& values) {
  dispatch_kernel(values.dtype(), "norm", [&](auto zero) {
    using T = decltype(zero);
    Launch("norm", values.device())(divisors_kernel<T>, grid_for(values.elements()),
                                    values.mutable_data<T>(), values.elements());
  });
}

}  // namespace vla::cuda
