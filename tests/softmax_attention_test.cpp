// Softmax attention against its definition, one query after the other.

#include "models/softmax_transformer/softmax_attention.hpp"

#include <cmath>

#include "framework/random.hpp"
#include "tests/compare.hpp"

namespace vla::tests {  // the suite bears the name of a function of vla
namespace {

Tensor by_definition(const Tensor& q, const Tensor& k, const Tensor& v) {
  const Index before = k.size(1) - q.size(1), d = q.size(3), width = v.size(3);
  Tensor o = Tensor::zeros(q.shape().with(3, width), DType::float64);
  for (Index b = 0; b < q.size(0); ++b)
    for (Index t = 0; t < q.size(1); ++t)
      for (Index h = 0; h < q.size(2); ++h) {
        std::vector<double> powers;
        double sum = 0;
        for (Index s = 0; s <= before + t; ++s) {
          double score = 0;
          for (Index i = 0; i < d; ++i)
            score += q.at<double>({b, t, h, i}) * k.at<double>({b, s, h, i});
          powers.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
          sum += powers.back();
        }
        for (Index s = 0; s <= before + t; ++s)
          for (Index i = 0; i < width; ++i)
            o.mutable_values<double>()[static_cast<std::size_t>(
                ((b * q.size(1) + t) * q.size(2) + h) * width + i)] +=
                powers[static_cast<std::size_t>(s)] / sum * v.at<double>({b, s, h, i});
      }
  return o;
}

Var zeros(const Shape& shape, DType dtype = DType::float32) {
  return Var(Tensor::zeros(shape, dtype));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(softmax_attention)

BOOST_AUTO_TEST_CASE(is_what_it_says) {
  for (Index time : {0, 1, 7})
    for (Index before : {0, 1, 5}) {
      Rng rng(4);
      const Tensor q = rng.normal({2, time, 3, 5}, DType::float64),
                   k = rng.normal({2, before + time, 3, 5}, DType::float64),
                   v = rng.normal({2, before + time, 3, 4}, DType::float64);
      BOOST_TEST_CONTEXT("T " << time << ", before " << before)
      check_close(vla::softmax_attention(q, k, v).value(), by_definition(q, k, v), 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(refuses_what_does_not_fit) {
  const auto refused = [](const Var& q, const Var& k, const Var& v, const char* message) {
    BOOST_CHECK_EXCEPTION(vla::softmax_attention(q, k, v), Error, says(message));
  };
  const Var x = zeros({1, 2, 3, 4});
  refused(zeros({2, 3, 4}), x, x,
          "softmax_attention: query has shape (2, 3, 4); (B, T, H, d) is needed");
  refused(x, zeros({1, 2, 3, 5}), x,
          "softmax_attention: key (1, 2, 3, 5) does not fit query (1, 2, 3, 4); (B, T_k, H, d) is "
          "needed");
  refused(x, zeros({1, 1, 3, 4}), zeros({1, 1, 3, 4}),
          "softmax_attention: 2 queries are of more tokens than the 1 keys");
  refused(x, x, zeros({1, 3, 3, 4}),
          "softmax_attention: value (1, 3, 3, 4) does not fit key (1, 2, 3, 4); (B, T_k, H, d_v) "
          "is needed");
  refused(x, x, zeros({1, 2, 3, 4}, DType::float64),
          "softmax_attention: inputs are float32 and float64; one element type is needed");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla::tests
