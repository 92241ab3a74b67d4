// A sequence of 65,536 tokens split over ranks: the numbers of one process, in a share of its
// memory.
#include "tests/mpirun.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(long_sequence_parallel)

BOOST_AUTO_TEST_CASE(the_memory_of_a_rank_falls_with_their_number,
                     *boost::unit_test::precondition(has_mpirun())) {
  for (int ranks : {2, 4}) {
    const Place place;
    const Outcome outcome =
        run_job(place, ranks, quoted(VLA_RANKS_PROGRAM) + " long_sequence 65536");
    BOOST_TEST_MESSAGE(outcome.out);
    BOOST_TEST_CONTEXT(outcome.out << outcome.errors) BOOST_TEST(outcome.code == 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
