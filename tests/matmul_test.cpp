// Matrix products against a triple loop, and what they refuse.

#include "framework/ops/matmul.hpp"

#include <limits>
#include <tuple>

#include "framework/ops/blas.hpp"
#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla::tests {  // the suite bears the name of a function of vla
namespace {

// Sets the number of threads for a scope.
class ThreadCount {
 public:
  explicit ThreadCount(int count) : before_(thread_count()) { set_thread_count(count); }
  ~ThreadCount() { set_thread_count(before_); }

 private:
  int before_;
};

struct Sizes {
  Index m, n, k;
};

const Sizes kSizes[] = {{1, 1, 1},      {1, 7, 3},      {5, 1, 4},      {3, 5, 1},    {0, 3, 4},
                        {4, 0, 3},      {3, 4, 0},      {0, 0, 0},      {13, 11, 17}, {33, 65, 31},
                        {257, 19, 130}, {19, 257, 130}, {129, 127, 131}};

// Row strides larger than the rows, so that a stride that is ignored shows.
constexpr Index kGap = 3;

// op(A)[i, j] of a matrix stored with `stride`.
template <class T>
T element(const std::vector<T>& a, Transpose op, Index i, Index j, Index stride) {
  return a[static_cast<std::size_t>(op == Transpose::no ? i * stride + j : j * stride + i)];
}

template <class T>
std::vector<T> random_values(Index count, Rng& rng) {
  const Tensor values = rng.normal({count}, dtype_of<T>());
  return {values.values<T>().begin(), values.values<T>().end()};
}

template <class T>
using Product = void (*)(Transpose, Transpose, Index, Index, Index, T, const T*, Index, const T*,
                         Index, T, T*, Index);

// Compares one product with the triple loop, the gaps between the rows of C included.
template <class T>
void check_product(Product<T> product, Sizes size, Transpose a_op, Transpose b_op, T alpha,
                   T beta) {
  const auto [m, n, k] = size;
  const Index lda = (a_op == Transpose::no ? k : m) + kGap, a_rows = a_op == Transpose::no ? m : k;
  const Index ldb = (b_op == Transpose::no ? n : k) + kGap, b_rows = b_op == Transpose::no ? k : n;
  const Index ldc = n + kGap;
  Rng rng(7);
  const auto a = random_values<T>(a_rows * lda, rng), b = random_values<T>(b_rows * ldb, rng);
  auto c = random_values<T>(m * ldc, rng);
  if (beta == 0)  // must be overwritten whatever it held
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < n; ++j)
        c[static_cast<std::size_t>(i * ldc + j)] = std::numeric_limits<T>::quiet_NaN();
  const auto before = c;
  product(a_op, b_op, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);

  double largest_error = 0;
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < ldc; ++j) {
      const auto place = static_cast<std::size_t>(i * ldc + j);
      double expected = double(before[place]);
      if (j < n) {
        double sum = 0;
        for (Index l = 0; l < k; ++l)
          sum += double(element(a, a_op, i, l, lda)) * double(element(b, b_op, l, j, ldb));
        expected = double(alpha) * sum + (beta == 0 ? 0 : double(beta) * double(before[place]));
      }
      // NaN must count as an error.
      const double error = std::abs(double(c[place]) - expected);
      largest_error = error <= largest_error ? largest_error : error;
    }
  // Sums of k products of size 1, each rounded.
  const double allowed = 4 * double(std::numeric_limits<T>::epsilon()) * double(k + 4);
  BOOST_TEST(largest_error <= allowed, "m " << m << ", n " << n << ", k " << k << ": error "
                                            << largest_error << " > " << allowed);
}

template <class T>
void check_products(Product<T> product) {
  for (const Sizes& size : kSizes)
    for (Transpose a_op : {Transpose::no, Transpose::yes})
      for (Transpose b_op : {Transpose::no, Transpose::yes})
        for (auto [alpha, beta] : {std::pair{1.0, 0.0}, {1.0, 1.0}, {-0.5, 2.0}})
          check_product<T>(product, size, a_op, b_op, T(alpha), T(beta));
}

// C = A B of each matrix of a batch by `at`, with at most one leading axis.
Tensor naive_matmul(const Tensor& a, const Tensor& b, MatmulOptions options) {
  const bool a_batched = a.rank() == 3, b_batched = b.rank() == 3;
  const Index batch = a_batched ? a.size(0) : b.size(0);
  const Index m = a.size(options.transpose_a ? -1 : -2), k = a.size(options.transpose_a ? -2 : -1);
  const Index n = b.size(options.transpose_b ? -2 : -1);
  const auto read = [](const Tensor& x, bool batched, Index s, Index i, Index j, bool transposed) {
    if (transposed) std::swap(i, j);
    return batched ? x.at<double>({s, i, j}) : x.at<double>({i, j});
  };
  Tensor c = Tensor::zeros({batch, m, n}, DType::float64);
  auto into = c.mutable_values<double>();
  for (Index s = 0; s < batch; ++s)
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < n; ++j)
        for (Index l = 0; l < k; ++l)
          into[static_cast<std::size_t>((s * m + i) * n + j)] +=
              read(a, a_batched, s, i, l, options.transpose_a) *
              read(b, b_batched, s, l, j, options.transpose_b);
  return c;
}

Var zeros(const Shape& shape, DType dtype = DType::float32) {
  return Var(Tensor::zeros(shape, dtype));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(matmul)

BOOST_AUTO_TEST_CASE(gemm_agrees_with_a_triple_loop) {
  check_products<float>(gemm<float>);
  check_products<double>(gemm<double>);
}

BOOST_AUTO_TEST_CASE(parallel_gemm_agrees_on_any_number_of_threads) {
  for (int threads : {1, 2, 5}) BOOST_TEST_CONTEXT(threads << " threads") {
      const ThreadCount scope(threads);
      check_products<float>(parallel_gemm<float>);
      check_products<double>(parallel_gemm<double>);
    }
}

BOOST_AUTO_TEST_CASE(one_and_two_threads_agree) {
  Rng rng(3);
  for (const Shape& shape : {Shape{300, 90}, Shape{90, 300}}) {
    const Var a(rng.normal({shape[0], 70}, DType::float32));
    const Var b(rng.normal({70, shape[1]}, DType::float32));
    const auto product = [&](int threads) {
      const ThreadCount scope(threads);
      return vla::matmul(a, b).value();
    };
    check_close(product(2), product(1), 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(a_batch_agrees_with_a_loop_over_it) {
  Rng rng(4);
  const auto stored = [](bool batched, bool transposed, Index rows, Index columns) {
    if (transposed) std::swap(rows, columns);
    return batched ? Shape{7, rows, columns} : Shape{rows, columns};
  };
  for (int threads : {1, 2})
    for (auto [a_batched, b_batched] : {std::pair{true, true}, {true, false}, {false, true}})
      for (bool a_transposed : {false, true})
        for (bool b_transposed : {false, true}) {
          const ThreadCount scope(threads);
          // Large enough that two threads share the batch.
          const Tensor a = rng.normal(stored(a_batched, a_transposed, 65, 66), DType::float64);
          const Tensor b = rng.normal(stored(b_batched, b_transposed, 66, 67), DType::float64);
          const MatmulOptions options{.transpose_a = a_transposed, .transpose_b = b_transposed};
          check_close(vla::matmul(Var(a), Var(b), options).value(), naive_matmul(a, b, options),
                      1e-13);
        }
}

BOOST_AUTO_TEST_CASE(two_leading_axes_are_kept) {
  Rng rng(5);
  const Tensor a = rng.normal({2, 3, 4, 5}, DType::float64);
  const Tensor b = rng.normal({2, 3, 5, 6}, DType::float64);
  const Tensor c = vla::matmul(Var(a), Var(b)).value();
  BOOST_TEST(c.shape() == (Shape{2, 3, 4, 6}));
  check_close(c.reshape(Shape{6, 4, 6}),
              naive_matmul(a.reshape(Shape{6, 4, 5}), b.reshape(Shape{6, 5, 6}), {}), 1e-14);
}

BOOST_AUTO_TEST_CASE(a_size_of_zero_gives_zeros_or_nothing) {
  BOOST_TEST(vla::matmul(zeros({0, 3, 4}), zeros({4, 2})).shape() == (Shape{0, 3, 2}));
  BOOST_TEST(vla::matmul(zeros({2, 0, 4}), zeros({2, 4, 3})).shape() == (Shape{2, 0, 3}));
  const Tensor sum_of_nothing = vla::matmul(zeros({2, 0}), zeros({0, 3})).value();
  BOOST_TEST(sum_of_nothing.shape() == (Shape{2, 3}));
  for (float value : sum_of_nothing.values<float>()) BOOST_TEST(value == 0);
  const Tensor bias = Tensor::from<float>({3}, std::vector<float>{1, 2, 3});
  const Tensor y = linear(zeros({2, 0}), zeros({3, 0}), Var(bias)).value();
  for (Index row = 0; row < 2; ++row)
    for (Index i = 0; i < 3; ++i) BOOST_TEST(y.at<float>({row, i}) == bias.at<float>({i}));
}

BOOST_AUTO_TEST_CASE(linear_is_x_times_the_transposed_weight_plus_bias) {
  Rng rng(6);
  const Tensor x = rng.normal({3, 5}, DType::float64), weight = rng.normal({4, 5}, DType::float64);
  const Tensor bias = rng.normal({4}, DType::float64);
  const Tensor y = linear(Var(x), Var(weight), Var(bias)).value();
  for (Index row = 0; row < 3; ++row)
    for (Index i = 0; i < 4; ++i) {
      double expected = bias.at<double>({i});
      for (Index j = 0; j < 5; ++j) expected += x.at<double>({row, j}) * weight.at<double>({i, j});
      BOOST_TEST(std::abs(y.at<double>({row, i}) - expected) < 1e-14);
    }
  BOOST_TEST(linear(Var(x.reshape(Shape{3, 1, 5})), Var(weight)).shape() == (Shape{3, 1, 4}));
  BOOST_TEST(linear(zeros({5}), zeros({4, 5})).shape() == (Shape{4}));
}

BOOST_AUTO_TEST_CASE(shapes_and_types_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(vla::matmul(zeros({32, 64}), zeros({48, 16})), Error,
                        says("matmul: inner sizes differ: (32, 64) x (48, 16)"));
  BOOST_CHECK_EXCEPTION(
      vla::matmul(zeros({4, 5}), zeros({4, 5}), {.transpose_a = true, .transpose_b = true}), Error,
      says("matmul: inner sizes differ: (4, 5) transposed x (4, 5) transposed"));
  BOOST_CHECK_EXCEPTION(vla::matmul(zeros({2, 3, 4}), zeros({5, 4, 3})), Error,
                        says("matmul: leading axes differ: (2, 3, 4) x (5, 4, 3); they must be "
                             "equal, or one side has none"));
  BOOST_CHECK_EXCEPTION(vla::matmul(zeros({4}), zeros({4, 3})), Error,
                        says("matmul: shapes (4) x (4, 3); both sides need 2 axes or more"));
  BOOST_CHECK_EXCEPTION(vla::matmul(zeros({2, 2}), zeros({2, 2}, DType::float64)), Error,
                        says("matmul: inputs are float32 and float64; one element type is needed"));
  BOOST_CHECK_EXCEPTION(linear(zeros({3, 4}), zeros({2, 5})), Error,
                        says("linear: x has shape (3, 4), weight (out, in) is (2, 5); the last "
                             "axis of x must be `in`"));
  BOOST_CHECK_EXCEPTION(linear(zeros({3, 5}), zeros({2, 5}), zeros({3})), Error,
                        says("linear: bias has shape (3), weight (out, in) is (2, 5); (out) is "
                             "needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla::tests
