// The chunk forms of the two operators against their step forms: outputs, states and every gradient
// at lengths around a chunk's, and with inputs that random normals never hit.

#include "framework/ops/xtensor.hpp"
// The door above comes first.
#include <limits>
#include <xtensor-blas/xlinalg.hpp>

#include "framework/diverged.hpp"
#include "framework/gradcheck.hpp"
#include "framework/parallel.hpp"
#include "models/delta_rule.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "tests/operator_results.hpp"

namespace vla {
namespace {

constexpr Index kChunks[] = {16, 32, 64};

std::vector<Index> lengths_around(Index chunk) {
  return {0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk + 7};
}

// Fills the vectors of token t, in all sequences and heads.
void set_token(Tensor& x, Index t, double value) {
  if (t >= x.size(1)) return;
  const Index row = x.elements() / std::max<Index>(x.size(0) * x.size(1), 1);
  for (Index b = 0; b < x.size(0); ++b)
    for (Index i = 0; i < row; ++i)
      x.mutable_values<double>()[static_cast<std::size_t>((b * x.size(1) + t) * row + i)] = value;
}

void scale_token(Tensor& x, Index t, double factor) {
  if (t >= x.size(1)) return;
  const Index row = x.elements() / (x.size(0) * x.size(1));
  for (Index i = 0; i < row; ++i)
    x.mutable_values<double>()[static_cast<std::size_t>(t * row + i)] *= factor;
}

struct Case {
  Index time = 70, width = 8, rank = 1, vectors = 1, batch = 1, heads = 2;
  bool weights = true, forget = false;
  Index restore_period = 0;
  bool own = false;         // A is applied to the directions themselves
  bool wide_range = false;  // directions over nine orders of magnitude
};

std::vector<Tensor> penalty_inputs(const Case& c) {
  Rng rng(40 + static_cast<std::uint64_t>(c.time));
  const Shape tokens{c.batch, c.time, c.heads};
  const double usual = 1 / std::sqrt(static_cast<double>(c.width));
  Tensor u = rng.normal({c.batch, c.time, c.heads, c.rank, c.width}, DType::float64, 0, usual);
  set_token(u, 1, 0);                              // no direction at all
  set_token(u, 3, usual), set_token(u, 4, usual);  // the same one twice
  for (Index t = 5; c.wide_range && t < c.time; ++t)
    scale_token(u, t, std::pow(10, static_cast<double>(t % 10) - 7));
  std::vector<Tensor> inputs{u, rng.uniform({c.heads}, DType::float64, 0.1, 1)};
  if (!c.own)
    inputs.push_back(rng.normal({c.batch, c.time, c.heads, c.vectors, c.width}, DType::float64));
  if (c.weights) {
    inputs.push_back(rng.uniform({c.batch, c.time, c.heads, c.rank}, DType::float64));
    set_token(inputs.back(), 6, 0);
    set_token(inputs.back(), 7, 1);
  }
  if (c.forget) inputs.push_back(rng.uniform(tokens, DType::float64, 0.9, 1));
  return inputs;
}

std::vector<Tensor> penalty_results(const Case& c, const std::vector<Tensor>& inputs,
                                    const InversePenaltyOptions& options) {
  return results_and_gradients(inputs, [&](const std::vector<Var>& v) {
    std::size_t next = c.own ? 2 : 3;
    Penalty penalty{.directions = v[0], .lambda0 = v[1]};
    if (c.weights) penalty.weights = v[next++];
    if (c.forget) penalty.forget = v[next++];
    const InversePenaltyResult result = inverse_penalty(c.own ? v[0] : v[2], penalty, options);
    return std::vector<Var>{result.output, Var(result.state.penalty.to(v[0].dtype())),
                            Var(result.state.kept.to(v[0].dtype()))};
  });
}

// The largest condition number of the last M of any sequence and head.
double condition(const Tensor& penalty) {
  const Index d = penalty.size(-1);
  double worst = 1;
  for (Index i = 0; i < penalty.size(0) * penalty.size(1); ++i) {
    xt::xarray<double> m = xt::zeros<double>({d, d});
    std::copy_n(penalty.data<double>() + i * d * d, d * d, m.data());
    const xt::xarray<double> values = xt::linalg::eigvalsh(m);
    worst = std::max(worst, values(d - 1) / values(0));
  }
  return worst;
}

std::vector<Tensor> as(DType dtype, const std::vector<Tensor>& tensors) {
  std::vector<Tensor> result;
  for (const Tensor& x : tensors) result.push_back(x.to(dtype));
  return result;
}

void check_penalty_case(const Case& c, Index chunk, bool in_float32 = false) {
  const std::vector<Tensor> inputs = penalty_inputs(c);
  InversePenaltyOptions options{.restore_period = c.restore_period, .form = OperatorForm::step};
  const std::vector<Tensor> reference = penalty_results(c, inputs, options);
  const double cond = c.time == 0 ? 1 : condition(reference[1]);
  options.form = OperatorForm::chunk;
  options.chunk = chunk;
  BOOST_TEST_CONTEXT("T " << c.time << ", chunk " << chunk << ", d " << c.width << ", rank "
                          << c.rank << ", forget " << c.forget << ", restore " << c.restore_period
                          << ", own " << c.own << ", cond " << cond) {
    compare(penalty_results(c, inputs, options), reference, std::max(1e-10, 50 * 2.2e-16 * cond));
    if (!in_float32 || cond > 1e6) return;
    compare(as(DType::float64, penalty_results(c, as(DType::float32, inputs), options)), reference,
            std::max(1e-4, 50 * 1.2e-7 * cond));
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(chunk)

BOOST_AUTO_TEST_CASE(inverse_penalty_at_every_length_and_rank) {
  for (const Index chunk : kChunks)
    for (const Index time : lengths_around(chunk))
      for (const Index width : {1, 5, 16, 64})
        for (const Index rank : {0, 1, 2, 3}) {
          check_penalty_case({.time = time, .width = width, .rank = rank}, chunk, true);
          check_penalty_case({.time = time, .width = width, .rank = rank, .forget = true}, chunk,
                             true);
        }
}

BOOST_AUTO_TEST_CASE(inverse_penalty_with_restoration) {
  for (const Index chunk : kChunks)
    for (const Index time : lengths_around(chunk))
      for (const Index period : {1, 7, 32})
        check_penalty_case({.time = time, .rank = 2, .forget = true, .restore_period = period},
                           chunk, true);
  for (const Index width : {1, 5, 16, 64})
    for (const Index rank : {0, 1, 2, 3})
      check_penalty_case(
          {.time = 55, .width = width, .rank = rank, .forget = true, .restore_period = 20}, 16,
          true);
}

BOOST_AUTO_TEST_CASE(inverse_penalty_of_its_own_directions) {
  for (const Index chunk : kChunks)
    for (const Index time : lengths_around(chunk))
      for (const bool forget : {false, true})
        check_penalty_case({.time = time, .width = 16, .forget = forget, .own = true}, chunk, true);
}

BOOST_AUTO_TEST_CASE(inverse_penalty_of_several_vectors) {
  for (const Index time : {1, 17, 100})
    check_penalty_case({.time = time, .rank = 2, .vectors = 3, .batch = 2, .forget = true}, 16,
                       true);
}

BOOST_AUTO_TEST_CASE(inverse_penalty_of_directions_over_nine_orders_of_magnitude) {
  for (const bool own : {false, true})
    for (const bool forget : {false, true}) {
      const Case c{.time = 55, .forget = forget, .own = own, .wide_range = true};
      check_penalty_case(c, 32, true);
      // A norm over all tokens would hide those whose vectors are small.
      const std::vector<Tensor> inputs = penalty_inputs(c);
      const auto run = [&](OperatorForm form) {
        return penalty_results(c, inputs, {.form = form, .chunk = 32})[0];
      };
      const Var step(run(OperatorForm::step)), chunk(run(OperatorForm::chunk));
      for (Index t = 0; t < c.time; ++t)
        BOOST_TEST_CONTEXT("token " << t << ", own " << own << ", forget " << forget)
      check_close(slice(chunk, 1, t, t + 1).value(), slice(step, 1, t, t + 1).value(), 1e-8);
    }
}

// A_t, column by column, as the chunk form applies it.
BOOST_AUTO_TEST_CASE(the_inverse_is_symmetric_positive_definite_and_never_grows) {
  constexpr Index time = 600, d = 6;
  Rng rng(3);
  Tensor columns = Tensor::zeros({1, time, 1, d, d}, DType::float64);
  for (Index i = 0; i < time * d; ++i) columns.mutable_data<double>()[i * d + i % d] = 1;
  const Var keys(rng.normal({1, time, 1, d}, DType::float64));
  const Tensor inverses =
      inverse_penalty(Var(columns),
                      {.directions = keys, .lambda0 = Var(Tensor::full({1}, 0.1, DType::float64))},
                      {.form = OperatorForm::chunk})
          .output.value();
  xt::xarray<double> before = 10 * xt::eye<double>(d);
  for (Index t = 0; t < time; ++t) {
    xt::xarray<double> a = xt::zeros<double>({d, d});
    std::copy_n(inverses.data<double>() + t * d * d, d * d, a.data());
    const xt::xarray<double> asymmetry = a - xt::transpose(a);
    BOOST_TEST(xt::amax(xt::abs(asymmetry))() <= 1e-12);
    BOOST_TEST(xt::xarray<double>(xt::linalg::eigvalsh(a))(0) > 0);
    const xt::xarray<double> shrunk = before - a;
    BOOST_TEST(xt::xarray<double>(xt::linalg::eigvalsh(shrunk))(0) >= -1e-12);
    before = a;
  }
}

BOOST_AUTO_TEST_CASE(inverse_penalty_over_many_segments) {
  check_penalty_case({.time = 1500, .width = 16}, 64, true);
  check_penalty_case({.time = 1500, .width = 16, .forget = true, .restore_period = 200}, 64);
}

// A state given at the start, and gradients with it: M is then a constant.
BOOST_AUTO_TEST_CASE(inverse_penalty_goes_on_from_a_state) {
  for (const bool forget : {false, true})
    for (const Index first : {1, 40, 64}) {
      const Case c{.time = 100, .forget = forget, .restore_period = forget ? 32 : 0};
      const std::vector<Tensor> inputs = penalty_inputs(c);
      const auto run = [&](OperatorForm form) {
        return results_and_gradients(inputs, [&](const std::vector<Var>& v) {
          const auto part = [&](Index begin, Index end, const PenaltyState& state) {
            const auto cut = [&](const Var& x) { return slice(x, 1, begin, end); };
            Penalty penalty{.directions = cut(v[0]), .weights = cut(v[3]), .lambda0 = v[1]};
            if (forget) penalty.forget = cut(v[4]);
            return inverse_penalty(
                cut(v[2]), penalty,
                {.restore_period = c.restore_period, .form = form, .initial = state});
          };
          const InversePenaltyResult one = part(0, first, {}), two = part(first, c.time, one.state);
          return std::vector<Var>{one.output, two.output, Var(two.state.penalty),
                                  Var(two.state.kept)};
        });
      };
      const std::vector<Tensor> step = run(OperatorForm::step);
      BOOST_TEST_CONTEXT("cut at " << first << ", forget " << forget) {
        compare(run(OperatorForm::chunk), step, 1e-10);
        // Cut or whole, the output is the same.
        const std::vector<Tensor> whole = penalty_results(
            c, inputs, {.restore_period = c.restore_period, .form = OperatorForm::chunk});
        const Tensor joined = concat({Var(step[0]), Var(step[1])}, 1).value();
        check_close(joined, whole[0], 1e-11);
      }
    }
}

BOOST_AUTO_TEST_CASE(gradients_of_the_inverse_penalty_by_finite_differences) {
  const Case c{.time = 20, .width = 3, .rank = 2, .forget = true, .restore_period = 6};
  std::vector<Tensor> inputs = penalty_inputs(c);
  set_token(inputs[3], 6, 0.5);  // a weight of 0 has no neighbour below it
  const double worst = gradcheck(
      "inverse_penalty by chunk",
      [](const std::vector<Var>& v) {
        return inverse_penalty(
                   v[2], {.directions = v[0], .weights = v[3], .forget = v[4], .lambda0 = v[1]},
                   {.restore_period = 6, .form = OperatorForm::chunk, .chunk = 8})
            .output;
      },
      inputs);
  BOOST_TEST(worst < 0.1);
}

// A block that begins where a restoration has just been due, with something still to give back.
BOOST_AUTO_TEST_CASE(gradients_go_through_a_restoration_of_what_was_carried) {
  const Index d = 3;
  PenaltyState state{.penalty = Tensor::zeros({1, 2, d, d}, DType::float64),
                     .kept = Tensor::full({1, 2}, 0.5, DType::float64),
                     .tokens = 8};
  for (Index i = 0; i < 2 * d; ++i)
    state.penalty.mutable_data<double>()[i / d * d * d + i % d * (d + 1)] = 1;
  for (const OperatorForm form : {OperatorForm::step, OperatorForm::chunk})
    for (const Index before : {8, 9})
      for (const Index time : {4, 7}) {
        state.tokens = before;
        std::vector<Tensor> inputs =
            penalty_inputs({.time = time, .width = d, .weights = false, .forget = true});
        const double worst = gradcheck(
            "inverse_penalty from a state",
            [&](const std::vector<Var>& v) {
              return inverse_penalty(v[2], {.directions = v[0], .forget = v[3], .lambda0 = v[1]},
                                     {.restore_period = 4, .form = form, .initial = state})
                  .output;
            },
            inputs);
        BOOST_TEST(worst < 0.1);
      }
}

BOOST_AUTO_TEST_CASE(delta_rule_by_chunk_equals_by_step) {
  struct Widths {
    Index key, value;
  };
  for (const Index chunk : kChunks)
    for (const Index time : lengths_around(chunk))
      for (const Widths& width : {Widths{1, 1}, {5, 3}, {16, 33}, {64, 64}})
        for (int parts = 0; parts < 4; ++parts) {
          Rng rng(7);
          const Shape keys{1, time, 2, width.key}, values{1, time, 2, width.value};
          const double usual = 0.7 / std::sqrt(static_cast<double>(width.key));
          std::vector<Tensor> inputs{rng.normal(keys, DType::float64),
                                     rng.normal(keys, DType::float64, 0, usual),
                                     rng.normal(values, DType::float64)};
          if (parts & 1) inputs.push_back(rng.normal(keys, DType::float64, 0, usual));
          set_token(inputs.back(), 1, 0);                                  // a zero key
          set_token(inputs[1], 3, usual), set_token(inputs[1], 4, usual);  // one that comes again
          if (parts & 2)
            inputs.push_back(rng.normal({1, 2, width.value, width.key}, DType::float64));
          const auto run = [&](DType dtype, const DeltaRuleOptions& options) {
            return as(DType::float64,
                      results_and_gradients(as(dtype, inputs), [&](const std::vector<Var>& v) {
                        DeltaRuleInputs in{.query = v[0], .coefficient = v[1], .value = v[2]};
                        if (parts & 1) in.key = v[3];
                        if (parts & 2) in.initial_state = v.back();
                        const DeltaRuleResult result = delta_rule(in, options);
                        return std::vector<Var>{result.output, result.final_state};
                      }));
          };
          const auto step = run(DType::float64, {.form = OperatorForm::step});
          const DeltaRuleOptions by_chunk{.form = OperatorForm::chunk, .chunk = chunk};
          BOOST_TEST_CONTEXT("T " << time << ", chunk " << chunk << ", d " << width.key
                                  << ", parts " << parts) {
            compare(run(DType::float64, by_chunk), step, 1e-10);
            compare(run(DType::float32, by_chunk), step, 1e-4);
          }
        }
}

BOOST_AUTO_TEST_CASE(results_do_not_depend_on_the_number_of_threads) {
  const int before = thread_count();
  const Case c{.time = 1100, .width = 16, .batch = 2, .forget = true};
  const std::vector<Tensor> inputs = as(DType::float32, penalty_inputs(c));
  set_thread_count(1);
  const std::vector<Tensor> one = penalty_results(c, inputs, {.form = OperatorForm::chunk});
  set_thread_count(2);
  const std::vector<Tensor> two = penalty_results(c, inputs, {.form = OperatorForm::chunk});
  set_thread_count(before);
  compare(one, two, 0);
}

BOOST_AUTO_TEST_CASE(errors_name_the_place) {
  const Shape shape{2, 700, 3, 4};
  const auto solve = [](const Tensor& x, const Tensor& u, double lambda0, OperatorForm form) {
    return inverse_penalty(
        Var(x), {.directions = Var(u), .lambda0 = Var(Tensor::full({3}, lambda0, DType::float64))},
        {.form = form});
  };
  const Tensor fine = Rng(1).normal(shape, DType::float64);
  const auto broken = [&](double value) {
    Tensor x = fine.clone();
    x.mutable_values<double>()[static_cast<std::size_t>(((1 * 700 + 650) * 3 + 2) * 4 + 1)] = value;
    return x;
  };
  for (const OperatorForm form : {OperatorForm::step, OperatorForm::chunk}) {
    for (const double value : {double(NAN), double(INFINITY)}) {
      BOOST_CHECK_EXCEPTION(solve(fine, broken(value), 1, form), Error,
                            says("inverse penalty: the direction of sequence 1, head 2 at token "
                                 "650 is not finite"));
      BOOST_CHECK_EXCEPTION(solve(broken(value), fine, 1, form), Error,
                            says("inverse penalty: the vector of sequence 1, head 2 at token 650 "
                                 "is not finite"));
    }
    const Var x = Var::parameter(fine);
    Tape tape;
    const Var y =
        inverse_penalty(x, {.directions = x, .lambda0 = Var(Tensor::full({3}, 1, DType::float64))},
                        {.form = form})
            .output;
    const std::string reason =
        "in its backward rule: inverse penalty: the upstream gradient of sequence 1, head 2 at "
        "token 650 is not finite";
    BOOST_CHECK_EXCEPTION(tape.backward(y, broken(NAN)), Diverged, [&](const Diverged& error) {
      return std::string(error.what()).ends_with(reason);
    });
  }
  // Its square is infinite.
  BOOST_CHECK_EXCEPTION(solve(fine, broken(1e200), 1, OperatorForm::chunk), Error,
                        says("inverse penalty: the penalty of sequence 1, head 2, chunk 10 at "
                             "token 640 is not positive definite or not finite"));
  BOOST_CHECK_EXCEPTION(
      solve(fine, fine, -1, OperatorForm::automatic), Error,
      says("inverse penalty: lambda0 of head 0 is -1; a positive number is needed"));
  BOOST_CHECK_EXCEPTION(
      delta_rule(
          {.query = Var(fine), .coefficient = Var(fine), .value = Var(fine), .gate = Var(fine)},
          {.form = OperatorForm::chunk}),
      Error, says("delta_rule: with a gate there is no chunk form; step or automatic"));
}

BOOST_AUTO_TEST_CASE(a_chunk_longer_than_the_sequence_is_the_sequence) {
  const Var x(Rng(1).normal({1, 12, 1, 3}, DType::float64));
  const auto run = [&](Index chunk) {
    const DeltaRuleOptions options{.form = OperatorForm::chunk, .chunk = chunk};
    return delta_rule({.query = x, .key = x, .coefficient = x, .value = x}, options).output.value();
  };
  check_close(run(std::numeric_limits<Index>::max()), run(12), 0);
  const Penalty penalty{.directions = x, .lambda0 = Var(Tensor::full({1}, 1, DType::float64))};
  const auto solve = [&](Index chunk) {
    return inverse_penalty(x, penalty, {.form = OperatorForm::chunk, .chunk = chunk})
        .output.value();
  };
  check_close(solve(std::numeric_limits<Index>::max()), solve(12), 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
