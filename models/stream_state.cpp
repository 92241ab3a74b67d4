#include "models/stream_state.hpp"

#include <charconv>
#include <set>
#include <utility>

#include "framework/safetensors_header.hpp"

namespace vla {
namespace {

const std::string kTokensKey = "stream.tokens";
constexpr Index kMostTokens = Index{1} << 53;  // exact as a float64, and far from overflow

}  // namespace

TensorFile to_file(const StreamState& state) {
  TensorFile file{.metadata = {{kTokensKey, std::to_string(state.tokens)}}};
  for (const auto& [name, part] : state.parts) file.tensors.emplace_back(name, part.to(Device{}));
  return file;
}

StreamState to_state(const TensorFile& file) {
  const std::string& text = file.text(kTokensKey);
  StreamState state{.parts = {file.tensors.begin(), file.tensors.end()}};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, state.tokens);
  check(error == std::errc() && rest == end && state.tokens >= 0 && state.tokens <= kMostTokens,
        file.source, ": ", kTokensKey, " in the metadata is ", quote_name(text),
        "; a whole number from 0 to ", kMostTokens, " is needed");
  return state;
}

// One block on its way through a state.
struct Carry::Walk {
  const StreamState& before;
  StreamState after;
  std::set<std::string> taken = {};
};

Index Carry::tokens() const { return walk_ ? walk_->before.tokens : earlier_; }

Carry Carry::within(std::string_view name) const {
  Carry result = *this;
  if (streams()) result.prefix_ = concatenate(prefix_, name, ".");
  return result;
}

void Carry::check_not_split(std::string_view name) const {
  check(ranks_ == nullptr, "sequences split over ranks: '", prefix_, name,
        "' goes from block to block only; this kind of model needs whole sequences");
}

const Tensor* Carry::find(const std::string& name, const Shape& shape, DType dtype) const {
  const auto found = walk_->before.parts.find(name);
  if (found == walk_->before.parts.end()) return nullptr;
  const Tensor& part = found->second;
  check(part.defined() && part.shape() == shape && part.dtype() == dtype, "stream: '", name,
        "' of the state is ", part.dtype(), " ", part.shape(), "; ", dtype, " ", shape,
        " is needed");
  walk_->taken.insert(name);
  return &part;
}

Tensor Carry::take(std::string_view name, const Shape& shape, DType dtype,
                   std::optional<Device> device) const {
  check_not_split(name);
  if (tokens() == 0) return {};
  const Tensor* part = find(concatenate(prefix_, name), shape, dtype);
  check(part != nullptr, "stream: the state has no '", prefix_, name, "'; it was left by another ",
        "kind of model");
  return part->to(device.value_or(part->device()));
}

Tensor Carry::take_if_left(std::string_view name, const Shape& shape, DType dtype,
                           std::optional<Device> device) const {
  check_not_split(name);
  if (tokens() == 0) return {};
  const Tensor* part = find(concatenate(prefix_, name), shape, dtype);
  return part ? part->to(device.value_or(part->device())) : Tensor();
}

void Carry::leave(std::string_view name, const Tensor& value) const {
  check_not_split(name);
  if (walk_) walk_->after.parts.insert_or_assign(concatenate(prefix_, name), value);
}

Var stream_block(StreamState& state, Index tokens,
                 const std::function<Var(const Carry& carry)>& advance) {
  check(state.tokens >= 0 && state.tokens <= kMostTokens, "stream: the state is of ", state.tokens,
        " tokens; 0 to ", kMostTokens, " are allowed");
  Carry::Walk walk{.before = state, .after = {.tokens = state.tokens + tokens}};
  const Var output = advance(Carry(&walk, ""));
  for (const auto& [name, part] : state.parts)
    if (!walk.taken.contains(name))
      fail("stream: the state has ", quote_name(name), ", which nothing here takes",
           state.tokens == 0 ? " after 0 tokens" : "");
  if (tokens > 0) state = std::move(walk.after);
  return output;
}

}  // namespace vla
