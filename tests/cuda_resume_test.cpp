// Every model with both optimisers, eager and as a captured graph.
#include "tests/cuda_guard.hpp"
#include "tests/resumes.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(cuda_resume)

BOOST_AUTO_TEST_CASE(every_model_with_every_optimiser_goes_on_to_the_bit, NEEDS_CUDA) {
  const Place place;
  for (const std::string& model : model_names())
    for (const std::string& optimizer : kOptimizers)
      check_resumes(place, kSmall + "--device cuda --model " + model + " " + optimizer);
  for (const char* more : {"--graph", "--graph --precision bf16"})
    check_resumes(place, concatenate(kSmall, "--device cuda ", more));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
