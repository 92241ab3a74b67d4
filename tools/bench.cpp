#include "tools/bench.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "framework/cuda/runtime.hpp"
#include "framework/file.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "tools/bench_output.hpp"
#include "tools/settings.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

constexpr Index kFirstTime = 64;  // the longest sequence that is tried without a thought

// Operations per second of a float32 product of n x n matrices.
double sgemm_rate(Index n, Device device) {
  Rng rng(1);
  const auto random = [&] { return Var(rng.uniform({n, n}, DType::float32).to(device)); };
  const Var a = random(), b = random();
  const auto multiply = [&] {
    matmul(a, b);
    wait_for(device);
  };
  multiply();
  std::vector<double> seconds;
  for (int repeat = 0; repeat < 3; ++repeat) {
    Stopwatch watch;
    multiply();
    seconds.push_back(watch.lap());
  }
  return 2 * std::pow(static_cast<double>(n), 3) / median(seconds);
}

struct Call {
  double seconds = 0;
  std::size_t bytes = 0, peak_bytes = 0;
};

Call call(const Workload& work, Device device, bool backward) {
  reset_peak_memory(device);
  Stopwatch watch;
  Tensor output;
  if (backward) {
    Tape tape;
    const Var result = work.forward();
    output = result.value();
    tape.backward(result, Tensor::full(output.shape(), 1, output.dtype(), device));
  } else {
    output = work.forward().value();
  }
  wait_for(device);
  Call measured{.seconds = watch.lap(),
                .bytes = output.bytes(),
                .peak_bytes = memory_statistics(device).peak};
  for (const Var& input : work.inputs) measured.bytes += input.value().bytes();
  if (backward) measured.bytes *= 2;  // each has a gradient
  return measured;
}

std::size_t machine_bytes(Device device) {
  if constexpr (kCudaBuild)
    if (!device.is_cpu()) return cuda::properties(device).memory_bytes;
  return static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Bytes of a call on a sequence of at most kFirstTime tokens: 16 vectors a token, some d x d
// matrices a head and, in a layer, some of width x width. Rounded up: of 5 shapes, batch 1 to 512
// and width 128 to 4096, no row held more than 1.1 times as much, most between a fifth and all of
// it.
double estimated_bytes(const std::string& kind, const BenchShape& shape, bool backward) {
  const auto batch = static_cast<double>(shape.batch), heads = static_cast<double>(shape.heads),
             width = static_cast<double>(shape.width), head_width = width / heads;
  const double vectors = 16 * batch * static_cast<double>(shape.time) * width;
  const double head_matrices = batch * heads * head_width * head_width;
  const double numbers =
      vectors + (kind == "layer" ? 8 * (head_matrices + width * width) : 4 * head_matrices);
  return numbers * (backward ? 2 : 1) * static_cast<double>(element_bytes(shape.dtype));
}

std::string too_large(double bytes, const char* measure, Index time, Device device) {
  const auto machine = static_cast<double>(machine_bytes(device));
  return fmt::format("{}{:.1f} GB at time {}, the device has {:.1f} GB", measure, bytes * 1e-9,
                     time, machine * 1e-9);
}

// Tries lengths that double, and says why the whole one should not be begun; empty: it may.
std::string reason_to_skip(const std::string& kind, const BenchCase& what,
                           const BenchOptions& options, bool backward) {
  const Index whole = options.shape.time;
  Index time = whole;
  while (time > kFirstTime) time = (time + 1) / 2;
  BenchShape shortest = options.shape;
  shortest.time = time;
  const Device device = options.shape.device;
  const double estimate = estimated_bytes(kind, shortest, backward);
  if (estimate > static_cast<double>(machine_bytes(device)))
    return too_large(estimate, "about ", time, device);
  for (bool first = true; time < whole; time = std::min(2 * time, whole), first = false) {
    BenchShape shape = options.shape;
    shape.time = time;
    const Workload work = what.make(shape);
    if (first) call(work, device, backward);
    const Call tried = call(work, device, backward);
    const double least = tried.seconds * static_cast<double>(whole) / static_cast<double>(time);
    if (least > options.limit) return fmt::format("a call would take {:.0f} s or more", least);
    // Twice the length takes four times the memory at most.
    if (4 * tried.peak_bytes > machine_bytes(device))
      return too_large(static_cast<double>(tried.peak_bytes), "", time, device);
  }
  return "";
}

BenchRow measure(const std::string& kind, const BenchCase& what, const BenchOptions& options,
                 bool backward) {
  BenchRow row{.kind = kind,
               .name = what.name,
               .form = what.form,
               .pass = backward ? "forward+backward" : "forward",
               .skipped = reason_to_skip(kind, what, options, backward)};
  if (!row.skipped.empty()) return row;
  const BenchShape& shape = options.shape;
  const Workload work = what.make(shape);
  call(work, shape.device, backward);
  std::vector<double> seconds;
  double spent = 0;
  while (row.repeats < options.repeats && spent < options.limit) {
    const Call timed = call(work, shape.device, backward);
    row.bytes = timed.bytes;
    row.peak_bytes = std::max(row.peak_bytes, timed.peak_bytes);
    seconds.push_back(timed.seconds);
    spent += timed.seconds;
    ++row.repeats;
  }
  row.seconds = median(seconds);
  row.operations = what.operations * (backward ? kOperationsWithBackward : 1) *
                   static_cast<double>(shape.batch * shape.time * shape.heads) *
                   std::pow(shape.head_width(), 2);
  return row;
}

// The cases of these names.
std::vector<BenchCase> chosen(const std::string& option, const std::string& names,
                              std::vector<BenchCase> cases) {
  if (names == "all") return cases;
  if (names == "none") return {};
  std::string allowed = "all, none";
  for (std::size_t i = 0; i < cases.size(); ++i)
    if (i == 0 || cases[i].name != cases[i - 1].name) allowed += ", " + cases[i].name;
  std::vector<BenchCase> result;
  for (const std::string& word : split_list(names)) {
    const std::size_t before = result.size();
    std::ranges::copy_if(cases, std::back_inserter(result),
                         [&](const BenchCase& one) { return one.name == word; });
    check(result.size() > before, "--", option, " '", word, "' is not known; allowed: ", allowed);
  }
  return result;
}

void check_options(const BenchOptions& options) {
  const auto at_least_1 = [](const char* name, Index value) {
    check(value >= 1, "--", name, " ", value, " is not allowed; 1 or more");
  };
  at_least_1("batch", options.shape.batch);
  at_least_1("time", options.shape.time);
  at_least_1("heads", options.shape.heads);
  at_least_1("width", options.shape.width);
  at_least_1("repeats", options.repeats);
  check(options.shape.width % options.shape.heads == 0, "--width ", options.shape.width,
        " is not divisible by --heads ", options.shape.heads);
  check(std::isfinite(options.limit) && options.limit > 0, "--limit ", options.limit,
        " is not allowed; above 0");
}

}  // namespace

std::vector<BenchRow> run_bench(const BenchOptions& options, std::ostream& out) {
  check_options(options);
  const std::vector<BenchCase> operators =
      chosen("operators", options.operators, bench_operators());
  const std::vector<BenchCase> layers = chosen("layers", options.layers, bench_layers());
  check(!operators.empty() || !layers.empty(),
        "--operators none and --layers none leave nothing to measure");
  if (!options.json.empty()) check_replaceable(options.json);
  const BenchSetting setting{options.shape, thread_count(), options.sgemm_size,
                             sgemm_rate(options.sgemm_size, options.shape.device)};
  print_bench_head(setting, out);
  std::vector<BenchRow> rows;
  const auto measure_all = [&](const char* kind, const std::vector<BenchCase>& cases) {
    for (const BenchCase& what : cases) {
      for (bool backward : {false, true}) {
        rows.push_back(measure(kind, what, options, backward));
        print_bench_row(rows.back(), setting, out);
        // After every row: what was measured is kept if the run is cut off.
        if (!options.json.empty()) write_bench(options.json, rows, setting);
      }
    }
  };
  measure_all("operator", operators);
  measure_all("layer", layers);
  print_bench_end(out);
  return rows;
}

}  // namespace vla
