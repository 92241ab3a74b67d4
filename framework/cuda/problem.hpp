// What a kernel finds wrong with values that only the device sees: it cannot throw, so it leaves a
// note in the device's memory, and whoever next reads a value or waits for the device throws it.
#pragma once

#include <cstdint>

#include "framework/device.hpp"

namespace vla::cuda {

enum class Problem : std::int32_t {
  none,
  token,                 // value: the token, limit: the table's rows
  target,                // value: the target, limit: the classes
  gradient_norm,         // number
  lambda0,               // place: the head, number
  penalty_direction,     // place: as below
  penalty_vector,        //
  penalty_upstream,      //
  penalty_forget,        // number
  penalty_weight,        // number
  penalty_not_definite,  //
  stabilized_not_definite,
  relation,  // number
  loss,      // number
};

/// The first problem since the last that was thrown. `sequence`, `head` and `time` name a place.
struct ProblemNote {
  std::int32_t taken = 0;  // 0: free; set by the first kernel that finds something
  Problem problem = Problem::none;
  std::int64_t value = 0, limit = 0;
  double number = 0;
  std::int64_t sequence = 0, head = 0, time = 0;
};

/// The device's note, in its memory; for kernels (see report in kernel.cuh).
ProblemNote* problem_note(Device device);

/// Throws Error with what a note says.
[[noreturn]] void throw_problem(const ProblemNote& note);

}  // namespace vla::cuda
