// Every model with both optimisers, and every model in the middle of an epoch.
#include "tests/resumes.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(resume)

BOOST_AUTO_TEST_CASE(every_model_with_every_optimiser_goes_on_to_the_bit) {
  const Place place;
  BOOST_TEST(model_names().size() >= 6u);
  for (const std::string& model : model_names())
    for (const std::string& optimizer : kOptimizers)
      check_resumes(place, kSmall + "--model " + model + " " + optimizer);
}

BOOST_AUTO_TEST_CASE(in_the_middle_of_an_epoch_and_with_two_threads) {
  const Place place;
  const std::string words = words_with_epochs(place) + "--threads 2 ";
  for (const std::string& optimizer : kOptimizers) check_resumes(place, words + optimizer);
  for (const std::string& model : model_names())
    if (model != "vla") check_resumes(place, words + "--model " + model);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
