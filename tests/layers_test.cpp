// Layers: shapes, parameter names and starting values; dropout and the causal convolution, whose
// behaviour no gradient check can see.

#include "framework/nn/layers.hpp"

#include <algorithm>
#include <limits>

#include "framework/ops/convolution.hpp"
#include "framework/ops/dropout.hpp"
#include "framework/ops/normalize.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/optim/optimizer.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

template <class Module>
std::vector<std::string> names_of(Module& module) {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters(module)) names.push_back(parameter.name);
  return names;
}

void check_names(const std::vector<std::string>& actual, const std::vector<std::string>& expected) {
  BOOST_TEST(actual == expected, boost::test_tools::per_element());
}

struct Moments {
  double mean, deviation, largest;
};

Moments moments_of(const Tensor& tensor) {
  const Tensor wide = tensor.to(DType::float64);
  double sum = 0, squares = 0, largest = 0;
  for (double value : wide.values<double>()) {
    sum += value;
    squares += value * value;
    largest = std::max(largest, std::abs(value));
  }
  const double count = static_cast<double>(tensor.elements()), mean = sum / count;
  return {mean, std::sqrt(squares / count - mean * mean), largest};
}

bool all_equal(const Tensor& tensor, double value) {
  return std::ranges::all_of(tensor.to(DType::float64).values<double>(),
                             [=](double x) { return x == value; });
}

// The share of zeros.
double share_of_zeros(const Tensor& tensor) {
  const Tensor wide = tensor.to(DType::float64);
  return static_cast<double>(std::ranges::count(wide.values<double>(), 0.0)) /
         static_cast<double>(tensor.elements());
}

Tensor ones(const Shape& shape, DType dtype = DType::float32) {
  return Tensor::full(shape, 1, dtype);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(layers)

BOOST_AUTO_TEST_CASE(tied_weights_count_once_and_move_once) {
  struct Tied {
    Var table = constant_parameter({4, 3}, 1), head = table;
    Var own = constant_parameter({4, 3}, 1);
    void visit(PartVisitor& parts) {
      parts("table", table);
      parts("own", own);
      parts("head", head);
    }
  } tied;
  check_names(names_of(tied), {"table", "own"});
  BOOST_TEST(tied.head.name() == "table");
  BOOST_TEST(parameter_count(tied) == 24);
  Sgd sgd(parameters(tied), {.rate = 0.25});
  Gradients gradients;
  gradients.add(tied.head, ones({4, 3}));
  sgd.step(gradients);
  BOOST_TEST(all_equal(tied.table.value(), 0.75));
}

BOOST_AUTO_TEST_CASE(names_counts_and_types_follow_from_visit) {
  Rng rng(1);
  Linear plain(3, 5, rng), biasless(3, 5, rng, {.bias = false});
  check_names(names_of(plain), {"weight", "bias"});
  check_names(names_of(biasless), {"weight"});
  BOOST_TEST(parameter_count(plain) == 20);
  BOOST_TEST(parameter_count(biasless) == 15);
  BOOST_TEST(plain.weight.shape() == (Shape{5, 3}));

  Mlp mlp(4, 6, rng, {.dtype = DType::float64});
  check_names(names_of(mlp), {"up.weight", "up.bias", "down.weight", "down.bias"});
  BOOST_TEST(parameter_count(mlp) == 4 * 6 + 6 + 6 * 4 + 4);
  for (const Parameter& parameter : parameters(mlp)) {
    BOOST_TEST(parameter.variable.dtype() == DType::float64);
    BOOST_TEST(parameter.variable.name() == parameter.name);
    BOOST_TEST(parameter.variable.requires_gradient());
  }

  Embedding table(7, 4, rng);
  LayerNorm layer_norm(4);
  RmsNorm rms_norm(4);
  ShortConvolution convolution(4, 3, rng);
  Dropout dropout(0.1, rng.fork(2));
  check_names(names_of(table), {"weight"});
  check_names(names_of(layer_norm), {"weight", "bias"});
  check_names(names_of(rms_norm), {"weight"});
  check_names(names_of(convolution), {"weight"});
  check_names(names_of(dropout), {});
  BOOST_TEST(table.weight.shape() == (Shape{7, 4}));
  BOOST_TEST(convolution.weight.shape() == (Shape{4, 3}));
}

BOOST_AUTO_TEST_CASE(layers_give_their_shapes) {
  Rng rng(2);
  const Var x(rng.normal({2, 3, 4}, DType::float32));
  BOOST_TEST(Linear(4, 6, rng)(x).shape() == (Shape{2, 3, 6}));
  BOOST_TEST(LayerNorm(4)(x).shape() == x.shape());
  BOOST_TEST(RmsNorm(4)(x).shape() == x.shape());
  BOOST_TEST(Dropout(0.5, rng)(x).shape() == x.shape());
  BOOST_TEST(ShortConvolution(4, 3, rng)(x).shape() == x.shape());
  BOOST_TEST(Mlp(4, 9, rng)(x).shape() == x.shape());
  const Tensor tokens = Tensor::from<Index>({2, 3}, std::vector<Index>{0, 6, 1, 1, 2, 5});
  const Embedding table(7, 4, rng);
  const Tensor rows = table(tokens).value();
  BOOST_TEST(rows.shape() == (Shape{2, 3, 4}));
  for (Index i = 0; i < 4; ++i)
    BOOST_TEST(rows.at<float>({0, 1, i}) == table.weight.value().at<float>({6, i}));
}

BOOST_AUTO_TEST_CASE(parameters_start_as_documented) {
  Rng rng(3);
  // 90,000 draws: the mean is known to 0.0033 deviations, the deviation to 0.24 %. Four times that.
  const Linear normal(300, 300, rng, {.deviation = 0.02}), uniform(300, 300, rng);
  const Moments drawn = moments_of(normal.weight.value());
  BOOST_TEST(std::abs(drawn.mean) < 0.02 * 0.0133);
  BOOST_TEST(std::abs(drawn.deviation / 0.02 - 1) < 0.0095);
  BOOST_TEST(all_equal(normal.bias.value(), 0));

  const double bound = std::sqrt(1.0 / 300);
  const Moments spread = moments_of(uniform.weight.value());
  BOOST_TEST(spread.largest <= bound * (1 + 1e-6));
  BOOST_TEST(spread.largest > 0.999 * bound);
  BOOST_TEST(std::abs(spread.deviation / (bound / std::sqrt(3)) - 1) < 0.0095);
  BOOST_TEST(moments_of(uniform.bias.value()).largest <= bound * (1 + 1e-6));
  BOOST_TEST(moments_of(uniform.bias.value()).deviation > 0);

  const ShortConvolution convolution(1000, 4, rng);
  BOOST_TEST(moments_of(convolution.weight.value()).largest <= 0.5);
  BOOST_TEST(moments_of(convolution.weight.value()).largest > 0.49);
  BOOST_TEST(std::abs(moments_of(Embedding(300, 300, rng).weight.value()).deviation / 0.02 - 1) <
             0.0095);
  const LayerNorm layer_norm(5);
  BOOST_TEST(all_equal(layer_norm.weight.value(), 1));
  BOOST_TEST(all_equal(layer_norm.bias.value(), 0));
  BOOST_TEST(all_equal(RmsNorm(5).weight.value(), 1));
}

BOOST_AUTO_TEST_CASE(the_same_seed_starts_the_same) {
  Rng first(4), second(4), third(5);
  const Linear a(6, 6, first), b(6, 6, second), c(6, 6, third);
  BOOST_TEST(relative_difference(a.weight.value(), b.weight.value()) == 0);
  BOOST_TEST(relative_difference(a.weight.value(), c.weight.value()) > 0);
}

BOOST_AUTO_TEST_CASE(dropout_is_off_outside_training_and_at_rate_zero) {
  const Var x(Rng(6).normal({50, 7}, DType::float32));
  for (auto [rate, train] : {std::pair{0.5, false}, {0.0, true}}) {
    Dropout layer(rate, Rng(1));
    layer.train = train;
    const RandomState before = layer.rng.state();
    BOOST_TEST(layer(x).identity() == x.identity());
    BOOST_TEST((layer.rng.state() == before));
  }
  for (double rate : {-0.1, 1.0})
    BOOST_CHECK_EXCEPTION(
        Dropout(rate, Rng(1))(x), Error,
        says(concatenate("dropout: rate ", rate, " is not allowed; 0 or more and less than 1")));
}

BOOST_AUTO_TEST_CASE(dropout_drops_the_share_it_is_told_and_keeps_the_mean) {
  // The share of zeros among n elements has deviation sqrt(rate (1 - rate) / n), 0.0016 at most.
  constexpr Index kElements = 100'003;  // no multiple of the block of a random word
  for (double rate : {0.1, 0.5, 0.9}) {
    Dropout layer(rate, Rng(7));
    const Tensor y = layer(Var(ones({kElements}))).value();
    BOOST_TEST(std::abs(share_of_zeros(y) - rate) < 5 * 0.0016);
    const float kept = static_cast<float>(1 / (1 - rate));
    BOOST_TEST(std::ranges::all_of(y.values<float>(),
                                   [=](float value) { return value == 0 || value == kept; }));
    BOOST_TEST(layer.rng.state().position == static_cast<std::uint64_t>(kElements));
  }
}

BOOST_AUTO_TEST_CASE(dropout_masks_are_the_words_of_the_stream) {
  // From a position that is no multiple of four, over several chunks.
  Rng rng(8, 3);
  rng.reserve(5);
  const RandomState begin = rng.state();
  const Tensor y = dropout(Var(ones({1003})), {.rate = 0.3, .train = true}, rng).value();
  for (Index i = 0; i < y.elements(); ++i) {
    const float draw = unit_interval(random_word(begin, static_cast<std::uint64_t>(i)));
    BOOST_TEST((y.at<float>({i}) == 0) == (draw < 0.3f));
  }
  const Tensor next = dropout(Var(ones({1003})), {.rate = 0.3, .train = true}, rng).value();
  BOOST_TEST(relative_difference(next, y) > 0);
}

BOOST_AUTO_TEST_CASE(dropout_gradient_has_the_mask_of_the_value) {
  Rng rng(9);
  const Var x = Var::parameter(rng.normal({37, 11}, DType::float64));
  Tape tape;
  const Var y = dropout(x, {.rate = 0.4, .train = true}, rng);
  const Tensor upstream = rng.normal(x.shape(), DType::float64);
  const Tensor dx = tape.backward(y, upstream)[x];
  BOOST_TEST(share_of_zeros(dx) > 0.2);
  // Dropout is linear, element by element: y / x is its slope.
  for (Index i = 0; i < 37; ++i)
    for (Index j = 0; j < 11; ++j) {
      const double slope = y.value().at<double>({i, j}) / x.value().at<double>({i, j});
      BOOST_TEST(std::abs(dx.at<double>({i, j}) - upstream.at<double>({i, j}) * slope) < 1e-14);
    }
}

BOOST_AUTO_TEST_CASE(a_dropped_element_is_zero_whatever_it_was) {
  Rng rng(10);
  const Tensor bad = Tensor::full({200}, std::numeric_limits<double>::quiet_NaN(), DType::float32);
  const Tensor y = dropout(Var(bad), {.rate = 0.5, .train = true}, rng).value();
  BOOST_TEST(share_of_zeros(y) > 0.2);
  BOOST_TEST(share_of_zeros(y) < 0.8);
}

BOOST_AUTO_TEST_CASE(the_convolution_is_its_formula) {
  Rng rng(11);
  for (Index taps : {1, 3, 6}) {
    const Tensor x = rng.normal({2, 5, 3}, DType::float64);
    const Tensor weight = rng.normal({3, taps}, DType::float64);
    const Tensor y = causal_convolution(Var(x), Var(weight)).value();
    for (Index b = 0; b < 2; ++b)
      for (Index t = 0; t < 5; ++t)
        for (Index c = 0; c < 3; ++c) {
          double expected = 0;
          for (Index j = 0; j < taps; ++j)
            if (const Index from = t - (taps - 1) + j; from >= 0)
              expected += weight.at<double>({c, j}) * x.at<double>({b, from, c});
          BOOST_TEST(std::abs(y.at<double>({b, t, c}) - expected) < 1e-14);
        }
  }
}

BOOST_AUTO_TEST_CASE(later_tokens_do_not_change_earlier_outputs) {
  Rng rng(12);
  const ShortConvolution convolution(5, 4, rng, DType::float64);
  const Tensor x = rng.normal({2, 9, 5}, DType::float64);
  const Tensor y = convolution(Var(x)).value();
  for (Index changed = 0; changed < 9; ++changed) {
    Tensor other = x.clone();
    for (Index c = 0; c < 5; ++c)  // in the first sequence only
      other.mutable_values<double>()[static_cast<std::size_t>(changed * 5 + c)] += 1;
    const Tensor z = convolution(Var(other)).value();
    for (Index b = 0; b < 2; ++b)
      for (Index t = 0; t < 9; ++t)
        for (Index c = 0; c < 5; ++c) {
          const bool seen = b == 0 && t >= changed && t < changed + 4;
          BOOST_TEST((z.at<double>({b, t, c}) != y.at<double>({b, t, c})) == seen);
        }
  }
}

BOOST_AUTO_TEST_CASE(the_mlp_is_its_formula) {
  Rng rng(13);
  const Mlp mlp(4, 6, rng, {.dtype = DType::float64});
  const Var x(rng.normal({3, 4}, DType::float64));
  const Tensor hidden = gelu(mlp.up(x)).value();
  check_close(mlp(x).value(), mlp.down(Var(hidden)).value(), 0);
}

BOOST_AUTO_TEST_CASE(layers_refuse_what_does_not_fit) {
  Rng rng(14);
  const Var x(ones({2, 3, 4}));
  BOOST_CHECK_EXCEPTION(LayerNorm(5)(x), Error,
                        says("layer_norm: weight has shape (5); (4) is needed for x (2, 3, 4)"));
  BOOST_CHECK_EXCEPTION(RmsNorm(5)(x), Error,
                        says("rms_norm: weight has shape (5); (4) is needed for x (2, 3, 4)"));
  BOOST_CHECK_EXCEPTION(unit(x, 0), Error,
                        says("unit: floor 0 is not allowed; more than 0, because a zero vector "
                             "has no direction"));
  BOOST_CHECK_EXCEPTION(ShortConvolution(5, 2, rng)(x), Error,
                        says("causal_convolution: weight has shape (5, 2); (4, taps) with 1 tap "
                             "or more is needed for x (2, 3, 4)"));
  BOOST_CHECK_EXCEPTION(Embedding(7, 4, rng)(Tensor::from<Index>({2}, std::vector<Index>{1, 7})),
                        Error, says("embedding: token 7 is out of range; allowed: 0 to 6"));
  BOOST_CHECK_EXCEPTION(Linear(4, 4, rng, {.deviation = -1}), Error,
                        says("linear layer: deviation -1 is not allowed; 0 or more"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
