#include "framework/cuda/graph.hpp"

#ifdef VLA_CUDA_BUILD
#include <cuda_runtime.h>
#endif

#include "framework/cuda/runtime.hpp"
#include "framework/tensor_cuda.hpp"

namespace vla {
namespace {

thread_local CapturedGraph* being_captured = nullptr;

}  // namespace

#ifdef VLA_CUDA_BUILD

namespace {

constexpr const char* kName = "captured graph";

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
  const PrivatePool private_pool(device);
  pool_ = private_pool.pool();
  Capture capture(device, this);
  work();
  for (Stream& stream : streams_) {
    stream.words = stream.rng->state().position - stream.before.position;
    cuda::go_on(stream.words, stream.ahead);
    *stream.rng = Rng(stream.before);
  }
  const cudaGraph_t graph = capture.end();
  cuda::check_status(capture.failed(), kName);
  cuda::check_status(cudaGraphGetNodes(graph, nullptr, &nodes_), kName);
  cudaGraphExec_t executable = nullptr;
  cuda::check_status(cudaGraphInstantiate(&executable, graph, 0), kName);
  graph_ = executable;
  for (Stream& stream : streams_) stream.ahead.fill(0);  // now for real
}

CapturedGraph::~CapturedGraph() {
  if (graph_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_));
}

void CapturedGraph::replay() {
  cuda::Begun begun(kName, device_);
  cuda::check_status(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph_),
                                     static_cast<cudaStream_t>(cuda::stream(device_))),
                     kName);
  begun.finish();
  for (Stream& stream : streams_) stream.rng->reserve(stream.words);
}

#else

CapturedGraph::CapturedGraph(Device device, const std::function<void()>&) : device_(device) {
  fail("captured graph: device ", device, " has no graphs; ", cuda_obstacle());
}
CapturedGraph::~CapturedGraph() = default;
void CapturedGraph::replay() {}

#endif

const std::int64_t* words_ahead(Rng& rng) {
  if (!being_captured) return nullptr;
  for (const CapturedGraph::Stream& stream : being_captured->streams_)
    if (stream.rng == &rng) return stream.ahead.data<std::int64_t>();
  Tensor ahead({}, DType::int64, being_captured->device_);
  being_captured->streams_.push_back({&rng, rng.state(), 0, ahead});
  return ahead.data<std::int64_t>();
}

}  // namespace vla
