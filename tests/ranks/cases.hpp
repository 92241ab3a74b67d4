// What the processes of a job check together: each case runs in every rank, and throws where it
// finds something wrong. mpirun -n 2 vla_ranks NAME
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "framework/distributed/communicator.hpp"

namespace vla {

/// The words after its name.
using Words = std::vector<std::string>;
using RankCases = std::map<std::string, std::function<void(const Communicator&, const Words&)>>;

RankCases communicator_cases();
RankCases data_parallel_cases();
RankCases sequence_parallel_cases();
RankCases training_cases();

/// The largest difference between elements of two tensors, of any type, on any device.
double largest_difference(const Tensor& a, const Tensor& b);

}  // namespace vla
