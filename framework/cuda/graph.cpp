#include "framework/cuda/graph.hpp"

#ifdef VLA_CUDA_BUILD
#include <cuda_runtime.h>
#endif

#include "framework/cuda/launches.hpp"
#include "framework/cuda/runtime.hpp"
#include "framework/tensor_cuda.hpp"

namespace vla {
namespace {

thread_local CapturedGraph* being_captured = nullptr;

}  // namespace

#ifdef VLA_CUDA_BUILD

namespace {

constexpr const char* kName = "captured graph";
constexpr Index kMostStreams = 1024;

// Ends the capture also where the work throws: the stream would refuse everything else.
class Capture {
 public:
  Capture(Device device, CapturedGraph* graph)
      : stream_(static_cast<cudaStream_t>(cuda::stream(device))) {
    check(being_captured == nullptr, kName, ": a graph is being captured already");
    cuda::check_status(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), kName);
    being_captured = graph;
  }
  ~Capture() {
    if (being_captured) end();
    if (graph_) cudaGraphDestroy(graph_);
  }
  cudaGraph_t end() {
    being_captured = nullptr;
    const cudaError_t status = cudaStreamEndCapture(stream_, &graph_);
    if (status != cudaSuccess) cudaGetLastError();
    failed_ = status;
    return graph_;
  }
  cudaError_t failed() const { return failed_; }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  cudaError_t failed_ = cudaSuccess;
};

}  // namespace

CapturedGraph::CapturedGraph(Device device, const std::function<void()>& work) : device_(device) {
  check(!device.is_cpu(), kName, ": device ", device, " has no graphs; a CUDA device is needed");
  counters_ = Tensor::zeros({kMostStreams}, DType::int64, device);
  const PrivatePool private_pool(device);
  pool_ = private_pool.pool();
  Capture capture(device, this);
  try {
    work();
  } catch (...) {
    restore_streams();
    throw;
  }
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    streams_[i].words = streams_[i].rng->state().position - streams_[i].before.position;
    cuda::go_on(streams_[i].words, counters_, static_cast<Index>(i));
  }
  restore_streams();
  const cudaGraph_t graph = capture.end();
  cuda::check_status(capture.failed(), kName);
  cudaGraphExec_t executable = nullptr;
  cuda::check_status(cudaGraphInstantiate(&executable, graph, 0), kName);
  graph_ = executable;
}

void CapturedGraph::restore_streams() {
  for (Stream& stream : streams_) {
    *stream.rng = Rng(stream.before);
    stream.position = stream.before.position;
  }
}

CapturedGraph::~CapturedGraph() {
  if (graph_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_));
}

void CapturedGraph::replay() {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = streams_[i];
    const RandomState now = stream.rng->state();
    check(now.seed == stream.before.seed && now.stream == stream.before.stream, kName,
          ": a random stream is another than when the graph was captured");
    if (now.position != stream.position) {  // somebody else drew from it, or set it back
      const std::uint64_t ahead = now.position - stream.before.position;
      cuda::copy_to_device(counter(i), &ahead, sizeof ahead, device_);
    }
    stream.rng->reserve(stream.words);
    stream.position = stream.rng->state().position;
  }
  cuda::Begun begun(kName, device_);
  cuda::check_status(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph_),
                                     static_cast<cudaStream_t>(cuda::stream(device_))),
                     kName);
  begun.finish();
}

#else

CapturedGraph::CapturedGraph(Device device, const std::function<void()>&) : device_(device) {
  fail("captured graph: device ", device, " has no graphs; ", cuda_obstacle());
}
CapturedGraph::~CapturedGraph() = default;
void CapturedGraph::replay() {}

#endif

std::int64_t* CapturedGraph::counter(std::size_t stream) {
  return counters_.mutable_data<std::int64_t>() + stream;
}

const std::int64_t* words_ahead(Rng& rng) {
  if (!being_captured) return nullptr;
  std::vector<CapturedGraph::Stream>& streams = being_captured->streams_;
  for (std::size_t i = 0; i < streams.size(); ++i)
    if (streams[i].rng == &rng) return being_captured->counter(i);
  check(static_cast<Index>(streams.size()) < being_captured->counters_.elements(),
        "captured graph: more than ", being_captured->counters_.elements(), " random streams");
  streams.push_back({&rng, rng.state(), 0, 0});
  return being_captured->counter(streams.size() - 1);
}

}  // namespace vla
