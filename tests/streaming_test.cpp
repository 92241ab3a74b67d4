// Sequences that go on from a state: the outputs are those of the whole sequence wherever it is
// cut.

#include <algorithm>
#include <array>
#include <cmath>

#include "tests/compare.hpp"
#include "tests/streaming_models.hpp"

namespace vla {
namespace {

// Sizes 0, 1 and more that add up to `time`.
std::vector<Index> random_cut(Index time, Rng& rng) {
  std::vector<Index> sizes;
  for (Index left = time; left > 0; left -= sizes.back()) {
    const Index most = std::array<Index, 4>{0, 1, 4, left}[static_cast<std::size_t>(rng.below(4))];
    sizes.push_back(std::min(left, most < 2 ? most : 1 + rng.below(most)));
  }
  return sizes;
}

// The outputs of blocks of these sizes of x (B, T, ...), one behind the other.
template <class Stream>
Tensor in_blocks(const Tensor& x, const std::vector<Index>& sizes, Stream stream) {
  std::vector<Var> outputs;
  Index begin = 0;
  for (const Index size : sizes) {
    outputs.push_back(stream(slice(Var(x), 1, begin, begin + size)));
    begin += size;
  }
  return concat(outputs, 1).value();
}

void check_cuts(Mixer& mixer, const Tensor& x, int cuts, double tolerance, Rng& rng) {
  const Tensor whole = mixer(Var(x)).value();
  for (int cut = 0; cut < cuts; ++cut) {
    const std::vector<Index> sizes = random_cut(x.size(1), rng);
    StreamState state;
    const Tensor parts =
        in_blocks(x, sizes, [&](const Var& block) { return mixer.stream(block, state); });
    BOOST_TEST(state.tokens == x.size(1));
    BOOST_TEST_CONTEXT("blocks " << Shape(sizes)) check_close(parts, whole, tolerance);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(streaming)

BOOST_AUTO_TEST_CASE(a_mixer_may_be_cut_anywhere) {
  for (const Row& row : rows()) {
    for (const Index convolution : {4, 1, 0}) {
      BOOST_TEST_CONTEXT(row.name << ", convolution " << convolution) {
        Rng rng(7);
        const auto mixer = row.make(attention(convolution), rng);
        check_cuts(*mixer, sequence(2, 24, 6, DType::float64, rng), convolution == 4 ? 40 : 10,
                   1e-10, rng);
        Rng single(7);
        const auto rounded = row.make(attention(convolution, DType::float32), single);
        check_cuts(*rounded, sequence(2, 24, 6, DType::float32, single), 10, 1e-4, single);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(keys_of_one_number_and_single_tokens) {
  for (const Row& row : rows()) {
    for (const Index time : {1, 2, 9}) {
      BOOST_TEST_CONTEXT(row.name << ", T " << time) {
        Rng rng(8);
        const auto mixer =
            row.make({.width = 2, .heads = 2, .convolution = 3, .dtype = DType::float64}, rng);
        check_cuts(*mixer, sequence(1, time, 2, DType::float64, rng), 5, 1e-10, rng);
      }
    }
  }
}

// Blocks that begin and end anywhere between the borders of chunks (64 tokens), of segments (512),
// and of the tokens between two factorisations of M.
BOOST_AUTO_TEST_CASE(long_sequences_may_be_cut_anywhere) {
  for (const Row& row : rows()) {
    BOOST_TEST_CONTEXT(row.name) {
      Rng rng(9);
      const auto mixer = row.make(attention(4), rng);
      check_cuts(*mixer, sequence(1, 600, 6, DType::float64, rng), 60, 1e-9, rng);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_language_model_may_be_cut_anywhere) {
  for (const ModelKind& kind : model_kinds()) {
    for (const Index positions : {0, 20}) {
      BOOST_TEST_CONTEXT(kind.name << ", positions " << positions) {
        Rng rng(10);
        LanguageModel model = small_model(kind.name, positions, rng);
        const Tensor tokens = random_tokens(2, 20, 9, rng);
        const Tensor whole = model(tokens).value();
        for (int cut = 0; cut < 100; ++cut) {
          StreamState state;
          const Tensor parts = in_blocks(tokens, random_cut(20, rng), [&](const Var& block) {
            return model.stream(block.value(), state);
          });
          check_close(parts, whole, 1e-10);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(no_gradient_flows_through_a_state) {
  for (const Row& row : rows()) {
    BOOST_TEST_CONTEXT(row.name) {
      Rng rng(14);
      const auto mixer = row.make(attention(4), rng);
      const Tensor x = sequence(2, 12, 6, DType::float64, rng);
      const Tensor whole = (*mixer)(Var(x)).value();
      Tape tape;
      StreamState state;
      const Var first = Var::parameter(slice(Var(x), 1, 0, 7).value(), "first");
      const Var second = Var::parameter(slice(Var(x), 1, 7, 12).value(), "second");
      mixer->stream(first, state);
      const Var y = mixer->stream(second, state);
      check_close(y.value(), slice(Var(whole), 1, 7, 12).value(), 1e-10);
      const Gradients gradients = tape.backward(sum(square(y)));
      BOOST_TEST(gradients.find(first) == nullptr);
      for (const double value : gradients[second].values<double>())
        BOOST_TEST(std::isfinite(value));
    }
  }
}

BOOST_AUTO_TEST_CASE(mixers_that_do_not_stream_say_so) {
  struct Same : Mixer {
    using Mixer::operator();
    Var operator()(const Var& x) override { return x; }
    void visit(PartVisitor&) override {}
  } same;
  StreamState state;
  const Var x(Tensor::zeros({1, 1, 6}, DType::float64));
  BOOST_CHECK_EXCEPTION(
      same.stream(x, state), Error,
      says("stream: this mixer does not stream; it would override Mixer::advance"));
  Rng rng(16);
  VlaV1 symbolic({.attention = attention(0), .symbolic = 0.5}, rng);
  BOOST_CHECK_EXCEPTION(symbolic.stream(x, state), Error,
                        says("VLA v1: with a symbolic weight (0.5) it does not stream: relations "
                             "are normalised over later tokens too"));
}

BOOST_AUTO_TEST_CASE(positions_count_from_the_start_of_the_sequence) {
  Rng rng(17);
  LanguageModel model = small_model("linear", 6, rng);
  const Tensor tokens = random_tokens(1, 6, 9, rng);
  const auto part = [&](Index begin, Index end) {
    return slice(Var(tokens), 1, begin, end).value();
  };
  StreamState state;
  model.stream(part(0, 4), state);
  BOOST_CHECK_EXCEPTION(model.stream(part(0, 3), state), Error,
                        says("model: 7 tokens, but positions for 6"));
  check_close(model.stream(part(4, 6), state).value(), slice(model(tokens), 1, 4, 6).value(),
              1e-12);
  BOOST_CHECK_EXCEPTION(model.stream(Tensor({4}, DType::int64), state), Error,
                        says("model: tokens have shape (4); (B, T) is needed"));
}

BOOST_AUTO_TEST_CASE(a_convolution_goes_on_from_its_last_inputs) {
  Rng rng(18);
  const ShortConvolution convolution(3, 4, rng, DType::float64);
  const Tensor x = rng.normal({2, 11, 3}, DType::float64);
  const Tensor whole = convolution(Var(x)).value();
  for (int cut = 0; cut < 20; ++cut) {
    Tensor tail;
    const Tensor parts = in_blocks(x, random_cut(11, rng),
                                   [&](const Var& block) { return convolution(block, tail); });
    check_close(parts, whole, 1e-14);
    check_close(tail, slice(Var(x), 1, 8, 11).value(), 0);
  }
  Tensor short_tail = Tensor::zeros({2, 2, 3}, DType::float64);
  BOOST_CHECK_EXCEPTION(convolution(Var(x), short_tail), Error,
                        says("convolution: the tail has shape (2, 2, 3); (2, 3, 3) is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
