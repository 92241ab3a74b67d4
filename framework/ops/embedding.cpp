#include "framework/ops/embedding.hpp"

#include <algorithm>

#include "framework/ops/embedding_cuda.hpp"
#include "framework/ops/inputs.hpp"
#include "framework/ops/rows.hpp"

namespace vla {
namespace {

void check_tokens(const Tensor& table, const Tensor& tokens) {
  check_inputs("embedding", {&table});
  check(table.rank() == 2, "embedding: the table has shape ", table.shape(), "; (V, D) is needed");
  check(tokens.defined() && tokens.dtype() == DType::int64,
        "embedding: tokens of int64 are needed");
  check(tokens.device() == table.device(), "embedding: the table is on ", table.device(),
        ", tokens on ", tokens.device(), "; one device is needed");
}

void check_range(const Tensor& table, const Tensor& tokens) {
  for (Index token : tokens.values<Index>())
    check(token >= 0 && token < table.size(0), "embedding: token ", token,
          " is out of range; allowed: 0 to ", table.size(0) - 1);
}

template <class T>
void gather_rows(const Tensor& table, const Tensor& tokens, Tensor& y) {
  const Index width = table.size(1);
  const T* from = table.data<T>();
  const Index* token = tokens.data<Index>();
  T* into = y.mutable_data<T>();
  parallel_for(tokens.elements(), row_grain(width), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      std::copy_n(from + token[i] * width, width, into + i * width);
  });
}

// dtable[token] is the sum of dy over the places where the token stands, in their order: threads
// share out columns, never places, so no sum depends on them.
template <class T>
void scatter_rows(const Tensor& dy, const Tensor& tokens, Tensor& dtable) {
  const Index width = dtable.size(1), count = tokens.elements();
  const T* from = dy.data<T>();
  const Index* token = tokens.data<Index>();
  T* into = dtable.mutable_data<T>();
  parallel_for(width, row_grain(count), [&](Index begin, Index end) {
    for (Index i = 0; i < count; ++i) {
      const T* upstream = from + i * width;
      T* sum = into + token[i] * width;
#pragma omp simd
      for (Index column = begin; column < end; ++column) sum[column] += upstream[column];
    }
  });
}

}  // namespace

Var embedding(const Var& table, const Tensor& tokens, CallSite site) {
  check_tokens(table.value(), tokens);
  std::vector<Index> sizes = tokens.shape().sizes();
  sizes.push_back(table.size(1));
  Tensor y(Shape(std::move(sizes)), table.dtype(), table.device());
  const auto on_cpu = [&] {
    check_range(table.value(), tokens);
    dispatch_floating(table.dtype(), "embedding",
                      [&](auto zero) { gather_rows<decltype(zero)>(table.value(), tokens, y); });
  };
  on_device("embedding", table.device(), on_cpu,
            [&] { cuda::gather_rows(table.value(), tokens, y); });
  return record(
      "embedding", y, {table}, {tokens},
      [shape = table.shape()](const BackwardContext& at) -> std::vector<Tensor> {
        const Tensor& dy = at.gradient();
        const Tensor& tokens = at.saved(0);
        Tensor dtable(shape, dy.dtype(), dy.device());
        const auto on_cpu = [&] {
          dtable.fill(0);
          dispatch_floating(dy.dtype(), "embedding",
                            [&](auto zero) { scatter_rows<decltype(zero)>(dy, tokens, dtable); });
        };
        on_device("embedding", dy.device(), on_cpu,
                  [&] { cuda::scatter_rows(dy, tokens, dtable); });
        return {dtable};
      },
      site);
}

}  // namespace vla
