// Work on a CUDA device that is captured once and replayed: one launch in place of hundreds.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "framework/random.hpp"
#include "framework/storage.hpp"
#include "framework/tensor.hpp"

namespace vla {

/// What `work` begins on a CUDA device, as a CUDA graph. Replaying it does the same to the same
/// memory: tensors that `work` reads must stay alive and are changed in place before a replay, and
/// those it makes hold the new values after it. Their memory is the graph's own. Nothing in `work`
/// may read a value or bring one from the host; run it once or twice beforehand, because libraries
/// set themselves up in their first calls.
///
/// Random numbers go on: each replay draws the next words of every Rng that `work` drew from, as if
/// it had been run, and leaves the Rng after them. These must stay where they are, of the same seed
/// and stream. While a graph is captured no other thread may begin work on the device: it would be
/// captured too.
class CapturedGraph {
 public:
  /// Throws Error for a device that is not CUDA, and for work that cannot be captured.
  CapturedGraph(Device device, const std::function<void()>& work);
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  /// Begins the work once more, in one launch.
  void replay();

 private:
  friend const std::int64_t* words_ahead(Rng& rng);
  struct Stream {
    Rng* rng;
    RandomState before;
    std::uint64_t words;     // of one run
    std::uint64_t position;  // where the next replay begins, as the device has it
  };
  std::int64_t* counter(std::size_t stream);
  void restore_streams();

  Device device_;
  std::shared_ptr<BlockPool> pool_;
  std::vector<Stream> streams_;
  // int64 on the device: words that each stream is ahead of its `before`. Not of the graph's own
  // memory, where another tensor of the graph may have had their place before.
  Tensor counters_;
  void* graph_ = nullptr;  // a cudaGraphExec_t
};

/// For an op that draws words on the device: where it finds how many words to add to the stream's
/// position, while a graph is captured; nullptr, for none, at other times. To be called before the
/// op reserves its words.
const std::int64_t* words_ahead(Rng& rng);

}  // namespace vla
