// Diagnostics against xtensor-blas's solvers on explicitly formed matrices, and against what the
// mixers themselves put out.

#include "framework/ops/xtensor.hpp"
// The door above comes first.
#include <algorithm>
#include <xtensor-blas/xlinalg.hpp>

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "models/vla/penalty_tracker.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

using Matrix = xt::xarray<double>;

Matrix row(const Tensor& x, Index b, Index t, Index h) {  // of x (B, T, H, d), as a column
  Matrix result = xt::zeros<double>({x.size(3), Index{1}});
  for (Index i = 0; i < x.size(3); ++i) result(i, 0) = x.at<double>({b, t, h, i});
  return result;
}

Matrix outer(const Matrix& a, const Matrix& b) { return xt::linalg::dot(a, xt::transpose(b)); }
double inner(const Matrix& a, const Matrix& b) {
  return xt::linalg::dot(xt::transpose(a), b)(0, 0);
}
double frobenius(const Matrix& a) { return std::sqrt(xt::sum(a * a)()); }

Var draw(Rng& rng, const Shape& shape, double low = -1, double high = 1) {
  return Var(rng.uniform(shape, DType::float64, low, high));
}

// Everything that a penalty can have; token 1 is zero.
MemoryInputs full_inputs(Index batch, Index time, Index heads, Index d, Index d_v, Index rank) {
  Rng rng(17);
  const Shape keys{batch, time, heads, d};
  MemoryInputs in{.memory = {.query = draw(rng, keys),
                             .key = draw(rng, keys),
                             .coefficient = draw(rng, keys),
                             .value = draw(rng, {batch, time, heads, d_v})},
                  .penalty = {.directions = draw(rng, {batch, time, heads, rank, d}),
                              .weights = draw(rng, {batch, time, heads, rank}, 0, 2),
                              .forget = draw(rng, {batch, time, heads}, 0.7, 1),
                              .lambda0 = draw(rng, {heads}, 0.2, 0.5)},
                  .restore_period = 4};
  for (Var* x : {&in.memory.query, &in.memory.key, &in.memory.coefficient, &in.memory.value,
                 &in.penalty.directions})
    for (Index b = 0; b < batch && time > 1; ++b) {
      const Index token = x->value().elements() / (batch * time);
      std::ranges::fill(
          x->mutable_value().mutable_values<double>().subspan(
              static_cast<std::size_t>((b * time + 1) * token), static_cast<std::size_t>(token)),
          0);
    }
  return in;
}

// The diagnostics of one token with key k and coefficient alpha, width d.
Diagnostics of_transition(const std::vector<double>& k, const std::vector<double>& alpha) {
  const Shape shape{1, 1, 1, static_cast<Index>(k.size())};
  return diagnose(MemoryInputs{.memory = {.query = Tensor::zeros(shape, DType::float64),
                                          .key = Tensor::from<double>(shape, k),
                                          .coefficient = Tensor::from<double>(shape, alpha),
                                          .value = Tensor::zeros({1, 1, 1, 2}, DType::float64)}});
}

void check_transition(const std::vector<double>& k, const std::vector<double>& alpha) {
  Matrix moved = xt::eye<double>(k.size());
  for (std::size_t i = 0; i < k.size(); ++i)
    for (std::size_t j = 0; j < k.size(); ++j) moved(i, j) -= k[i] * alpha[j];
  const Diagnostics d = of_transition(k, alpha);
  const Matrix singular = std::get<1>(xt::linalg::svd(moved));
  BOOST_TEST(std::abs(d.transition_norm.item() - xt::amax(singular)()) <= 1e-13);
  const Matrix eigenvalues = xt::abs(xt::linalg::eigvals(moved));
  BOOST_TEST(std::abs(d.transition_radius.item() - xt::amax(eigenvalues)()) <= 1e-12);
}

MixerConfig small(const std::string& kind) {
  MixerConfig config{
      .attention = {.width = 12, .heads = 3, .convolution = 0, .dtype = DType::float64}};
  if (kind == "vla") config.forget = true, config.restore_period = 4;
  if (kind == "vla-v1") config.rank = 2, config.symbolic = 0.5;
  return config;
}

Tensor few_tokens(Index batch, Index time) {
  Tensor tokens({batch, time}, DType::int64);
  Index n = 0;
  for (Index& token : tokens.mutable_values<Index>()) token = n * n % 5, ++n;
  return tokens;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(diagnostics)

BOOST_AUTO_TEST_CASE(the_penalty_is_that_of_the_formed_matrix) {
  constexpr Index batch = 2, time = 11, heads = 2, d = 5, rank = 2;
  const MemoryInputs in = full_inputs(batch, time, heads, d, 3, rank);
  const Tensor &u = in.penalty.directions.value(), &weights = in.penalty.weights.value();
  const Tensor& gamma = in.penalty.forget.value();
  const Diagnostics found = diagnose(in);
  for (Index b = 0; b < batch; ++b)
    for (Index h = 0; h < heads; ++h) {
      const double lambda0 = in.penalty.lambda0.value().at<double>({h});
      Matrix m = lambda0 * xt::eye<double>(d);
      double kept = 1;
      for (Index t = 0; t < time; ++t) {
        m *= gamma.at<double>({b, t, h});
        kept *= gamma.at<double>({b, t, h});
        const Matrix before = xt::linalg::inv(m);
        double strength = 0;
        for (Index i = 0; i < rank; ++i) {
          Matrix direction = xt::zeros<double>({d, Index{1}});
          for (Index j = 0; j < d; ++j) direction(j, 0) = u.at<double>({b, t, h, i, j});
          const double weight = weights.at<double>({b, t, h, i});
          strength += weight * inner(direction, xt::linalg::dot(before, direction));
          m += weight * outer(direction, direction);
        }
        const Matrix a = xt::linalg::inv(m), of_m = xt::linalg::eigvalsh(m);
        for (Index i = 0; i < d; ++i)
          BOOST_TEST(std::abs(found.eigenvalues.at<double>({b, t, h, i}) * of_m(d - 1 - i) - 1) <=
                     1e-12);
        BOOST_TEST(std::abs(found.condition.at<double>({b, t, h}) / xt::linalg::cond(a, 2) - 1) <=
                   1e-11);
        BOOST_TEST(std::abs(found.inverse_norm.at<double>({b, t, h}) / frobenius(a) - 1) <= 1e-12);
        BOOST_TEST(std::abs(found.penalty_strength.at<double>({b, t, h}) - strength) <= 1e-11);
        for (Index i = 0; i < d && t == time - 1; ++i)
          for (Index j = 0; j < d; ++j)
            BOOST_TEST(std::abs(found.inverse.at<double>({b, h, i, j}) - a(i, j)) <= 1e-12);
        if ((t + 1) % in.restore_period == 0) {
          m += (1 - kept) * lambda0 * xt::eye<double>(d);
          kept = 1;
        }
      }
    }
}

BOOST_AUTO_TEST_CASE(the_transition_has_its_closed_form) {
  const double root = std::sqrt(0.5);
  BOOST_TEST(std::abs(of_transition({3, 4}, {0.06, 0.08}).transition_norm.item() - 1) <= 1e-15);
  BOOST_TEST(std::abs(of_transition({root, root}, {root, -root}).transition_norm.item() -
                      1.6180339887498949) <= 1e-15);
  BOOST_TEST(of_transition({0, 0, 0}, {1, 2, 3}).transition_norm.item() == 1);
  BOOST_TEST(of_transition({2}, {3}).transition_norm.item() == 5);  // d = 1: |1 - alpha k|
  BOOST_TEST(of_transition({2}, {0.5}).transition_radius.item() == 0);
  for (std::vector<double> k : {std::vector<double>{1, -2, 0.5, 3}, {0.1, 0, 0, 0}, {0, 0, 0, 0}})
    for (std::vector<double> alpha :
         {std::vector<double>{0.3, 0.7, -0.2, 0.1}, {-1, 2, -0.5, -3}, {0, 0, 0, 0}})
      check_transition(k, alpha);
  check_transition({1.5}, {-0.4});
}

BOOST_AUTO_TEST_CASE(exact_vla_never_grows_and_its_inverse_only_shrinks) {
  Rng rng(3);
  Vla mixer({.attention = {.width = 12, .heads = 2, .dtype = DType::float64}}, rng);
  const Vla::Result result = mixer.run(Var(rng.normal({2, 30, 12}, DType::float64, 0, 3)));
  const Diagnostics found = diagnose(result.inputs);
  for (double radius : found.transition_radius.values<double>()) BOOST_TEST(radius <= 1);
  const Tensor &k = result.inputs.memory.key.value(), &eigenvalues = found.eigenvalues;
  const Tensor& beta = result.inputs.penalty.weights.value();
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 2; ++h) {
      const double lambda0 = result.inputs.penalty.lambda0.value().at<double>({h});
      double trace = 6 * lambda0;
      for (Index t = 0; t < 30; ++t) {
        double sum = 0;
        for (Index i = 0; i < 6; ++i) {
          const double value = eigenvalues.at<double>({b, t, h, i});
          const double before = t > 0 ? eigenvalues.at<double>({b, t - 1, h, i}) : 1 / lambda0;
          BOOST_TEST(value > 0);
          BOOST_TEST(value <= before * (1 + 1e-12));
          sum += 1 / value;
        }
        const Matrix key = row(k, b, t, h);
        trace += beta.at<double>({b, t, h}) * inner(key, key);
        BOOST_TEST(std::abs(sum / trace - 1) <= 1e-11);
      }
    }
  // The norm of S_T is that of the memory the layer returns.
  const Matrix memory = as_xtensor<double>(result.memory);
  double squares = 0;
  for (Index b : {0, 1})
    for (Index h : {0, 1}) squares += std::pow(found.memory_norm.at<double>({b, 29, h}), 2);
  BOOST_TEST(std::abs(std::sqrt(squares) / frobenius(memory) - 1) <= 1e-12);
}

BOOST_AUTO_TEST_CASE(the_layer_hands_over_all_of_its_penalty) {
  Rng rng(6);
  Vla mixer({.attention = {.width = 6, .heads = 1, .dtype = DType::float64},
             .penalty = PenaltyKind::learned,
             .rank = 2,
             .forget = true,
             .restore_period = 4},
            rng);
  for (const Parameter& parameter : parameters(mixer))
    if (parameter.name == "penalty.forget.bias") Var(parameter.variable).mutable_value().fill(0);
  const Vla::Result result = mixer.run(Var(rng.normal({1, 11, 6}, DType::float64)));
  const Matrix of_m =
      xt::linalg::eigvalsh(Matrix(as_xtensor<double>(result.penalty.reshape({6, 6}))));
  const Tensor eigenvalues = diagnose(result.inputs).eigenvalues;
  for (Index i = 0; i < 6; ++i)
    BOOST_TEST(std::abs(eigenvalues.at<double>({0, 10, 0, i}) * of_m(5 - i) - 1) <= 1e-12);
}

BOOST_AUTO_TEST_CASE(the_tracked_inverse_is_symmetric_and_ordered) {
  Rng rng(4);
  PenaltyTracker tracker(4, 0.3);
  Matrix before = xt::eye<double>(4) / 0.3;
  for (int t = 0; t < 100; ++t) {
    const Tensor u = rng.normal({4}, DType::float64);
    tracker.add(u.data<double>(), 0.5);
    const Matrix a = xt::adapt(tracker.inverse(), std::vector<std::size_t>{4, 4});
    BOOST_TEST(xt::amax(xt::abs(a - xt::transpose(a)))() <= 1e-14);
    const Matrix shrunk = xt::linalg::eigvalsh(before - a);
    BOOST_TEST(xt::amin(shrunk)() >= -1e-13);
    before = a;
    tracker.close_token(0);
  }
}

// W v, through the mixer's own norm and output map, is the mixer's output.
BOOST_AUTO_TEST_CASE(the_attention_of_every_mixer_gives_its_output) {
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      Rng rng(8);
      const auto mixer = mixer_factory(kind.name, small(std::string(kind.name)))(rng);
      std::map<std::string, Var> of;
      for (const Parameter& parameter : parameters(*mixer)) {
        of[parameter.name] = parameter.variable;
        if (parameter.name.ends_with("weight"))
          of[parameter.name].mutable_value().copy_from(
              rng.normal(parameter.variable.shape(), DType::float64, 0, 0.4));
      }
      const Var x(rng.normal({2, 9, 12}, DType::float64));
      const Tensor tokens = few_tokens(2, 9);
      const Diagnostics found = mixer->diagnose(x, tokens, {.maps = true});
      const auto heads_first = [](const Var& y) { return permute(y, {0, 2, 1, 3}); };
      const Var v = reshape(linear(x, of["value.weight"], of["value.bias"]), {2, 9, 3, 4});
      const Var o =
          merge_heads(heads_first(matmul(heads_first(Var(found.attention)), heads_first(v))));
      const Var normed =
          of.contains("norm.weight") ? layer_norm(o, of["norm.weight"], of["norm.bias"]) : o;
      check_close(linear(normed, of["output.weight"], of["output.bias"]).value(),
                  (*mixer)(x, tokens).value(), 1e-10);
      for (Index t = 0; t < 9; ++t)
        for (Index i = t + 1; i < 9; ++i) BOOST_TEST(found.attention.at<double>({1, t, 2, i}) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(errors_norms_and_survival_follow_the_definition) {
  constexpr Index batch = 2, time = 7, heads = 2, d = 4, d_v = 3;
  MemoryInputs in = full_inputs(batch, time, heads, d, d_v, 1);
  Rng rng(9);
  in.denominator = draw(rng, {batch, time, heads, 1}, 1, 2);
  for (const bool keyed : {true, false}) {
    if (!keyed) in.memory.key = {};
    const Diagnostics found = diagnose(in, {.maps = true});
    for (Index b = 0; b < batch; ++b)
      for (Index h = 0; h < heads; ++h) {
        Matrix s = xt::zeros<double>({d_v, d});
        std::vector<double> errors;
        for (Index t = 0; t < time; ++t) {
          Matrix e = row(in.memory.value.value(), b, t, h);
          if (keyed) e -= xt::linalg::dot(s, row(in.memory.key.value(), b, t, h));
          s += outer(e, row(in.memory.coefficient.value(), b, t, h));
          errors.push_back(frobenius(e));
          BOOST_TEST(std::abs(found.error_norm.at<double>({b, t, h}) - frobenius(e)) <= 1e-13);
          BOOST_TEST(std::abs(found.memory_norm.at<double>({b, t, h}) - frobenius(s)) <= 1e-13);
          if (!keyed) BOOST_TEST(found.transition_norm.at<double>({b, t, h}) == 1);
          const Matrix q = row(in.memory.query.value(), b, t, h) /
                           in.denominator.value().at<double>({b, t, h, 0});
          for (Index i = 0; i < time; ++i) {
            const Matrix alpha = row(in.memory.coefficient.value(), b, i, h);
            const double left =
                i > t ? 0 : std::abs(inner(alpha, q)) * errors[static_cast<std::size_t>(i)];
            BOOST_TEST(std::abs(found.survival.at<double>({b, t, h, i}) - left) <= 1e-13);
          }
        }
      }
  }
}

BOOST_AUTO_TEST_CASE(entropy_is_of_the_sizes_of_the_weights) {
  const Tensor weights =
      Tensor::from<double>({4, 4}, {1, -1, 1, -1, 0, -3, 0, 0, 0, 0, 0, 0, 0.5, 0.25, -0.25, 0});
  const std::vector<double> expected = {std::log(4), 0, 0, 1.5 * std::log(2)};
  check_close(attention_entropy(weights), Tensor::from<double>({4}, expected), 1e-15);
}

BOOST_AUTO_TEST_CASE(eigenvalues_come_every_so_many_tokens) {
  const MemoryInputs in = full_inputs(2, 8, 2, 3, 2, 2);
  const Diagnostics all = diagnose(in), some = diagnose(in, {.every = 3});
  BOOST_TEST(!some.attention.defined());
  BOOST_TEST(some.times.values<Index>() == (std::vector<Index>{0, 3, 6}),
             boost::test_tools::per_element());
  BOOST_TEST(some.eigenvalues.shape() == (Shape{2, 3, 2, 3}));
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 3; ++n)
      for (Index h = 0; h < 2; ++h)
        BOOST_TEST(some.condition.at<double>({b, n, h}) == all.condition.at<double>({b, 3 * n, h}));
  check_close(some.inverse_norm, all.inverse_norm, 0);
  BOOST_TEST(diagnose(in, {.every = 100}).times.elements() == 1);
}

BOOST_AUTO_TEST_CASE(no_token_and_one_token_are_legal) {
  for (const ModelKind& kind : model_kinds())
    for (Index time : {0, 1}) {
      BOOST_TEST_CONTEXT(kind.name << ", T " << time) {
        Rng rng(2);
        const auto mixer = mixer_factory(kind.name, small(std::string(kind.name)))(rng);
        Tape tape;
        const Diagnostics found =
            mixer->diagnose(Var::parameter(Tensor::zeros({2, time, 12}, DType::float64)),
                            few_tokens(2, time), {.every = 2, .maps = true});
        BOOST_TEST(tape.size() == 0);
        BOOST_TEST(found.attention.shape() == (Shape{2, time, 3, time}));
        BOOST_TEST(found.attention_entropy.shape() == (Shape{2, time, 3}));
        BOOST_TEST(found.memory_norm.defined() == (kind.name != "softmax"));
        BOOST_TEST(found.eigenvalues.defined() == kind.name.starts_with("vla"));
        if (found.eigenvalues.defined())
          BOOST_TEST(found.eigenvalues.shape() == (Shape{2, time, 3, 4}));
        BOOST_TEST(found.inverse.defined() == kind.name.starts_with("vla"));
        if (found.inverse.defined()) BOOST_TEST(found.inverse.shape() == (Shape{2, 3, 4, 4}));
        for (const Tensor& x : {found.condition, found.memory_norm, found.survival})
          if (x.defined())
            for (double number : x.values<double>()) BOOST_TEST(std::isfinite(number));
      }
    }
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  const MemoryInputs in = full_inputs(1, 3, 1, 2, 2, 1);
  BOOST_CHECK_EXCEPTION(diagnose(in, {.every = 0}), Error,
                        says("diagnose: every 0 is not allowed; 1 or more"));
  MemoryInputs changed = in;
  changed.memory.gate = in.memory.value;
  BOOST_CHECK_EXCEPTION(diagnose(changed), Error,
                        says("diagnose: the memory has a gate or an initial state; one without a "
                             "gate, from the start of its sequence, is needed"));
  changed = in;
  changed.denominator = in.memory.query;
  BOOST_CHECK_EXCEPTION(diagnose(changed), Error,
                        says("diagnose: denominator (1, 3, 1, 2) does not fit query (1, 3, 1, 2); "
                             "(B, T, H, 1) is needed"));
  changed = in;
  changed.penalty.directions = Tensor::zeros({1, 3, 1, 5}, DType::float64);
  BOOST_CHECK_THROW(diagnose(changed), Error);
  BOOST_CHECK_EXCEPTION(diagnose(full_inputs(1, 3, 1, 0, 2, 1)), Error,
                        says("diagnose: keys of width 0; 1 or more is needed"));
  Rng rng(1);
  GatedDeltaNet gated({.attention = {.width = 4, .heads = 1}}, rng);
  BOOST_CHECK_EXCEPTION(
      gated.diagnose(Var(Tensor::zeros({1, 1, 4}, DType::float32)), few_tokens(1, 1), {}), Error,
      says("diagnose: this mixer has no diagnostics; override Mixer::diagnose"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
