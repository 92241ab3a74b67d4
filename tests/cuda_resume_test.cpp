// Every model with both optimisers, eager; as a captured graph; and in the middle of an epoch.
#include "tests/cuda_guard.hpp"
#include "tests/resumes.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(cuda_resume)

BOOST_AUTO_TEST_CASE(every_model_with_every_optimiser_goes_on_to_the_bit, NEEDS_CUDA) {
  const Place place;
  for (const std::string& model : model_names())
    for (const std::string& optimizer : kOptimizers)
      check_resumes(place, kSmall + "--device cuda --model " + model + " " + optimizer);
  for (const std::string& optimizer : kOptimizers)
    for (const char* more : {"--graph ", "--graph --precision bf16 "})
      check_resumes(place, concatenate(kSmall, "--device cuda ", more, optimizer));
}

// Where a thread of its own draws ahead.
BOOST_AUTO_TEST_CASE(in_the_middle_of_an_epoch, NEEDS_CUDA) {
  const Place place;
  const std::string words = words_with_epochs(place) + "--device cuda ";
  for (const std::string& optimizer : kOptimizers) check_resumes(place, words + optimizer);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
