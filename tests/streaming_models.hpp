// Mixers and models of every kind, small, for the tests of streaming.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "framework/framework.hpp"
#include "models/models.hpp"

namespace vla {

struct Row {
  const char* name;
  std::function<std::unique_ptr<Mixer>(const AttentionOptions&, Rng&)> make;
};

template <class Layer, class Options>
Row row(const char* name, Options options) {
  return {name, [=](const AttentionOptions& attention, Rng& rng) {
            Options with = options;
            with.attention = attention;
            return std::make_unique<Layer>(with, rng);
          }};
}

// Every stabiliser at work within a few tokens.
inline const StabilizedOptions kStabilized{.nudge_period = 5,
                                           .nudge = 1e-2,
                                           .error_clip = 0.5,
                                           .renormalize_above = 0.6,
                                           .guard_above = 0.5,
                                           .guard = 1e-3};

inline std::vector<Row> rows() {
  const auto learned = PenaltyKind::learned;
  return {
      row<Vla>("vla", VlaOptions{}),
      row<Vla>(
          "vla, step, forgets and restores",
          VlaOptions{
              .attention = {}, .forget = true, .restore_period = 7, .form = OperatorForm::step}),
      row<Vla>(
          "vla, chunk, forgets and restores",
          VlaOptions{
              .attention = {}, .forget = true, .restore_period = 7, .form = OperatorForm::chunk}),
      row<Vla>("vla, automatic, forgets and restores", VlaOptions{.attention = {},
                                                                  .forget = true,
                                                                  .restore_period = 7,
                                                                  .form = OperatorForm::automatic}),
      row<Vla>(
          "vla, two learned directions",
          VlaOptions{
              .attention = {}, .penalty = learned, .rank = 2, .forget = true, .restore_period = 5}),
      // At the usual lambda0 of 0.1 a write overshoots tenfold, and S grows without bound.
      row<Vla>("vla, no penalty",
               VlaOptions{.attention = {}, .penalty = learned, .rank = 0, .lambda_start = 1}),
      row<DeltaNet>("deltanet", DeltaNetOptions{}),
      row<DeltaNet>("deltanet, rate from key",
                    DeltaNetOptions{.attention = {}, .unit_query = false, .rate_from_key = true}),
      row<DeltaNet>("deltanet, step", DeltaNetOptions{.attention = {}, .form = OperatorForm::step}),
      row<GatedDeltaNet>("gated deltanet", GatedDeltaNetOptions{}),
      row<LinearTransformer>("linear", LinearTransformerOptions{}),
      row<LinearTransformer>(
          "linear, added guard",
          LinearTransformerOptions{.attention = {}, .guard = DenominatorGuard::add}),
      {"softmax", [](const AttentionOptions& attention,
                     Rng& rng) { return std::make_unique<SoftmaxTransformer>(attention, rng); }},
      row<VlaV1>("vla-v1", VlaV1Options{.recurrence = kStabilized}),
      row<VlaV1>("vla-v1, two directions",
                 VlaV1Options{.directions = DirectionKind::kernel, .rank = 2}),
      row<VlaV1>("vla-v1, chunk, then step",
                 VlaV1Options{.recurrence = {.nudge = 0, .error_clip = 0, .guard_above = 0},
                              .form = OperatorForm::chunk}),
      row<VlaV3>("vla-v3", VlaV3Options{.nudge_period = 3, .unit_floor = 1e-6}),
      row<VlaV3>("vla-v3, chunk, then step", VlaV3Options{.nudge = 0, .rank = 2}),
  };
}

inline AttentionOptions attention(Index convolution, DType dtype = DType::float64) {
  return {.width = 6,
          .heads = 2,
          .key_width = 3,
          .value_width = 4,
          .convolution = convolution,
          .dtype = dtype};
}

// (B, T, width) with a row of zeros and a row that comes again.
inline Tensor sequence(Index batch, Index time, Index width, DType dtype, Rng& rng) {
  Tensor x = rng.normal({batch, time, width}, DType::float64);
  double* values = x.mutable_data<double>();
  if (time > 6) std::fill_n(values + 3 * width, width, 0.0);
  if (time > 6) std::copy_n(values + 4 * width, width, values + 5 * width);
  return x.to(dtype);
}

inline Tensor random_tokens(Index batch, Index time, Index vocabulary, Rng& rng) {
  Tensor result({batch, time}, DType::int64);
  for (auto& token : result.mutable_values<Index>()) token = rng.below(vocabulary);
  return result;
}

inline LanguageModel small_model(std::string_view kind, Index positions, Rng& rng) {
  return LanguageModel(
      {.body = {.vocabulary = 9,
                .width = 8,
                .layers = 2,
                .hidden = 8,
                .positions = positions,
                .dtype = DType::float64}},
      mixer_factory(
          kind, {.attention = {.width = 8, .heads = 2, .deviation = 0.5, .dtype = DType::float64}}),
      rng);
}

}  // namespace vla
