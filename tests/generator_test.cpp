// Sequences that a model writes: how tokens are drawn, and `vla generate`.

#include "models/generator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"
#include "tests/program.hpp"

namespace vla {
namespace {

Tensor logits(const std::vector<double>& values) {
  return Tensor::from<double>({static_cast<Index>(values.size())}, values);
}

// How often each token is drawn.
std::vector<double> shares(const Tensor& logits, const SamplingOptions& options) {
  Rng rng(3);
  std::vector<double> result(static_cast<std::size_t>(logits.elements()));
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i)
    result[static_cast<std::size_t>(sample_token(logits, options, rng))] += 1.0 / draws;
  return result;
}

LanguageModel model_of(std::string_view kind, std::uint64_t seed = 4, Index positions = 0) {
  Rng rng(seed);
  return LanguageModel(
      {.body = {.vocabulary = 11,
                .width = 8,
                .layers = 1,
                .hidden = 8,
                .positions = positions,
                .deviation = 0.5}},
      mixer_factory(kind, {.attention = {.width = 8, .heads = 2, .deviation = 0.5}}), rng);
}

std::vector<Index> written(Generator& generator, int count) {
  std::vector<Index> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(generator.next());
  return tokens;
}

std::vector<Index> written(LanguageModel& model, const std::vector<Index>& prompt, int count,
                           const SamplingOptions& options, std::uint64_t seed) {
  Generator generator(model, options, seed);
  generator.read(prompt);
  return written(generator, count);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(generator)

BOOST_AUTO_TEST_CASE(tokens_are_drawn_with_their_probabilities) {
  const Tensor three = logits({std::log(0.2), std::log(0.5), std::log(0.3)});
  const auto check_shares = [&](const SamplingOptions& options, std::vector<double> expected) {
    const std::vector<double> actual = shares(three, options);
    for (std::size_t i = 0; i < 3; ++i)
      BOOST_TEST(std::abs(actual[i] - expected[i]) < 0.015, i << ": " << actual[i]);
  };
  check_shares({}, {0.2, 0.5, 0.3});
  check_shares({.temperature = 0.5}, {0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38});
  check_shares({.top_k = 2}, {0, 0.625, 0.375});
  check_shares({.top_k = 3}, {0.2, 0.5, 0.3});
  check_shares({.top_k = 100}, {0.2, 0.5, 0.3});
}

BOOST_AUTO_TEST_CASE(the_most_likely_token_is_the_first_of_equal_ones) {
  Rng rng(5);
  const Tensor equal = logits({1, 3, 3, 2, 3});
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST(sample_token(equal, {.temperature = 0}, rng) == 1);
    BOOST_TEST(sample_token(equal, {.top_k = 1}, rng) == 1);
    BOOST_TEST(sample_token(equal, {.top_k = 2}, rng) <= 2);
    BOOST_TEST(sample_token(logits({0, 1e300, -1e300}), {}, rng) == 1);
    BOOST_TEST(sample_token(logits({0, 1}), {.temperature = 1e-300}, rng) == 1);
    BOOST_TEST(sample_token(logits({-5}), {.temperature = 7}, rng) == 0);
    BOOST_TEST(sample_token(equal.to(DType::float32), {.temperature = 0}, rng) == 1);
  }
}

BOOST_AUTO_TEST_CASE(bad_samplings_are_refused) {
  Rng rng(6);
  const auto refused = [&](const Tensor& logits, SamplingOptions options,
                           const std::string& message) {
    BOOST_CHECK_EXCEPTION(sample_token(logits, options, rng), Error, says(message));
  };
  refused(logits({1, 2}), {.temperature = -1},
          "sampling: temperature -1 is not allowed; 0 or a finite number above it is needed");
  refused(logits({1, 2}), {.temperature = std::nan("")},
          "sampling: temperature nan is not allowed; 0 or a finite number above it is needed");
  refused(logits({1, 2}), {.top_k = -1},
          "sampling: top-k -1 is not allowed; 1 or more, or 0 for all tokens");
  refused(logits({1, std::nan("")}), {.temperature = 0},
          "sampling: the logit of token 1 is nan; it must be finite");
  refused(logits({-std::numeric_limits<double>::infinity()}), {},
          "sampling: the logit of token 0 is -inf; it must be finite");
  refused(logits({}), {}, "sampling: logits have shape (0); (V) with V >= 1 is needed");
  refused(Tensor::zeros({1, 2}, DType::float64), {},
          "sampling: logits have shape (1, 2); (V) with V >= 1 is needed");
}

// The whole sequence through the model anew for every token gives the same.
BOOST_AUTO_TEST_CASE(a_generator_writes_what_the_model_says) {
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      LanguageModel model = model_of(kind.name);
      std::vector<Index> sequence = {3, 1, 4};
      const std::vector<Index> tokens = written(model, sequence, 12, {.temperature = 0}, 1);
      for (const Index token : tokens) {
        const auto length = static_cast<Index>(sequence.size());
        const Tensor all = model(Tensor::from<Index>({1, length}, sequence)).value();
        Rng unused(0);
        const Tensor last = slice(Var(all), 1, length - 1, length).value().reshape({-1});
        BOOST_TEST(token == sample_token(last, {.temperature = 0}, unused));
        sequence.push_back(token);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_seed_decides_what_is_drawn) {
  LanguageModel model = model_of("vla");
  const std::vector<Index> prompt = {3, 1, 4};
  const auto first = written(model, prompt, 40, {}, 1);
  BOOST_TEST((written(model, prompt, 40, {}, 1) == first));
  BOOST_TEST((written(model, prompt, 40, {}, 2) != first));
  BOOST_TEST((written(model, prompt, 40, {.top_k = 1}, 1) ==
              written(model, prompt, 40, {.temperature = 0}, 2)));
}

// Every place has a random number of its own: all tokens come, about equally often.
BOOST_AUTO_TEST_CASE(a_model_without_preferences_writes_every_token) {
  LanguageModel model = model_of("linear");
  for (Parameter& parameter : parameters(model))
    if (parameter.name == "norm.weight") parameter.variable.mutable_value().fill(0);
  const auto tokens = written(model, {3}, 550, {}, 1);
  for (Index token = 0; token < 11; ++token) {
    const auto count = std::ranges::count(tokens, token);
    BOOST_TEST((count > 20 && count < 90), token << ": " << count << " of 50 expected");
  }
}

// Longer than the blocks in which it is read.
BOOST_AUTO_TEST_CASE(a_prompt_may_be_read_in_parts) {
  LanguageModel model = model_of("deltanet");
  Rng rng(7);
  std::vector<Index> prompt(400);
  for (Index& token : prompt) token = rng.below(11);
  const auto expected = written(model, prompt, 20, {}, 1);
  Generator generator(model, {}, 1);
  const std::span<const Index> all(prompt);
  generator.read(all.first(1));
  generator.read({});
  generator.read(all.subspan(1, 150));
  BOOST_CHECK_EXCEPTION(generator.read(std::vector<Index>{2, 11}), Error,
                        says("generator: token 11 is out of range; allowed: 0 to 10"));
  generator.read(all.subspan(151));
  BOOST_TEST(generator.tokens() == 400);
  BOOST_TEST((written(generator, 20) == expected));
  BOOST_TEST(generator.tokens() == 420);
}

BOOST_AUTO_TEST_CASE(a_saved_sequence_goes_on) {
  const TemporaryDirectory directory;
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      LanguageModel model = model_of(kind.name);
      const std::vector<Index> prompt = {3, 1, 4};
      std::vector<Index> expected = written(model, prompt, 30, {}, 1);
      Generator generator(model, {}, 1), other(model, {}, 1);
      generator.read(prompt);
      std::vector<Index> parts = written(generator, 11);
      write_safetensors(directory / "state", generator.save());
      other.load(read_safetensors(directory / "state"));
      BOOST_TEST(other.tokens() == 14);
      for (const Index token : written(other, 19)) parts.push_back(token);
      BOOST_TEST((parts == expected));
    }
  }
}

BOOST_AUTO_TEST_CASE(states_that_do_not_fit_are_refused) {
  LanguageModel model = model_of("deltanet"), trained_otherwise = model_of("deltanet", 5);
  Generator generator(model, {}, 1), stranger(trained_otherwise, {}, 1);
  BOOST_CHECK_EXCEPTION(generator.next(), Error,
                        says("generator: there is no token yet to go on from"));
  BOOST_CHECK_EXCEPTION(generator.save(), Error, says("generator: there is no token yet to save"));
  generator.read(std::vector<Index>{3, 1, 4});
  TensorFile file = generator.save();
  file.source = "file";
  BOOST_CHECK_EXCEPTION(stranger.load(file), Error,
                        says("file: the state was left by a model with other weights"));

  const auto refused = [&](const std::string& name, Tensor tensor, const std::string& message) {
    TensorFile changed = file;
    std::erase_if(changed.tensors, [&](const auto& named) { return named.first == name; });
    if (tensor.defined()) changed.tensors.emplace_back(name, tensor);
    Generator another(model, {}, 1);
    BOOST_CHECK_EXCEPTION(another.load(changed), Error, says(message));
    BOOST_TEST(another.tokens() == 0);
  };
  const std::string last = "generator.last_token", memory = "blocks.0.memory";
  refused(last, {}, "file: no tensor is named 'generator.last_token'");
  refused(last, Tensor::zeros({2}, DType::int64),
          "file: generator.last_token is int64 (2); int64 (1) is needed");
  refused(last, Tensor::full({1}, 11, DType::int64),
          "file: embedding: token 11 is out of range; allowed: 0 to 10");
  refused(memory, {},
          "file: stream: the state has no 'blocks.0.memory'; it was left by another kind of model");
  refused(memory, Tensor::zeros({2, 2, 4, 4}, DType::float32),
          "file: stream: 'blocks.0.memory' of the state is float32 (2, 2, 4, 4); float32 (1, 2, 4, "
          "4) is needed");
  refused("more", Tensor::zeros({1}, DType::float32),
          "file: stream: the state has 'more', which nothing here takes");
  BOOST_CHECK_EXCEPTION(generator.load({.source = "file"}), Error,
                        says("file: the metadata has no 'generator.weights'"));
}

BOOST_AUTO_TEST_CASE(memory_does_not_depend_on_how_much_is_written) {
  const auto peak = [](LanguageModel& model, int count) {
    const std::size_t before = memory_statistics().live;
    reset_peak_memory();
    written(model, {3, 1, 4}, count, {}, 1);
    return memory_statistics().peak - before;
  };
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      LanguageModel model = model_of(kind.name);
      if (kind.name == "softmax")
        BOOST_TEST(peak(model, 400) > peak(model, 200));
      else
        BOOST_TEST(peak(model, 2000) == peak(model, 200));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_program_generates) {
  const Place place;
  const std::string small =
      "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
      "--steps 3 --threads 1 --deviation 0.5 ";
  BOOST_REQUIRE_EQUAL(place.run(small + "--no-positions --out run").code, 0);
  BOOST_REQUIRE_EQUAL(place.run(small + "--no-positions --seed 2 --out other").code, 0);
  BOOST_REQUIRE_EQUAL(place.run(small + "--out short").code, 0);

  const auto generated = [&](const std::string& words) {
    const Outcome outcome = place.run("generate run " + words);
    BOOST_TEST(outcome.errors == "");
    BOOST_TEST(outcome.code == 0);
    return outcome.out;
  };
  const std::string whole = generated("--tokens 1,2,3 --count 40");
  BOOST_TEST(std::ranges::count(whole, ',') == 39);
  BOOST_TEST(whole.ends_with("\n"));
  BOOST_TEST(generated("--tokens 1,2,3 --count 40 --seed 1") == whole);
  BOOST_TEST(generated("--tokens 1,2,3 --count 40 --seed 2") != whole);
  BOOST_TEST(generated("--tokens 1,2,3 --count 40 --temperature 0") ==
             generated("--tokens 1,2,3 --count 40 --top-k 1 --seed 2"));

  const std::string first = generated("--tokens 1,2,3 --count 15 --save-state state");
  const std::string rest = generated("--load-state state --count 25");
  BOOST_TEST(first.substr(0, first.size() - 1) + "," + rest == whole);
  BOOST_TEST(generated("--tokens 1,2 --count 0 --save-state state") == "");
  BOOST_TEST(generated("--load-state state --tokens 3 --count 40") == whole);

  check_refused(place, "generate run", {"go on from", "--tokens", "--load-state"});
  check_refused(place, "generate nothing --tokens 1", {"nothing/config.json"});
  check_refused(place, "generate run --tokens 1,16", {"token 16 is out of range", "0 to 15"});
  check_refused(place, "generate run --tokens 1,,2", {"--tokens '' is not a whole number"});
  check_refused(place, "generate run --prompt hello", {"--prompt is for models of text"});
  check_refused(place, "generate run --prompt a --tokens 1", {"exclude each other"});
  check_refused(place, "generate run --tokens 1 --count -1", {"--count -1 is not allowed"});
  check_refused(place, "generate run --tokens 1 --temperature -1", {"temperature -1"});
  check_refused(place, "generate run --tokens 1 --top-k -2", {"top-k -2"});
  check_refused(place, "generate run --load-state missing", {"missing"});
  check_refused(place, "generate other --load-state state",
                {"state: the state was left by a model with other weights"});
  check_refused(place, "generate run --load-state run/checkpoint.safetensors",
                {"run/checkpoint.safetensors: the metadata has no 'generator.weights'"});
  check_refused(place, "generate run --tokens 1 --save-state nowhere/state",
                {"cannot write nowhere/state: No such file or directory"});
  check_refused(place, "generate run --tokens 1 --save-state run", {"cannot write run: Is a dir"});
  check_refused(place, "generate run --tokens 1,16 --save-state unfinished", {"token 16"});
  BOOST_TEST(!place.has("unfinished"));
  std::ofstream(place / "broken") << "not a state";
  check_refused(place, "generate run --load-state broken", {"broken: "});

  BOOST_TEST(place.run("generate short --tokens 1,2,3 --count 5").errors == "");
  check_refused(place, "generate short --tokens 1,2,3 --count 6",
                {"--count 6 after 3 tokens is too many", "positions for 7", "--no-positions"});
}

// A model of text takes and writes bytes, also where the file it learned from is gone.
BOOST_AUTO_TEST_CASE(the_program_writes_text) {
  const Place place;
  {
    std::ofstream corpus(place / "corpus");
    for (int i = 0; i < 300; ++i) corpus << "abc\xff";
  }
  BOOST_REQUIRE_EQUAL(place
                          .run("train --task text --text corpus --length 8 --width 16 --heads 2 "
                               "--layers 1 --hidden 16 --batch 8 --steps 60 --rate 0.02 "
                               "--threads 1 --no-positions --out run")
                          .code,
                      0);
  std::filesystem::remove(place / "corpus");
  const Outcome outcome = place.run("generate run --prompt cX --count 7 --temperature 0");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.out.size() == 7);
  const Outcome learned = place.run("generate run --prompt abc --count 6 --temperature 0");
  BOOST_TEST(learned.out ==
             "\xff"
             "abc\xff"
             "a");
  BOOST_TEST(place.run("generate run --tokens 97,98,99 --count 6 --temperature 0").out ==
             learned.out);
  BOOST_TEST(place.run("generate run --prompt \xff --count 1 --temperature 0").out == "a");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
