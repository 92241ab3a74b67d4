#include "framework/cuda/rows.cuh"
#include "framework/ops/reduce_cuda.hpp"
#include "framework/ops/softmax_cuda.hpp"

namespace vla::cuda {
namespace {

// log(sum exp(x)) of a row in two parts, shift + log(sum); see softmax.cpp. The shift is the
// largest element, or 0 for a row of nothing but -infinity, which has sum 0.
template <class A>
struct PowerSum {
  A shift, sum;
};

template <class Plan, class T, class A = Accumulated<T>>
__device__ PowerSum<A> power_sum(const RowPieces<Plan, T>& x, Index width) {
  constexpr A lowest = -std::numeric_limits<A>::infinity();
  A largest = lowest;
  each_value<Plan>(
      width, [&](Index, A value) { largest = Max()(largest, value); }, x);
  largest = max_of_team<Plan::kTeam>(largest);
  const A shift = largest == lowest ? A(0) : largest;
  A sum = 0;
  each_value<Plan>(
      width, [&](Index, A value) { sum += exp(value - shift); }, x);
  return {shift, sum_of_team<Plan::kTeam>(sum)};
}

// --- softmax ------------------------------------------------------------------------------------

template <class Plan, class T>
__global__ void softmax_kernel(const T* x, Rows rows, T* y) {
  using A = Accumulated<T>;
  if (Plan::row() >= rows.count) return;
  const Index first = Plan::row() * rows.width;
  const RowPieces<Plan, T> in(x + first, rows.width);
  const PowerSum<A> total = power_sum(in, rows.width);
  const A shift = total.shift, factor = total.sum == 0 ? A(0) : 1 / total.sum;
  write_values<Plan>(
      y + first, rows.width, [&](Index, A value) { return exp(value - shift) * factor; }, in);
}

// dx = y (dy - sum(y dy))
template <class Plan, class T>
__global__ void softmax_gradient_kernel(const T* dy, const T* y, Rows rows, T* dx) {
  using A = Accumulated<T>;
  if (Plan::row() >= rows.count) return;
  const Index first = Plan::row() * rows.width;
  const RowPieces<Plan, T> upstream(dy + first, rows.width), out(y + first, rows.width);
  A dot = 0;
  each_value<Plan>(
      rows.width, [&](Index, A g, A p) { dot += p * g; }, upstream, out);
  dot = sum_of_team<Plan::kTeam>(dot);
  write_values<Plan>(
      dx + first, rows.width, [&](Index, A g, A p) { return p * (g - dot); }, upstream, out);
}

// y = x - log(sum exp(x)); a row of nothing but -infinity stays as it is.
template <class Plan, class T>
__global__ void log_softmax_kernel(const T* x, Rows rows, T* y) {
  using A = Accumulated<T>;
  if (Plan::row() >= rows.count) return;
  const Index first = Plan::row() * rows.width;
  const RowPieces<Plan, T> in(x + first, rows.width);
  const PowerSum<A> total = power_sum(in, rows.width);
  const A shift = total.shift, rest = total.sum == 0 ? A(0) : log(total.sum);
  write_values<Plan>(
      y + first, rows.width, [&](Index, A value) { return (value - shift) - rest; }, in);
}

// dx = dy - exp(y) sum(dy)
template <class Plan, class T>
__global__ void log_softmax_gradient_kernel(const T* dy, const T* y, Rows rows, T* dx) {
  using A = Accumulated<T>;
  if (Plan::row() >= rows.count) return;
  const Index first = Plan::row() * rows.width;
  const RowPieces<Plan, T> upstream(dy + first, rows.width), out(y + first, rows.width);
  A sum = 0;
  each_value<Plan>(
      rows.width, [&](Index, A g) { sum += g; }, upstream);
  sum = sum_of_team<Plan::kTeam>(sum);
  write_values<Plan>(
      dx + first, rows.width, [&](Index, A g, A value) { return g - exp(value) * sum; }, upstream,
      out);
}

// --- cross entropy ------------------------------------------------------------------------------

// Whether a row counts in the loss. A target out of range does not; it is reported.
__device__ bool counts(Index target, const CrossEntropyRows& how, bool reports, ProblemNote* note) {
  if (target == how.ignore_index) return false;
  if (target >= 0 && target < how.rows.width) return true;
  if (reports) report(note, {.problem = Problem::target, .value = target, .limit = how.rows.width});
  return false;
}

// losses (rows, 2): the loss of each row and 1, or 0 and 0 where it does not count.
template <class Plan, class T>
__global__ void cross_entropy_kernel(const T* logits, const Index* targets, CrossEntropyRows how,
                                     Accumulated<T>* totals, double* losses, ProblemNote* note) {
  using A = Accumulated<T>;
  const Index row = Plan::row(), width = how.rows.width;
  if (row >= how.rows.count) return;
  const bool writes = Plan::lane() == 0;
  const Index target = targets[row];
  if (!counts(target, how, writes, note)) {
    if (writes) losses[2 * row] = losses[2 * row + 1] = 0;
    return;
  }
  const T* x = logits + row * width;
  const RowPieces<Plan, T> in(x, width);
  const PowerSum<A> total = power_sum(in, width);
  const double smoothing = how.label_smoothing;
  A even = 0;  // sum(x - shift)
  if (smoothing > 0) {
    each_value<Plan>(
        width, [&](Index, A value) { even += value - total.shift; }, in);
    even = sum_of_team<Plan::kTeam>(even);
  }
  if (!writes) return;
  const A ahead = widened(x[target]) - total.shift;
  double loss = log(double(total.sum)) - (1 - smoothing) * double(ahead);
  if (smoothing > 0) loss -= smoothing / double(width) * double(even);
  totals[2 * row] = total.shift;
  totals[2 * row + 1] = total.sum;
  losses[2 * row] = loss;
  losses[2 * row + 1] = 1;
}

// The mean of the losses from their sum and number; by one thread.
template <class Loss>
__global__ void mean_loss_kernel(const double* sums, double* count, Loss* loss) {
  *count = sums[1];
  *loss = Loss(sums[1] == 0 ? 0 : sums[0] / sums[1]);
}

// dx = factor (softmax(x) - smoothing / classes - (1 - smoothing) [target])
template <class Plan, class T>
__global__ void cross_entropy_gradient_kernel(const Accumulated<T>* dy, const T* logits,
                                              const Index* targets, CrossEntropyRows how,
                                              const Accumulated<T>* totals, const double* count,
                                              ProblemNote* note, T* dx) {
  using A = Accumulated<T>;
  const Index row = Plan::row(), width = how.rows.width;
  if (row >= how.rows.count) return;
  const Index target = targets[row];
  if (!counts(target, how, false, note)) {
    Plan::each_piece(width, [&](int, Index place) {
      Piece<T, Plan::kSize> zeros;
#pragma unroll
      for (int j = 0; j < Plan::kSize; ++j) zeros.elements[j] = T(0);
      write_piece(dx + row * width + place * Plan::kSize, zeros);
    });
    return;
  }
  const RowPieces<Plan, T> in(logits + row * width, width);
  // At least this row counts.
  const A factor = A(double(*dy) / *count), shift = totals[2 * row], part = 1 / totals[2 * row + 1];
  const A even = A(how.label_smoothing / double(width)), one = A(1 - how.label_smoothing);
  write_values<Plan>(
      dx + row * width, width,
      [&](Index i, A value) {
        const A rest = (exp(value - shift) * part - even) * factor;
        return i == target ? rest - one * factor : rest;
      },
      in);
}

}  // namespace

void softmax(const Tensor& x, Rows rows, Tensor& y) {
  dispatch_rows(x.dtype(), "softmax", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using Plan = decltype(plan);
    Launch("softmax", x.device())(softmax_kernel<Plan, T>, Plan::grid(rows.count), x.data<T>(),
                                  rows, y.mutable_data<T>());
  });
}

void softmax_gradient(const Tensor& dy, const Tensor& y, Rows rows, Tensor& dx) {
  dispatch_rows(dy.dtype(), "softmax", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using Plan = decltype(plan);
    Launch("softmax", dy.device())(softmax_gradient_kernel<Plan, T>, Plan::grid(rows.count),
                                   dy.data<T>(), y.data<T>(), rows, dx.mutable_data<T>());
  });
}

void log_softmax(const Tensor& x, Rows rows, Tensor& y) {
  dispatch_rows(x.dtype(), "log_softmax", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using Plan = decltype(plan);
    Launch("log_softmax", x.device())(log_softmax_kernel<Plan, T>, Plan::grid(rows.count),
                                      x.data<T>(), rows, y.mutable_data<T>());
  });
}

void log_softmax_gradient(const Tensor& dy, const Tensor& y, Rows rows, Tensor& dx) {
  dispatch_rows(dy.dtype(), "log_softmax", rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using Plan = decltype(plan);
    Launch("log_softmax", dy.device())(log_softmax_gradient_kernel<Plan, T>, Plan::grid(rows.count),
                                       dy.data<T>(), y.data<T>(), rows, dx.mutable_data<T>());
  });
}

void cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyRows& how,
                   Tensor& totals, Tensor& count, Tensor& loss) {
  const Launch launch("cross_entropy", logits.device());
  Tensor losses({how.rows.count, 2}, DType::float64, logits.device());
  dispatch_rows(logits.dtype(), "cross_entropy", how.rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    launch(cross_entropy_kernel<Plan, T>, Plan::grid(how.rows.count), logits.data<T>(),
           targets.data<Index>(), how, totals.mutable_data<A>(), losses.mutable_data<double>(),
           problem_note(logits.device()));
  });
  Tensor sums({2}, DType::float64, logits.device());
  reduce_run(SumFold(), losses, {.length = how.rows.count, .inner = 2}, sums);
  dispatch_kernel(loss.dtype(), "cross_entropy", [&](auto zero) {
    using Loss = decltype(zero);
    launch(mean_loss_kernel<Loss>, Grid{.blocks = 1, .threads = 1}, sums.data<double>(),
           count.mutable_data<double>(), loss.mutable_data<Loss>());
  });
}

void cross_entropy_gradient(const Tensor& dy, const Tensor& logits, const Tensor& targets,
                            const CrossEntropyRows& how, const Tensor& totals, const Tensor& count,
                            Tensor& dx) {
  dispatch_rows(logits.dtype(), "cross_entropy", how.rows.width, [&](auto zero, auto plan) {
    using T = decltype(zero);
    using A = Accumulated<T>;
    using Plan = decltype(plan);
    Launch("cross_entropy", logits.device())(
        cross_entropy_gradient_kernel<Plan, T>, Plan::grid(how.rows.count), dy.data<A>(),
        logits.data<T>(), targets.data<Index>(), how, totals.data<A>(), count.data<double>(),
        problem_note(logits.device()), dx.mutable_data<T>());
  });
}

}  // namespace vla::cuda
