// A classifier of pairs reads each sequence by itself.
#include "models/pair_classifier.hpp"

#include <boost/test/unit_test.hpp>

#include "framework/ops/reduce.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"

namespace vla {
namespace {

PairClassifier small() {
  Rng rng(3);
  return PairClassifier(
      {.body = {.vocabulary = 9, .width = 12, .layers = 1, .hidden = 8, .dtype = DType::float64},
       .classes = 5},
      mixer_factory(
          "vla",
          {.attention = {.width = 12, .heads = 2, .deviation = 0.02, .dtype = DType::float64}}),
      rng);
}

Tensor pairs(std::vector<std::int64_t> tokens, Index size) {
  return Tensor::from<std::int64_t>({size, static_cast<Index>(tokens.size()) / size}, tokens);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pair_classifier)

BOOST_AUTO_TEST_CASE(every_parameter_takes_part) {
  PairClassifier model = small();
  Tape tape;
  const Var logits = model(pairs({1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4}, 2));
  BOOST_TEST(logits.shape() == Shape({2, 5}));
  const Gradients gradients = tape.backward(sum(logits));
  for (const Parameter& parameter : parameters(model))
    BOOST_TEST(gradients.find(parameter.variable) != nullptr, parameter.name);
}

BOOST_AUTO_TEST_CASE(a_pair_does_not_depend_on_others_but_on_its_order) {
  PairClassifier model = small();
  const auto logits = [&](std::vector<std::int64_t> tokens, Index size) {
    return model(pairs(std::move(tokens), size)).value();
  };
  const Tensor both = logits({1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4}, 2);
  const Tensor first = logits({1, 2, 3, 4, 5, 6}, 1), second = logits({7, 8, 1, 2, 3, 4}, 1);
  for (Index i = 0; i < 5; ++i) {
    BOOST_TEST(both.at<double>({0, i}) == first.at<double>({0, i}),
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(both.at<double>({1, i}) == second.at<double>({0, i}),
               boost::test_tools::tolerance(1e-12));
  }
  BOOST_TEST(relative_difference(first, logits({4, 5, 6, 1, 2, 3}, 1)) > 1e-6);
}

BOOST_AUTO_TEST_CASE(tokens_of_another_form_are_refused) {
  PairClassifier model = small();
  BOOST_CHECK_EXCEPTION(model(pairs({1, 2, 3}, 1)), Error,
                        says("pair classifier: tokens have shape (1, 3); (B, T) with an even T, 2 "
                             "or more, is needed"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
