#include "framework/cuda/problem.hpp"

#include "framework/diverged.hpp"

namespace vla::cuda {

void throw_problem(const ProblemNote& note) {
  const std::string place =
      concatenate(" of sequence ", note.sequence, ", head ", note.head, " at token ", note.time);
  switch (note.problem) {
    case Problem::token:
      fail("embedding: token ", note.value, " is out of range; allowed: 0 to ", note.limit - 1);
    case Problem::target:
      fail("cross_entropy: target ", note.value, " is out of range; allowed: 0 to ", note.limit - 1,
           ", or the index to ignore");
    case Problem::gradient_norm:
      throw Diverged(concatenate("optimizer: the gradients' norm is ", note.number,
                                 "; a finite one is needed to move the parameters"));
    case Problem::loss:
      throw Diverged(concatenate("optimizer: the loss is ", note.number,
                                 "; a finite one is needed to move the parameters"));
    case Problem::lambda0:
      fail_number(note.number, "inverse penalty: lambda0 of head ", note.head, " is ", note.number,
                  "; a positive number is needed");
    case Problem::penalty_direction:
      throw Diverged(concatenate("inverse penalty: the direction", place, " is not finite"));
    case Problem::penalty_vector:
      throw Diverged(concatenate("inverse penalty: the vector", place, " is not finite"));
    case Problem::penalty_upstream:
      throw Diverged(
          concatenate("inverse penalty: the upstream gradient", place, " is not finite"));
    case Problem::penalty_forget:
      fail_number(note.number, "inverse penalty: forgetting factor ", note.number, place,
                  "; 0 < gamma <= 1 is needed");
    case Problem::penalty_weight:
      fail_number(note.number, "inverse penalty: weight ", note.number, place,
                  "; 0 or more is needed");
    case Problem::penalty_not_definite:
      throw Diverged(
          concatenate("inverse penalty: M", place, " is not positive definite or not finite"));
    case Problem::relation:
      fail("symbolic penalty: a relation of token ", note.time, " of sequence ", note.sequence,
           " is ", note.number, "; 0 or a finite number above it is needed");
    case Problem::stabilized_not_definite:
      throw Diverged(concatenate("stabilized_recurrence: the penalty", place,
                                 " is not positive definite or not finite"));
    case Problem::none:
      break;
  }
  fail("cuda: a kernel reported a problem without a name");
}

}  // namespace vla::cuda
