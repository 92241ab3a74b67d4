// Training on several processes that each see other examples: the parameters are the same
// everywhere, the gradients are summed while backward still makes them.
//
//   DataParallel parallel(Communicator::world(), parameters(model));
//   ...
//   const auto [mean, share] = parallel.mean(loss, targets);
//   optimizer.step(parallel.backward(tape, loss, share));
#pragma once

#include <unordered_map>
#include <vector>

#include "framework/distributed/communicator.hpp"
#include "framework/nn/module.hpp"
#include "framework/tape.hpp"

namespace vla {

/// How gradients travel.
struct DataParallelOptions {
  /// Gradients are put together up to this size, so that a message is worth its price.
  std::size_t bucket_bytes = std::size_t{1} << 20;
  /// A bucket is on its way as soon as it is full; otherwise all of them after backward.
  bool overlap = true;
  /// Where an operator of one rank throws Diverged in backward, all ranks get NaN for the gradients
  /// that are not on their way by then, and a guarded step (NonFinite::skip) moves nowhere.
  /// Otherwise, and if all are on their way, the job is to end.
  bool nan_for_diverged = false;
};

/// Makes gradients of one process those of all. Without other processes it costs nothing and
/// changes nothing.
class DataParallel {
 public:
  /// All ranks together, with the same parameters in the same order: they get the values of rank 0.
  /// Throws Error unless they are float32 or float64, and as Communicator does.
  DataParallel(const Communicator& ranks, std::vector<Parameter> parameters,
               DataParallelOptions options = {});

  /// The mean over the targets of all ranks, and what share of them this rank has.
  struct Mean {
    double value = 0;
    double share = 1;
  };
  /// From this rank's loss, one element, which is a mean over `targets` of them; they may differ
  /// from rank to rank, and be 0. All ranks together; on CUDA it waits for the loss. NaN anywhere
  /// is NaN everywhere.
  Mean mean(const Var& loss, double targets) const;

  /// Gradients of that mean with respect to the parameters: the sum over ranks of share times
  /// gradient, the same everywhere. All ranks together, each with its tape of the same model. A
  /// parameter has a gradient if it has one on some rank. What else the tape tells of (watched
  /// variables) is of this rank's own share. Takes the tape's on_final_gradient.
  /// An Error in between, which this rank alone may have met, leaves the ranks apart: later calls
  /// throw Error, and the job is to end. So it is with Diverged, but see nan_for_diverged.
  Gradients backward(Tape& tape, const Var& loss, double share);

  /// Messages of a step.
  std::size_t buckets() const { return buckets_.size(); }

 private:
  // Gradients that travel together: one after the other, and after them for each of them 1 if there
  // is one on this rank.
  struct Bucket {
    std::vector<std::size_t> members = {};  // parameters, by their places
    std::vector<Index> offsets = {};
    Tensor numbers = {};
    std::size_t missing = 0;  // members whose gradient is not final yet
    PendingSum pending = {};
  };

  void make_buckets();
  void prepare();
  void take(const Var& parameter, const Tensor& gradient);
  void begin_full();
  void progress();
  Gradients backward_alone(Tape& tape, const Var& loss, double share);
  Gradients unpack(const Gradients& own);

  Communicator ranks_;
  std::vector<Parameter> parameters_;
  DataParallelOptions options_;
  std::vector<Bucket> buckets_;
  struct Place {
    std::size_t bucket, member;
  };
  std::unordered_map<const void*, Place> places_;
  bool apart_ = false;
  std::size_t begun_ = 0;  // buckets on their way, in the same order on every rank
};

}  // namespace vla
