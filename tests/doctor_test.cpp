// What vla doctor says of this machine.
#include <boost/test/unit_test.hpp>

#include "framework/device.hpp"
#include "tests/program.hpp"

namespace vla {

BOOST_AUTO_TEST_SUITE(doctor)

BOOST_AUTO_TEST_CASE(it_tells_what_there_is) {
  const Place place;
  const Outcome outcome = place.run("doctor");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  for (const char* part : {"vla        " VLA_VERSION ", ", " MPI\n", "cpu        ", "threads    ",
                           "blas       OpenBLAS ", "; 1 thread inside ours", "libraries  fmt ",
                           ", libzip ", "\nusable\n"})
    BOOST_TEST((outcome.out.find(part) != std::string::npos), part << " is not in:\n"
                                                                   << outcome.out);
  const bool none = outcome.out.find("cuda       not available: ") != std::string::npos;
  BOOST_TEST(none == (cuda_device_count() == 0));
}

// What it advises goes away when it is followed.
BOOST_AUTO_TEST_CASE(hints_can_be_followed) {
  const Place place;
  const std::string hint = "OPENBLAS_CORETYPE=SkylakeX";
  const bool given = place.run("doctor").out.find(hint) != std::string::npos;
  const Outcome followed =
      Place::run_in(place.path(), "env", hint + " " + quoted(VLA_PROGRAM) + " doctor");
  if (given) BOOST_TEST((followed.out.find(hint) == std::string::npos), followed.out);
  const Outcome without =
      Place::run_in(place.path(), "env", "PATH=/nonexistent " + quoted(VLA_PROGRAM) + " doctor");
  BOOST_TEST((without.out.find("hint: gnuplot is not on the PATH") != std::string::npos));
  BOOST_TEST(without.code == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
