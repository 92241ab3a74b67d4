#include "tools/bench_attention.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "framework/cuda/graph.hpp"
#include "framework/file.hpp"
#include "tools/bench_attention_output.hpp"
#include "tools/settings.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

constexpr Index kWarmUp = 2;  // libraries set themselves up in the first calls

const char* usual_shapes(Device device, bool decode) {
  if (device.is_cpu()) return decode ? "2x4x1x32" : "2x4x256x32";
  return decode ? "64x16x1x64,64x16x1x128,1x16x1x64"
                : "8x16x1024x64,4x16x4096x64,4x16x4096x128,1x16x32768x64,1x16x32768x128";
}

std::vector<AttentionOperator> chosen(const BenchAttentionOptions& options) {
  std::vector<AttentionOperator> known;
  std::string allowed = "all";
  for (const AttentionOperator& one : attention_operators()) {
    if (options.decode && !one.make_step) continue;
    known.push_back(one);
    allowed += ", " + one.name;
  }
  if (options.operators == "all") return known;
  std::vector<AttentionOperator> result;
  for (const std::string& word : split_list(options.operators)) {
    const auto found = std::ranges::find(known, word, &AttentionOperator::name);
    check(found != known.end(), "--operators '", word, "' is not known",
          options.decode ? " with --decode" : "", "; allowed: ", allowed);
    result.push_back(*found);
  }
  return result;
}

void check_options(const BenchAttentionOptions& options, Device device) {
  check(options.repeats >= 1, "--repeats ", options.repeats, " is not allowed; 1 or more");
  check(is_floating(options.dtype), "--dtype ", options.dtype,
        " is not allowed; float32, float64, or on CUDA bfloat16");
  check(options.dtype != DType::bfloat16 || !device.is_cpu(),
        "--dtype bfloat16 is for CUDA devices, --device is ", options.device);
}

std::vector<AttentionShape> checked_shapes(const BenchAttentionOptions& options) {
  const std::vector<AttentionShape> shapes = parse_attention_shapes("--shapes", options.shapes);
  for (const AttentionShape& shape : shapes)
    check(!options.decode || shape.time == 1, "--shapes ", to_text(shape),
          " is not allowed with --decode; a step is one token, BxHx1xd");
  return shapes;
}

// Bytes per second that a copy reads and writes.
double copy_bandwidth(const BenchAttentionOptions& options, Device device) {
  // Far more than the caches hold.
  const Index usual = device.is_cpu() ? Index{1} << 25 : Index{1} << 30;
  const Index bytes = options.copy_bytes > 0 ? options.copy_bytes : usual;
  const Tensor source = Tensor::zeros({bytes}, DType::uint8, device);
  Tensor target = Tensor::zeros({bytes}, DType::uint8, device);
  std::vector<double> seconds;
  for (Index i = 0; i < kWarmUp + options.repeats; ++i) {
    const double taken = seconds_of(device, [&] { target.copy_from(source); });
    if (i >= kWarmUp) seconds.push_back(taken);
  }
  return 2 * static_cast<double>(bytes) / median(seconds);
}

double bytes_of(const std::vector<Var>& parts) {
  return std::accumulate(parts.begin(), parts.end(), 0.0, [](double sum, const Var& part) {
    return sum + static_cast<double>(part.value().bytes());
  });
}

// A row in the making: `measure` takes one more time.
struct Measured {
  BenchAttentionRow row;
  std::function<double()> measure;
  std::vector<double> seconds = {};
};

// Calls `work`; false, and the reason in the row, where memory ran out.
bool fits(BenchAttentionRow& row, Device device, const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const OutOfMemory&) {
    row.skipped = "does not fit";
  }
  release_cached_memory(device);
  return false;
}

void measure_in_turns(std::vector<Measured>& all, Device device, Index repeats) {
  for (Index turn = 0; turn < kWarmUp + repeats; ++turn) {
    for (Measured& one : all) {
      if (!one.row.skipped.empty()) continue;
      fits(one.row, device, [&] {
        const double seconds = one.measure();
        if (turn >= kWarmUp) one.seconds.push_back(seconds);
      });
    }
  }
  wait_for(device);  // throws what kernels have reported
  for (Measured& one : all)
    if (one.row.skipped.empty()) one.row.seconds = median(one.seconds);
}

// Forward, and forward with backward.
void add_passes(const AttentionOperator& what, const AttentionNumbers& numbers,
                std::vector<Measured>& all) {
  const Device device = numbers.device();
  BenchAttentionRow forward{.op = what.name, .shape = numbers.shape(), .pass = "forward"};
  forward.operations = what.operations(forward.shape);
  BenchAttentionRow both = forward;
  both.pass = "forward+backward";
  both.operations *= what.with_backward;
  std::function<double()> measure_forward, measure_both;
  const bool fit = fits(forward, device, [&] {
    const Workload work = what.make(numbers);
    const Tensor upstream = numbers.spread(numbers.upstream).value();
    const double in = bytes_of(work.inputs), out = static_cast<double>(upstream.bytes());
    forward.bytes = in + out;
    both.bytes = forward.bytes + in + out + in;
    measure_forward = [=] { return seconds_of(device, [&] { work.forward(); }); };
    measure_both = [=] {
      return seconds_of(device, [&] {
        Tape tape;
        tape.backward(work.forward(), upstream);
      });
    };
  });
  if (!fit) both.skipped = forward.skipped;
  all.push_back({forward, measure_forward});
  all.push_back({both, measure_both});
}

// A batch of sequences that goes on, token by token.
class Decoder {
 public:
  Decoder(AttentionStep step, Device device) : step_(std::move(step)), device_(device) {
    for (Index i = 0; i < kWarmUp; ++i) advance();
  }

  void advance() { carried_ = step_.advance(carried_, tokens_++); }

  /// One token, as a graph that carries on in place, to be replayed from now on. It counts no
  /// tokens: it is the step of a token at which nothing is formed anew. Why that cannot be had is
  /// returned; empty: it can.
  std::string try_capture() {
    wait_for(device_);
    release_cached_memory(device_);  // the graph takes memory of its own
    try {
      graph_ = std::make_unique<CapturedGraph>(device_, [&] {
        const std::vector<Tensor> next = step_.advance(carried_, tokens_);
        for (std::size_t i = 0; i < next.size(); ++i) carried_[i].copy_from(next[i]);
      });
      return "";
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& error) {
      return error.what();
    }
  }
  void replay() { graph_->replay(); }

  /// On the wall, launches included, as somebody waits for it who needs the token.
  double seconds_per_step(const std::function<void()>& step) const {
    const Index steps = device_.is_cpu() ? 10 : 100;
    wait_for(device_);
    Stopwatch watch;
    for (Index i = 0; i < steps; ++i) step();
    wait_for(device_);
    return watch.lap() / static_cast<double>(steps);
  }

  double bytes() const {
    const double carried = std::accumulate(
        carried_.begin(), carried_.end(), 0.0,
        [](double sum, const Tensor& part) { return sum + static_cast<double>(part.bytes()); });
    return bytes_of(step_.inputs) + 2 * carried;
  }

 private:
  AttentionStep step_;
  Device device_;
  std::vector<Tensor> carried_;
  Index tokens_ = 0;
  std::unique_ptr<CapturedGraph> graph_;
};

// A step, and on CUDA a step as a captured graph.
void add_steps(const AttentionOperator& what, const AttentionNumbers& numbers,
               std::vector<Measured>& all) {
  const Device device = numbers.device();
  const auto add = [&](const char* pass, bool as_graph) {
    BenchAttentionRow row{.op = what.name, .shape = numbers.shape(), .pass = pass};
    std::function<double()> measure;
    fits(row, device, [&] {
      const auto decoder = std::make_shared<Decoder>(what.make_step(numbers), device);
      const Tensor output = numbers.spread(numbers.value).value();  // of its size
      row.bytes = decoder->bytes() + static_cast<double>(output.bytes());
      if (as_graph) row.skipped = decoder->try_capture();
      measure = [=] {
        return decoder->seconds_per_step(
            [&] { as_graph ? decoder->replay() : decoder->advance(); });
      };
    });
    all.push_back({row, measure});
  };
  add("step", false);
  if (!device.is_cpu()) add("step as graph", true);
}

std::vector<BenchAttentionRow> measured(const AttentionShape& shape,
                                        const std::vector<AttentionOperator>& operators,
                                        const AttentionSetting& setting) {
  std::vector<Measured> all;
  const AttentionNumbers numbers(shape, setting.options.dtype, setting.device);
  for (const AttentionOperator& what : operators)
    (setting.options.decode ? add_steps : add_passes)(what, numbers, all);
  measure_in_turns(all, setting.device, setting.options.repeats);
  std::vector<BenchAttentionRow> rows;
  for (const Measured& one : all) rows.push_back(one.row);
  return rows;
}

}  // namespace

std::vector<BenchAttentionRow> run_bench_attention(const BenchAttentionOptions& given,
                                                   std::ostream& out) {
  AttentionSetting setting{.options = given, .device = parse_device(given.device)};
  BenchAttentionOptions& options = setting.options;
  check_options(options, setting.device);
  if (options.shapes.empty()) options.shapes = usual_shapes(setting.device, options.decode);
  const std::vector<AttentionShape> shapes = checked_shapes(options);
  const std::vector<AttentionOperator> operators = chosen(options);
  if (!options.peers.empty()) setting.peers = read_peers(options.peers);
  if (!options.json.empty()) check_replaceable(options.json);
  const PauseRecording none;
  setting.bandwidth = copy_bandwidth(options, setting.device);
  print_attention_head(setting, out);
  std::vector<BenchAttentionRow> rows;
  for (const AttentionShape& shape : shapes) {
    const std::vector<BenchAttentionRow> of_shape = measured(shape, operators, setting);
    print_attention_shape(of_shape, setting, out);
    rows.insert(rows.end(), of_shape.begin(), of_shape.end());
    // After every shape: what was measured is kept if the run is cut off.
    if (!options.json.empty()) write_attention(options.json, rows, setting);
  }
  return rows;
}

}  // namespace vla
