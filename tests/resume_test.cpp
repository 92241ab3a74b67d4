// Every model with both optimisers, and in the middle of an epoch.
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
  BOOST_REQUIRE_EQUAL(place
                          .run("data --task listops --length 32 --size-above 4 --count 10 "
                               "--out data")
                          .errors,
                      "");
  const std::string words =
      "train --task listops --data data --length 32 --width 16 --heads 2 --layers 1 --hidden 16 "
      "--batch 4 --warm-up 2 --steps 8 --report-every 3 --threads 2 ";
  for (const std::string& optimizer : kOptimizers) check_resumes(place, words + optimizer);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
