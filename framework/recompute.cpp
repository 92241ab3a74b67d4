#include "framework/recompute.hpp"

#include <algorithm>
#include <set>

#include "framework/op_observer.hpp"

namespace vla {
namespace {

using Function = std::function<std::vector<Var>(const std::vector<Var>&)>;

// Refuses ops that read a variable through which a gradient would be lost.
class InputsOnly : public OpObserver {
 public:
  InputsOnly(const std::vector<Var>& inputs, std::string segment) : segment_(std::move(segment)) {
    for (const Var& input : inputs) given_.insert(input.identity());
  }

  void after_op(const OpRun& op) override {
    for (const Var& input : op.inputs)
      if (input.requires_gradient() && !given_.contains(input.identity()))
        fail(segment_, ": ", located(op.name, op.site), " reads ",
             input.name().empty() ? "a variable without a name" : "'" + input.name() + "'",
             " of shape ", input.shape(),
             ", which requires a gradient and is not among the inputs");
  }

 private:
  std::string segment_;
  std::set<const void*> given_;
};

// While it lives, the streams are where they were then; afterwards where they are now.
class StreamsAt {
 public:
  StreamsAt(const std::vector<Rng*>& streams, const std::vector<RandomState>& then)
      : streams_(streams) {
    for (std::size_t i = 0; i < streams.size(); ++i) {
      now_.push_back(*streams[i]);
      *streams[i] = Rng(then[i]);
    }
  }
  ~StreamsAt() {
    for (std::size_t i = streams_.size(); i-- > 0;) *streams_[i] = now_[i];
  }
  StreamsAt(const StreamsAt&) = delete;
  StreamsAt& operator=(const StreamsAt&) = delete;

 private:
  const std::vector<Rng*>& streams_;
  std::vector<Rng> now_;
};

std::vector<RandomState> states_of(const std::vector<Rng*>& streams) {
  std::vector<RandomState> states;
  for (const Rng* stream : streams) states.push_back(stream->state());
  return states;
}

// The results of the first run, which is not recorded.
std::vector<Tensor> first_run(const Function& function, const std::vector<Var>& inputs,
                              const std::vector<Rng*>& streams, const std::string& segment) {
  const std::vector<RandomState> before = states_of(streams);
  const std::uint64_t reserved = words_reserved();
  std::vector<Tensor> values;
  {
    const PauseRecording pause;
    const InputsOnly inputs_only(inputs, segment);
    for (const Var& output : function(inputs)) values.push_back(output.value());
  }
  std::uint64_t known = 0;
  for (std::size_t i = 0; i < streams.size(); ++i)
    known += streams[i]->state().position - before[i].position;
  const std::uint64_t drawn = words_reserved() - reserved;
  check(drawn <= known, segment, ": the function draws ", drawn,
        " random words in its ops, and the streams given in `random` moved on by ", known,
        "; give every stream that it draws from");
  return values;
}

// Gradients of the inputs, given those of the results, by a second run.
std::vector<Tensor> second_run(const Function& function, const std::vector<Var>& inputs,
                               const BackwardContext& at, std::size_t results, CallSite site) {
  Tape tape;
  const std::vector<Var> outputs = function(inputs);
  check(outputs.size() == results, "the function returned ", results, " results and now ",
        outputs.size());
  std::vector<Tensor> upstream;
  for (std::size_t i = 0; i < results; ++i) upstream.push_back(at.gradient(static_cast<int>(i)));
  // A node that stands for the rest of the outer tape, which hands each result its gradient.
  const Var rest = record(
      "end of a recomputed segment", Tensor::zeros({}, DType::float32), outputs, {},
      [&](const BackwardContext&) { return upstream; }, site);
  const Gradients found = rest.requires_gradient() ? tape.backward(rest) : Gradients();

  std::vector<Tensor> gradients;
  std::set<const void*> seen;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!at.wants(static_cast<int>(i))) {
      gradients.emplace_back();
      continue;
    }
    // All of it goes to the first place of an input that was given twice.
    const Tensor* gradient =
        seen.insert(inputs[i].identity()).second ? found.find(inputs[i]) : nullptr;
    gradients.push_back(gradient ? *gradient : zeros_like(inputs[i].value()));
  }
  return gradients;
}

}  // namespace

std::vector<Var> recompute(Function function, const std::vector<Var>& inputs,
                           RecomputeOptions options, CallSite site) {
  const std::vector<RandomState> then = states_of(options.random);
  std::vector<Tensor> values =
      first_run(function, inputs, options.random, located("recompute", site));
  std::vector<Tensor> saved;
  for (const Var& input : inputs) saved.push_back(value_or_none(input));
  const std::size_t results = values.size();
  return record(
      "recompute", std::move(values), inputs, std::move(saved),
      [function = std::move(function), inputs, then, streams = options.random, results,
       site](const BackwardContext& at) {
        const StreamsAt streams_at(streams, then);
        return second_run(function, inputs, at, results, site);
      },
      site);
}

Var recompute(std::function<Var(const std::vector<Var>&)> function, const std::vector<Var>& inputs,
              RecomputeOptions options, CallSite site) {
  return recompute([function = std::move(function)](
                       const std::vector<Var>& in) { return std::vector<Var>{function(in)}; },
                   inputs, std::move(options), site)[0];
}

}  // namespace vla
