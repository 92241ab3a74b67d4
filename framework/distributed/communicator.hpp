// The processes of one job, and what they tell each other. A job of one process needs no MPI, and
// every function here is then done at once.
//
//   Communicator ranks = Communicator::world();  // mpirun -n 4 program: rank 0, 1, 2 or 3 of 4
//   Tensor total = mine.clone();
//   ranks.sum(total);
#pragma once

#include <memory>
#include <string_view>

#include "framework/tensor.hpp"

namespace vla {

class Ranks;
class PendingMessage;

/// A sum over ranks that goes on while the program does something else.
class PendingSum {
 public:
  /// Nothing to wait for.
  PendingSum();
  PendingSum(PendingSum&&) noexcept;             ///< takes over what is waited for
  PendingSum& operator=(PendingSum&&) noexcept;  ///< the same
  /// Waits; but an Error on its way up does not, since the other ranks may never come.
  ~PendingSum();

  /// Lets it get on, as far as it can without waiting; MPI moves in calls alone.
  void progress();
  /// Waits until the tensor it was begun with has the sum. Nothing happens a second time. Throws
  /// Error for what MPI reports.
  void finish();
  /// Leaves the sum to itself, as when the other ranks may never come; the tensor stays unknown.
  void abandon();

 private:
  friend class Communicator;
  Tensor target_, host_;  // host_: what MPI works on
  std::unique_ptr<PendingMessage> message_;
};

/// The processes that share a work, numbered by rank from 0. Copies are handles of the same. What
/// all ranks take part in they must call in the same order; tensors are then of the same shape and
/// type everywhere. Sums take float32 and float64, everything else takes any element type; tensors
/// on CUDA devices go by copies on the host. Throws Error for tensors that are not allowed, a rank
/// that does not exist, and what MPI reports. One thread of a process at a time.
class Communicator {
 public:
  /// This process alone.
  Communicator() = default;
  /// All processes that mpirun (or another launcher that sets OMPI_COMM_WORLD_SIZE, PMI_SIZE or
  /// PMIX_RANK) started together; elsewhere this process alone, and MPI stays out of it. MPI begins
  /// with the first call and ends with the program. Throws Error if several processes were started
  /// and this build has no MPI.
  static Communicator world();

  /// The place of this process, from 0.
  int rank() const;
  /// How many there are.
  int size() const;
  /// The place of this process among all of the job on the same machine, from 0.
  int local_rank() const;

  /// The same processes in opposite order. Made by all ranks together.
  Communicator reversed() const;
  /// The same processes, whose calls do not mix with those of this one. Made by all ranks together.
  Communicator separate() const;

  /// x <- the sum of x over all ranks: the same everywhere.
  void sum(Tensor& x) const;
  /// The same for a number.
  double sum(double x) const;
  /// The largest of the numbers that the ranks give.
  double largest(double x) const;
  /// Begins a sum. x is not to be read or changed before it is finished.
  PendingSum begin_sum(Tensor& x) const;
  /// x <- the sum of x over the ranks before this one; 0 on rank 0.
  void exclusive_sum(Tensor& x) const;
  /// x <- x of rank `from`.
  void broadcast(Tensor& x, int from = 0) const;
  /// The number that rank `from` has.
  double broadcast(double x, int from = 0) const;

  /// Sends x to another rank, which receives it into a tensor of the same shape and type.
  void send(const Tensor& x, int to) const;
  /// Waits for what rank `from` sends.
  void receive(Tensor& x, int from) const;

 private:
  explicit Communicator(std::shared_ptr<Ranks> ranks) : ranks_(std::move(ranks)) {}
  void check_rank(const char* what, int rank) const;

  std::shared_ptr<Ranks> ranks_;  // none: one process
};

/// As parse_device(text), but "cuda", and "auto" where there is a GPU, are the GPU of this
/// process's local rank, counted round where there are fewer GPUs than processes. "cuda:N" is the
/// same for all. Throws Error as parse_device(text) does.
Device parse_device(std::string_view text, const Communicator& ranks);

/// Whether this build has MPI.
bool has_mpi();

/// For `main`, where an error ends up: prints "PROGRAM: message" on the standard error and returns
/// `code`. In a job of several ranks the line is "PROGRAM: rank 1: message", and all of them are
/// ended with that code; where several fail alike, as by wrong settings, the first speaks for all.
int end_job(const std::string& program, const std::string& message, int code);

}  // namespace vla
