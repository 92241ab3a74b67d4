// Lesson 7: what the memory of Variational Linear Attention (VLA) holds.
//
// A linear memory is a matrix S that answers a key k with S k. It has seen pairs (k_1, v_1),
// (k_2, v_2), ... of key and value: which S should it be? VLA's is, after every pair, the one that
// fits all pairs so far best: ridge regression, which minimises the sum of |v_s - S k_s|^2 plus
// lambda |S|^2. Setting the derivative to zero gives equations for S,
//
//     M S^T = sum of k_s v_s^T    with    M = lambda I + sum of k_s k_s^T.
//
// VLA never solves them anew. A new pair changes S by its error, S += (v - S k) (A k)^T, and the
// inverse A of M by the formula of lesson 6: recursive least squares. Here we do both, and compare
// them after every pair. Values are single numbers, so that S is a row of d numbers.

#include <cstdio>

#include "framework/framework.hpp"
#include "models/vla/recursive_least_squares.hpp"

using namespace vla;

constexpr Index d = 3;
constexpr double kLambda = 1e-4;

// x of M x = b by Gaussian elimination. M is positive definite, so no pivot is zero.
Tensor solve(const Var& matrix, const Var& right_side) {
  Tensor M = matrix.value().clone(), x = right_side.value().clone();
  const auto m = M.mutable_values<double>(), b = x.mutable_values<double>();
  for (Index pivot = 0; pivot < d; ++pivot)
    for (Index row = 0; row < d; ++row) {
      if (row == pivot) continue;
      const double factor = m[row * d + pivot] / m[pivot * d + pivot];
      for (Index i = 0; i < d; ++i) m[row * d + i] -= factor * m[pivot * d + i];
      b[row] -= factor * b[pivot];
    }
  for (Index row = 0; row < d; ++row) b[row] /= m[row * d + row];
  return x;
}
void print(const Tensor& S) {
  for (double number : S.values<double>()) std::printf(" %8.5f", number);
}

int main() {
  const Var identity(Tensor::from<double>({d, d}, {1, 0, 0, 0, 1, 0, 0, 0, 1}));
  const Var all_keys(Tensor::from<double>({5, d}, {1, 2, 0, 2, 1, -1, 1, -1, 1, 0, 1, 3, 2, 2, 1}));
  const Var all_values(Tensor::from<double>({5, 1}, {1, -2, 3, -1, 2}));
  const Var lambda(Tensor::full({1}, kLambda, DType::float64));

  std::printf("pairs  S of VLA                     S solved for                 worst answer\n");
  for (Index t = 1; t <= 5; ++t) {
    const Var keys = slice(all_keys, 0, 0, t), values = slice(all_values, 0, 0, t);
    // VLA takes (B sequences, T tokens, H heads, d), here (1, t, 1, d); its memory is S at the end.
    const Var k = reshape(keys, {1, t, 1, d}), v = reshape(values, {1, t, 1, 1});
    // Pairs may be weighted, and here all count alike.
    const Var weight(Tensor::full({1, t, 1}, 1, DType::float64));
    const Tensor S = recursive_least_squares({k, k, v, weight, lambda}).memory.reshape({d, 1});

    // With keys as rows of K, M is lambda I + K^T K, and the right side K^T V.
    const Var M = identity * kLambda + matmul(keys, keys, {.transpose_a = true});
    const Var sums = matmul(keys, values, {.transpose_a = true});
    std::printf("%5d", int(t));
    print(S);
    std::printf(" ");
    print(solve(M, sums));
    // The largest error when it is asked for each of the keys it has seen.
    std::printf("  %7.4f\n", max(abs(matmul(keys, Var(S)) - values)).value().item());
  }
  std::printf("S has 3 numbers: it answers up to 3 keys exactly, and more as well as can be\n");
}

/* It prints

pairs  S of VLA                     S solved for                 worst answer
    1  0.20000  0.39999  0.00000   0.20000  0.39999  0.00000   0.0000
    2 -0.99994  0.99992  0.99994  -0.99994  0.99992  0.99994   0.0001
    3  0.33333  0.33325  2.99977   0.33333  0.33325  2.99977   0.0002
    4  0.45347 -0.80812  0.29651   0.45347 -0.80812  0.29651   2.1628
    5  0.79047 -0.61811  0.42198   0.79047 -0.61811  0.42198   2.5408
S has 3 numbers: it answers up to 3 keys exactly, and more as well as can be
*/
