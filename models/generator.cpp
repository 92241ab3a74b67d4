#include "models/generator.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace vla {
namespace {

const std::string kLastToken = "generator.last_token";
const std::string kWeights = "generator.weights";
constexpr Index kBlock =
    128;  // tokens read at once: more would take more memory and little less time

const SamplingOptions& checked(const SamplingOptions& options) {
  check(options.temperature >= 0 && std::isfinite(options.temperature), "sampling: temperature ",
        options.temperature, " is not allowed; 0 or a finite number above it is needed");
  check(options.top_k >= 0, "sampling: top-k ", options.top_k,
        " is not allowed; 1 or more, or 0 for all tokens");
  return options;
}

std::vector<double> finite_values(const Tensor& logits) {
  check(logits.rank() == 1 && logits.elements() > 0, "sampling: logits have shape ", logits.shape(),
        "; (V) with V >= 1 is needed");
  const Tensor wide = logits.to(Device{}).to(DType::float64);
  const std::span<const double> values = wide.values<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    check(std::isfinite(values[i]), "sampling: the logit of token ", i, " is ", values[i],
          "; it must be finite");
  return {values.begin(), values.end()};
}

// (1, T), where the model is.
Tensor one_sequence(std::span<const Index> tokens, LanguageModel& model) {
  return Tensor::from<Index>({1, static_cast<Index>(tokens.size())}, tokens, model.device());
}

// A number that two models share only if their parameters are equal to the bit (FNV-1a, 64 bits).
std::string fingerprint(LanguageModel& model) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const Parameter& parameter : parameters(model)) {
    const Tensor values = parameter.variable.value().to(Device{});
    dispatch_floating(values.dtype(), "fingerprint", [&](auto zero) {
      for (const std::byte byte : std::as_bytes(values.values<decltype(zero)>()))
        hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3;
    });
  }
  return std::to_string(hash);
}

}  // namespace

Index sample_token(const Tensor& logits, const SamplingOptions& options, Rng& rng) {
  checked(options);
  const std::vector<double> values = finite_values(logits);
  const double largest = *std::ranges::max_element(values);
  if (options.temperature == 0) return std::ranges::find(values, largest) - values.begin();

  std::vector<std::size_t> tokens(values.size());
  std::iota(tokens.begin(), tokens.end(), std::size_t{0});
  if (const auto top = static_cast<std::size_t>(options.top_k); top > 0 && top < tokens.size()) {
    const auto end = tokens.begin() + options.top_k;
    std::ranges::partial_sort(tokens, end, [&](std::size_t a, std::size_t b) {
      return values[a] > values[b] || (values[a] == values[b] && a < b);
    });
    tokens.erase(end, tokens.end());
  }
  const auto weight = [&](std::size_t token) {
    return std::exp((values[token] - largest) / options.temperature);
  };
  double total = 0;
  for (const std::size_t token : tokens) total += weight(token);
  double left = rng.uniform() * total;
  std::size_t drawn = tokens.front();
  for (const std::size_t token : tokens) {
    if (weight(token) == 0) continue;
    drawn = token;
    left -= weight(token);
    if (left < 0) break;
  }
  return static_cast<Index>(drawn);
}

Generator::Generator(LanguageModel& model, const SamplingOptions& options, std::uint64_t seed)
    : model_(model), options_(checked(options)), seed_(seed) {}

void Generator::read(std::span<const Index> tokens) {
  for (const Index token : tokens)
    check(token >= 0 && token < model_.config().vocabulary, "generator: token ", token,
          " is out of range; allowed: 0 to ", model_.config().vocabulary - 1);
  if (tokens.empty()) return;
  const PauseRecording pause;
  std::vector<Index> unseen;
  if (last_) unseen.push_back(*last_);
  unseen.insert(unseen.end(), tokens.begin(), tokens.end());
  StreamState state = state_;
  const std::span<const Index> seen_now(unseen.data(), unseen.size() - 1);
  for (std::size_t begin = 0; begin < seen_now.size(); begin += kBlock)
    model_.stream(one_sequence(seen_now.subspan(begin).first(
                                   std::min<std::size_t>(kBlock, seen_now.size() - begin)),
                               model_),
                  state);
  state_ = std::move(state);
  last_ = unseen.back();
}

Index Generator::next() {
  check(last_.has_value(), "generator: there is no token yet to go on from");
  const PauseRecording pause;
  StreamState state = state_;
  const Tensor logits = model_.stream(one_sequence({&*last_, 1}, model_), state).value();
  Rng rng(seed_, static_cast<std::uint64_t>(tokens()));
  last_ = sample_token(logits.reshape({-1}).to(Device{}), options_, rng);
  state_ = std::move(state);
  return *last_;
}

TensorFile Generator::save() const {
  check(last_.has_value(), "generator: there is no token yet to save");
  TensorFile file = to_file(state_);
  file.tensors.emplace_back(kLastToken, Tensor::from<Index>({1}, {*last_}));
  file.metadata[kWeights] = fingerprint(model_);
  return file;
}

void Generator::load(const TensorFile& file) {
  check(file.text(kWeights) == fingerprint(model_), file.source,
        ": the state was left by a model with other weights");
  StreamState state = to_state(file);
  for (auto& [name, part] : state.parts) part = part.to(model_.device());
  const Tensor last = file.at(kLastToken);
  check(last.dtype() == DType::int64 && last.elements() == 1, file.source, ": ", kLastToken, " is ",
        last.dtype(), " ", last.shape(), "; int64 (1) is needed");
  state.parts.erase(kLastToken);
  StreamState trial = state;
  try {
    const PauseRecording pause;
    model_.stream(one_sequence(last.values<Index>(), model_), trial);
  } catch (const Error& error) {
    fail(file.source, ": ", error.what());
  }
  state_ = std::move(state);
  last_ = last.values<Index>()[0];
}

}  // namespace vla
