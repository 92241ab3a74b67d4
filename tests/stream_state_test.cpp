// The state of a sequence: saved, copied, and refused where it does not fit.

#include "models/stream_state.hpp"

#include <algorithm>

#include "tests/compare.hpp"
#include "tests/streaming_models.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(stream_state)

BOOST_AUTO_TEST_CASE(no_tokens_leave_the_state_alone) {
  Rng rng(11);
  LanguageModel model = small_model("vla", 0, rng);
  const Tensor none({2, 0}, DType::int64);
  StreamState state;
  BOOST_TEST(model.stream(none, state).shape() == Shape({2, 0, 9}));
  BOOST_TEST(state.tokens == 0);
  BOOST_TEST(state.parts.empty());
  model.stream(random_tokens(2, 5, 9, rng), state);
  const StreamState before = state;
  model.stream(none, state);
  BOOST_TEST(state.tokens == 5);
  BOOST_REQUIRE_EQUAL(state.parts.size(), before.parts.size());
  for (const auto& [name, part] : before.parts)
    BOOST_TEST(state.parts.at(name).shares_storage(part), name);
}

BOOST_AUTO_TEST_CASE(a_saved_state_goes_on_to_the_bit) {
  const TemporaryDirectory directory;
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      Rng rng(12);
      LanguageModel model = small_model(kind.name, 30, rng);
      StreamState state;
      model.stream(random_tokens(2, 13, 9, rng), state);
      write_safetensors(directory / "state.safetensors", to_file(state));
      StreamState loaded = to_state(read_safetensors(directory / "state.safetensors"));
      BOOST_TEST(loaded.tokens == 13);
      const Tensor next = random_tokens(2, 9, 9, rng);
      const Tensor on = model.stream(next, state).value();
      const Tensor again = model.stream(next, loaded).value();
      BOOST_TEST(std::ranges::equal(on.values<double>(), again.values<double>()));
    }
  }
}

BOOST_AUTO_TEST_CASE(copies_of_a_state_go_on_by_themselves) {
  for (const Row& row : rows()) {
    BOOST_TEST_CONTEXT(row.name) {
      Rng rng(13);
      const auto mixer = row.make(attention(4), rng);
      StreamState state;
      mixer->stream(Var(sequence(1, 10, 6, DType::float64, rng)), state);
      StreamState copy = state;
      const Var one(rng.normal({1, 8, 6}, DType::float64)),
          other(rng.normal({1, 8, 6}, one.dtype()));
      const Tensor expected = mixer->stream(one, state).value();
      StreamState second = copy;
      mixer->stream(other, copy);
      check_close(mixer->stream(one, second).value(), expected, 0);
    }
  }
}

// A state that does not fit is refused, and stays as it was.
BOOST_AUTO_TEST_CASE(states_of_others_are_refused) {
  Rng rng(15);
  const auto refused = [&](Mixer& mixer, StreamState& state, Index batch, DType dtype,
                           const std::string& message) {
    const Index tokens = state.tokens;
    const Tensor x = rng.normal({batch, 2, 6}, dtype);
    BOOST_CHECK_EXCEPTION(mixer.stream(Var(x), state), Error, says(message));
    BOOST_TEST(state.tokens == tokens);
  };
  DeltaNet delta({.attention = attention(4)}, rng), plain({.attention = attention(0)}, rng);
  LinearTransformer linear({.attention = attention(0)}, rng);
  Vla exact({.attention = attention(0)}, rng);
  StreamState state, plain_state, exact_state;
  const Var x(rng.normal({2, 5, 6}, DType::float64));
  delta.stream(x, state);
  plain.stream(x, plain_state);
  exact.stream(x, exact_state);

  refused(delta, state, 1, DType::float64,
          "stream: 'key.tail' of the state is float64 (2, 3, 6); float64 (1, 3, 6) is needed");
  refused(plain, plain_state, 1, DType::float64,
          "stream: 'memory' of the state is float64 (2, 2, 4, 3); float64 (1, 2, 4, 3) is needed");
  refused(linear, plain_state, 2, DType::float64,
          "stream: the state has no 'sum'; it was left by another kind of model");
  refused(plain, exact_state, 2, DType::float64,
          "stream: the state has 'inverse', which nothing here takes");
  DeltaNet single({.attention = attention(0, DType::float32)}, rng);
  refused(single, plain_state, 2, DType::float32,
          "stream: 'memory' of the state is float64 (2, 2, 4, 3); float32 (2, 2, 4, 3) is needed");
  exact_state.parts.at("penalty") = Tensor::zeros({2, 2, 3, 2}, DType::float64);
  refused(exact, exact_state, 2, DType::float64,
          "stream: 'penalty' of the state is float64 (2, 2, 3, 2); float64 (2, 2, 3, 3) is needed");
  plain_state.tokens = 0;
  refused(plain, plain_state, 2, DType::float64,
          "stream: the state has 'memory', which nothing here takes after 0 tokens");
  plain_state.tokens = -1;
  refused(plain, plain_state, 2, DType::float64,
          "stream: the state is of -1 tokens; 0 to 9007199254740992 are allowed");
}

BOOST_AUTO_TEST_CASE(files_that_hold_no_state_are_refused) {
  const auto refused = [](const std::string& tokens, const std::string& message) {
    const TensorFile file{.metadata = {{"stream.tokens", tokens}}, .source = "file"};
    BOOST_CHECK_EXCEPTION(to_state(file), Error, says(message));
  };
  const std::string allowed =
      " in the metadata is '%'; a whole number from 0 to 9007199254740992 is needed";
  for (const std::string text : {"-1", "3x", "", "9007199254740993", "99999999999999999999"}) {
    std::string expected = allowed;
    refused(text, "file: stream.tokens" + expected.replace(expected.find('%'), 1, text));
  }
  BOOST_CHECK_EXCEPTION(to_state({.source = "file"}), Error,
                        says("file: the metadata has no 'stream.tokens'"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
