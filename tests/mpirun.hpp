// Programs that mpirun starts as several processes of one job.
#pragma once

#include "framework/distributed/communicator.hpp"
#include "tests/optional.hpp"
#include "tests/program.hpp"

namespace vla {

/// For a test's precondition(): whether there can be such jobs, and why the test is skipped if not.
inline auto has_mpirun() {
  return [](boost::unit_test::test_unit_id id) {
    boost::test_tools::assertion_result built(has_mpi());
    if (!built) {
      built.message() << "built without MPI";
      return built;
    }
    return has_program("mpirun")(id);
  };
}

/// How the shell starts a job, as root and on few cores too. It has a time limit, since what goes
/// wrong here waits forever: then the exit code is 124.
inline std::string mpirun(int ranks) {
  return "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
         "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none "
         "timeout 300 mpirun -n " +
         std::to_string(ranks) + " ";
}

/// `words` as a command of several processes.
inline Outcome run_job(const Place& place, int ranks, const std::string& words) {
  return Place::run_in(place.path(), "sh", "-c " + quoted(mpirun(ranks) + words));
}

}  // namespace vla
