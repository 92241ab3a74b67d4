// Layers and models as wholes: shapes, causality, settings, and the facts VLA promises.

#include "models/models.hpp"

#include <type_traits>

#include "framework/framework.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"

namespace vla {
namespace {

Tensor tokens(Index batch, Index time, Index vocabulary, std::uint64_t seed = 1) {
  Rng rng(seed);
  Tensor result({batch, time}, DType::int64);
  for (auto& token : result.mutable_values<Index>()) token = rng.below(vocabulary);
  return result;
}

MixerConfig small(Index convolution = 4) {
  return {
      .attention = {.width = 12, .heads = 3, .convolution = convolution, .dtype = DType::float64}};
}

LanguageModel small_model(std::string_view kind, Rng& rng) {
  return LanguageModel(
      {.body = {.vocabulary = 9, .width = 12, .layers = 2, .hidden = 16, .dtype = DType::float64}},
      mixer_factory(kind, small()), rng);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(models)

BOOST_AUTO_TEST_CASE(every_mixer_is_causal) {
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      Rng rng(5);
      const auto mixer = mixer_factory(kind.name, small())(rng);
      Tensor x = rng.normal({1, 10, 12}, DType::float64);
      const Tensor before = (*mixer)(Var(x)).value();
      Tensor changed = x.clone();
      for (std::size_t i = 6 * 12; i < 120; ++i) changed.mutable_values<double>()[i] = 3;
      const Tensor after = (*mixer)(Var(changed)).value();
      for (Index t = 0; t < 10; ++t) {
        double difference = 0;
        for (Index i = 0; i < 12; ++i)
          difference += std::abs(before.at<double>({0, t, i}) - after.at<double>({0, t, i}));
        if (t < 6)
          BOOST_TEST(difference == 0);
        else
          BOOST_TEST(difference > 1e-6);
      }
    }
  }
}

// The published layers compute a lambda that nothing depends on.
BOOST_AUTO_TEST_CASE(lambda0_of_exact_vla_moves_the_loss_unless_it_is_fixed) {
  for (const bool learned : {true, false}) {
    MixerConfig config = small();
    config.learn_lambda0 = learned;
    Rng rng(7);
    const auto mixer = mixer_factory("vla", config)(rng);
    Tape tape;
    const Var loss = sum(square((*mixer)(Var(rng.normal({2, 10, 12}, DType::float64)))));
    const Gradients gradients = tape.backward(loss);
    bool found = false;
    for (const Parameter& parameter : parameters(*mixer)) {
      if (!parameter.name.ends_with("lambda0")) continue;
      found = true;
      const Tensor* gradient = gradients.find(parameter.variable);
      BOOST_TEST((gradient != nullptr) == learned);
      if (!gradient) continue;
      for (const double value : gradient->values<double>()) BOOST_TEST(std::abs(value) > 1e-9);
    }
    BOOST_TEST(found);
  }
}

// Where forgetting has been learned to the full, the penalty stays invertible.
BOOST_AUTO_TEST_CASE(vla_that_forgets_all_it_can_has_finite_gradients) {
  Rng rng(8);
  Vla layer({.attention = {.width = 12, .heads = 2, .dtype = DType::float32},
             .forget = true,
             .restore_period = 8},
            rng);
  for (const Parameter& parameter : parameters(layer))
    if (parameter.name.ends_with("forget.bias")) {
      Var bias = parameter.variable;
      bias.mutable_value().fill(-60);
    }
  Tape tape;
  const Var y = layer(Var(rng.normal({2, 100, 12}, DType::float32)));
  const Gradients gradients = tape.backward(sum(square(y)));
  for (const Parameter& parameter : parameters(layer))
    if (const Tensor* gradient = gradients.find(parameter.variable))
      for (const float value : gradient->values<float>())
        BOOST_TEST(std::isfinite(value), parameter.name);
  BOOST_TEST(error_of([&] {
               Vla({.attention = {.width = 12}, .forget = true, .forget_floor = 1}, rng);
             }).starts_with("VLA: least forgetting factor 1 is not allowed"));
}

BOOST_AUTO_TEST_CASE(lengths_zero_and_one_are_legal) {
  for (const ModelKind& kind : model_kinds()) {
    for (Index time : {0, 1}) {
      BOOST_TEST_CONTEXT(kind.name << ", T " << time) {
        Rng rng(6);
        LanguageModel model = small_model(kind.name, rng);
        Tape tape;
        const Var logits = model(tokens(2, time, 9));
        BOOST_TEST(logits.shape() == Shape({2, time, 9}));
        const Gradients gradients = tape.backward(sum(square(logits)));
        for (const Parameter& parameter : parameters(model)) {
          const Tensor* gradient = gradients.find(parameter.variable);
          // lambda_t of version 1 is reported and not used: it has no gradient by definition.
          if (parameter.name.find("penalty.lambda.") != std::string::npos) {
            BOOST_TEST(!gradient);
            continue;
          }
          BOOST_REQUIRE_MESSAGE(gradient, parameter.name);
          for (double value : gradient->values<double>()) BOOST_TEST(std::isfinite(value));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(parameters_have_names_and_counts) {
  Rng rng(1);
  VlaLanguageModel model({}, rng);
  const std::vector<Parameter> all = parameters(model);
  BOOST_TEST(all.front().name == "tokens.weight");
  const auto named = [&](const std::string& name) {
    return std::any_of(all.begin(), all.end(), [&](const Parameter& p) { return p.name == name; });
  };
  BOOST_TEST(named("blocks.1.mixer.query.convolution.weight"));
  BOOST_TEST(named("blocks.0.mixer.penalty.lambda0"));
  // tokens 128 x 128; a block: q, k, v, o 4 (128^2 + 128), convolutions 3 (128 x 4), beta 129 x 4,
  // lambda0 4, norms 3 x 256, MLP 128 x 256 x 2 + 256 + 128; final norm 256.
  const Index block =
      4 * (128 * 128 + 128) + 3 * 128 * 4 + 129 * 4 + 4 + 3 * 256 + 2 * 128 * 256 + 256 + 128;
  BOOST_TEST(parameter_count(model) == 128 * 128 + 2 * block + 256);
  VlaLanguageModel with_positions({.positions = 7}, rng);
  BOOST_TEST(parameter_count(with_positions) == parameter_count(model) + 7 * 128);
}

BOOST_AUTO_TEST_CASE(bad_settings_are_named) {
  const auto factory = [](std::string_view kind, MixerConfig config) {
    return [=] { mixer_factory(kind, config); };
  };
  BOOST_CHECK_EXCEPTION(
      factory("mamba", {})(), Error,
      says("unknown model 'mamba'; allowed: vla, vla-v1, vla-v3, deltanet, linear, softmax"));
  BOOST_CHECK_EXCEPTION(factory("vla", {.attention = {.width = 10, .heads = 3}})(), Error,
                        says("attention: width 10 is not divisible by 3 heads"));
  const auto refused = [&](std::string_view kind, const MixerConfig& config, const char* message) {
    BOOST_CHECK_EXCEPTION(factory(kind, config)(), Error, says(message));
  };
  refused("vla", {.penalty = "none"}, "--penalty 'none' is not allowed; key or learned");
  refused("vla", {.rank = 2}, "--rank 2 needs --penalty learned; penalty key has rank 1");
  refused("vla", {.penalty = "learned", .rank = -1}, "--rank -1 is negative; 0 or more is allowed");
  refused("vla", {.restore_period = 5},
          "--restore-period 5 needs --forget; without it there is nothing to restore");
  refused("vla", {.forget = true, .restore_period = -5},
          "--restore-period -5 is negative; 0 or more is allowed");
  refused("vla", {.lambda0 = 0.01}, "--lambda0 0.01 is not allowed; above its floor 0.01");
  refused("vla-v3", {.lambda0 = -1},
          "--lambda0 -1 is not allowed; above 0, or 0 for the model's own");
  refused("vla-v3", {.nudge_period = -2},
          "--nudge-period -2 is not allowed; 0 (never) or more, or -1 for the model's own");
  refused("vla-v1", {.nudge = -0.5},
          "--nudge-eps -0.5 is not allowed; 0 or more, or -1 for the model's own");
  refused("vla-v1", {.symbolic = -1}, "--symbolic -1 is not allowed; 0 or more");
  refused("vla-v1", {.form = "chunk"},
          "--operator-form chunk is not for model vla-v1, which goes token by token; auto or "
          "step");
  refused("softmax", {.form = "step"}, "model 'softmax' has no setting --operator-form");
}

// What a setting does to the output, for the kinds that have it; the others refuse it.
BOOST_AUTO_TEST_CASE(every_setting_acts_or_is_refused) {
  struct Row {
    std::string option;
    MixerConfig plain, changed;  // both only need what --rank and --restore-period need of vla
    std::string_view kinds;
  };
  const std::vector<Row> rows{
      {"--penalty", {}, {.penalty = "learned"}, "vla"},
      {"--rank", {}, {.rank = 2}, "vla-v1 vla-v3"},
      {"--rank", {.penalty = "learned"}, {.penalty = "learned", .rank = 2}, "vla"},
      {"--forget", {}, {.forget = true}, "vla"},
      {"--restore-period", {.forget = true}, {.forget = true, .restore_period = 3}, "vla"},
      {"--lambda0", {}, {.lambda0 = 0.4}, "vla vla-v1 vla-v3"},
      {"--nudge-period", {}, {.nudge_period = 3}, "vla-v1 vla-v3"},
      {"--nudge-eps", {}, {.nudge = 0.05}, "vla-v1 vla-v3"},
      {"--symbolic", {}, {.symbolic = 0.5}, "vla-v1"},
  };
  const auto output = [](std::string_view kind, MixerConfig config) {
    config.attention = small().attention;
    Rng rng(5);
    const auto mixer = mixer_factory(kind, config)(rng);
    // Longer than version 1's period of nudges.
    return (*mixer)(Var(Rng(6).normal({1, 60, 12}, DType::float64)), tokens(1, 60, 9)).value();
  };
  for (const Row& row : rows)
    for (const ModelKind& kind : model_kinds()) {
      const std::string words = concatenate(" ", row.kinds, " ");
      const bool has = words.find(concatenate(" ", kind.name, " ")) != std::string::npos;
      BOOST_TEST_CONTEXT(row.option << " on " << kind.name) {
        if (has)
          BOOST_TEST(relative_difference(output(kind.name, row.changed),
                                         output(kind.name, row.plain)) > 1e-9);
        else if (kind.name != "vla" && row.plain.penalty == "key" && !row.plain.forget)
          BOOST_CHECK_EXCEPTION(
              output(kind.name, row.changed), Error,
              says(concatenate("model '", kind.name, "' has no setting ", row.option)));
      }
    }
}

// The same weights and so the same numbers, whether a layer is made by name or from its options.
BOOST_AUTO_TEST_CASE(published_layers_by_name_are_those_of_their_options) {
  const AttentionOptions attention = small().attention;
  const auto output = [](Mixer& mixer) {
    // Directions so short that they reach unit()'s floor.
    ParameterMap parameters = parameter_map(mixer);
    for (auto& [name, parameter] : parameters)
      if (name == "directions.weight") parameter.mutable_value() = (parameter * 1e-6).value();
    return mixer(Var(Rng(6).normal({2, 60, 12}, DType::float64)), tokens(2, 60, 9)).value();
  };
  const auto compare = [&]<class Layer>(std::string_view kind, MixerConfig config, auto options,
                                        std::type_identity<Layer>) {
    config.attention = options.attention = attention;
    Rng by_name_rng(5), direct_rng(5);
    const auto by_name = mixer_factory(kind, config)(by_name_rng);
    Layer direct(options, direct_rng);
    BOOST_TEST((by_name->form(64) == direct.form(64)));
    check_close(output(*by_name), output(direct), 0);
  };
  const auto v1 = std::type_identity<VlaV1>();
  const auto v3 = std::type_identity<VlaV3>();
  const MixerConfig all{.rank = 2, .lambda0 = 0.3, .nudge_period = 3, .nudge = 0.05};
  MixerConfig all_of_v1 = all, by_chunk = all;
  all_of_v1.symbolic = 0.5;
  by_chunk.nudge = 0;
  by_chunk.form = "chunk";
  compare("vla-v1", {}, VlaV1Options{}, v1);
  compare("vla-v1", all_of_v1,
          VlaV1Options{.rank = 2,
                       .symbolic = 0.5,
                       .recurrence = {.lambda0 = 0.3, .nudge_period = 3, .nudge = 0.05}},
          v1);
  compare("vla-v3", {}, VlaV3Options{.unit_floor = 1e-6}, v3);
  compare(
      "vla-v3", all,
      VlaV3Options{.lambda0 = 0.3, .nudge_period = 3, .nudge = 0.05, .rank = 2, .unit_floor = 1e-6},
      v3);
  compare("vla-v3", by_chunk,
          VlaV3Options{.lambda0 = 0.3,
                       .nudge_period = 3,
                       .nudge = 0,
                       .rank = 2,
                       .unit_floor = 1e-6,
                       .form = OperatorForm::chunk},
          v3);
}

BOOST_AUTO_TEST_CASE(a_classifier_averages_over_time) {
  Rng rng(3);
  Classifier model(
      {.body = {.vocabulary = 9, .width = 12, .layers = 1, .hidden = 8, .dtype = DType::float64},
       .classes = 5},
      mixer_factory("vla", small()), rng);
  Tape tape;
  const Var logits = model(tokens(4, 6, 9));
  BOOST_TEST(logits.shape() == Shape({4, 5}));
  const Gradients gradients = tape.backward(sum(logits));
  for (const Parameter& parameter : parameters(model))
    BOOST_TEST(gradients.find(parameter.variable) != nullptr, parameter.name);
}

BOOST_AUTO_TEST_CASE(a_sequence_longer_than_its_positions_is_refused) {
  Rng rng(3);
  LanguageModel model({.body = {.vocabulary = 9,
                                .width = 12,
                                .layers = 1,
                                .hidden = 8,
                                .positions = 4,
                                .dtype = DType::float64}},
                      mixer_factory("linear", small()), rng);
  BOOST_TEST(model(tokens(1, 4, 9)).shape() == Shape({1, 4, 9}));
  BOOST_CHECK_EXCEPTION(model(tokens(1, 5, 9)), Error,
                        says("model: 5 tokens, but positions for 4"));
}

// With penalty u = sqrt(beta) k the memory is at every token the weighted ridge regression of the
// values on the keys: S_t M_t = sum_s D[s,t] beta_s v_s k_s^T.
BOOST_AUTO_TEST_CASE(the_memory_solves_weighted_least_squares) {
  constexpr Index d = 5;
  Tensor expected = Tensor::zeros({d, d}, DType::float64);
  for (Index time = 1; time <= 23; ++time) {
    Rng rng(12);  // the same tokens each time, one more of them
    const auto draw = [&](Index width, double low, double high) {
      return Var(rng.fork(static_cast<std::uint64_t>(width + 10 * low))
                     .uniform({1, time, 1, width}, DType::float64, low, high));
    };
    const Var k = draw(d, -1, 1), v = draw(d, -2, 2);
    const Var beta = reshape(draw(1, 0, 1), {1, time, 1});
    const Var gamma = reshape(draw(1, 0.8, 1), {1, time, 1});
    const InversePenaltyResult solved =
        inverse_penalty(k, {.directions = k,
                            .weights = beta,
                            .forget = gamma,
                            .lambda0 = Var(Tensor::full({1}, 0.3, DType::float64))});
    const DeltaRuleResult memory = delta_rule(
        {.query = k, .key = k, .coefficient = scale_heads(solved.output, beta), .value = v});
    const Index t = time - 1;
    for (Index i = 0; i < d; ++i)
      for (Index j = 0; j < d; ++j) {
        double& sum = expected.mutable_values<double>()[static_cast<std::size_t>(i * d + j)];
        sum = gamma.value().at<double>({0, t, 0}) * sum + beta.value().at<double>({0, t, 0}) *
                                                              v.value().at<double>({0, t, 0, i}) *
                                                              k.value().at<double>({0, t, 0, j});
      }
    const Tensor product = matmul(Var(memory.final_state.value()), Var(solved.state.penalty))
                               .value()
                               .reshape(Shape{d, d});
    BOOST_TEST_CONTEXT("T " << time) check_close(product, expected, 1e-11);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
