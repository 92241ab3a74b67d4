#include "tools/bench_ops.hpp"

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/file.hpp"
#include "framework/framework.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

double median_of(Index repeats, const std::function<double()>& measure) {
  measure();
  std::vector<double> seconds;
  for (Index i = 0; i < repeats; ++i) seconds.push_back(measure());
  return median(std::move(seconds));
}

// An op with the tensors of x's size that each pass must read and write.
struct Case {
  std::string name;
  std::function<Var()> forward;
  double forward_passes, backward_passes;
};

class Bench {
 public:
  Bench(const BenchOpsOptions& options, std::ostream& out)
      : options_(options), device_(parse_device(options.device)), out_(out) {
    const Shape shape{options.rows, options.width};
    Rng rng(1);
    // Half a row of random numbers, repeated: drawing them all would take longer than the rest.
    const Tensor row = rng.normal({1, options.width}, DType::float32).to(device_);
    const Tensor column = rng.normal({options.rows, 1}, DType::float32).to(device_);
    x_ = Var::parameter((Var(row) + Var(column)).value().to(options.dtype), "x");
    z_ = Var::parameter((Var(row) * Var(column)).value().to(options.dtype), "z");
    upstream_ = (Var(column) - Var(row)).value().to(options.dtype);
    const DType parameter = options.dtype == DType::float64 ? DType::float64 : DType::float32;
    weight_ = Var::parameter(Tensor::full({options.width}, 1.5, parameter, device_), "weight");
    bias_ = Var::parameter(Tensor::full({options.width}, 0.5, parameter, device_), "bias");
    taps_ = Var::parameter(Tensor::full({options.width, 4}, 0.25, parameter, device_), "taps");
    std::vector<Index> targets;
    for (Index i = 0; i < options.rows; ++i) targets.push_back(i * 7 % options.width);
    targets_ = Tensor::from<Index>({options.rows}, targets, device_);
  }

  std::vector<BenchOpsRow> run() {
    const PauseRecording none;
    const double bytes = static_cast<double>(x_.value().bytes());
    Tensor copy = empty_like(x_.value());
    const double copy_seconds = median_of(
        options_.repeats, [&] { return seconds_of(device_, [&] { copy.copy_from(x_.value()); }); });
    bandwidth_ = 2 * bytes / copy_seconds;
    out_ << fmt::format("{} on {}, ({}, {}): {:.1f} MB; copy {:.0f} GB/s\n\n",
                        concatenate(options_.dtype), concatenate(device_), options_.rows,
                        options_.width, bytes * 1e-6, bandwidth_ * 1e-9);
    out_ << fmt::format("{:<20} {:<9} {:>9} {:>9} {:>9}\n", "op", "pass", "ms", "GB/s", "of copy");
    for (const Case& one : cases()) measure(one, bytes);
    return rows_;
  }

 private:
  std::vector<Case> cases() const {
    const auto blocks = [&] {
      return reshape(x_, {options_.rows / 64, 64, 16, options_.width / 16});
    };
    return {
        {"add", [&] { return x_ + z_; }, 3, 0},
        {"mul", [&] { return x_ * z_; }, 3, 6},
        {"add of a row", [&] { return x_ + Var(weight_.value().to(options_.dtype)); }, 2, 0},
        {"scale", [&] { return x_ * 2.0; }, 2, 2},
        {"gelu", [&] { return gelu(x_); }, 2, 4},
        {"silu", [&] { return silu(x_); }, 2, 4},
        {"layer_norm", [&] { return layer_norm(x_, weight_, bias_); }, 2, 5},
        {"rms_norm", [&] { return rms_norm(x_, weight_); }, 2, 5},
        {"unit", [&] { return unit(x_); }, 2, 3},
        {"softmax", [&] { return softmax(x_); }, 2, 3},
        {"cross_entropy", [&] { return cross_entropy(x_, targets_); }, 1, 2},
        {"sum of columns", [&] { return sum(x_, {0}); }, 1, 1},
        {"sum of rows", [&] { return sum(x_, {1}); }, 1, 1},
        {"permute",
         [&] {
           return permute(blocks(), {0, 2, 1, 3});
         },
         2, 2},
        {"convolution",
         [&] {
           return causal_convolution(reshape(x_, {options_.rows / 64, 64, options_.width}), taps_);
         },
         2, 4},
    };
  }

  void measure(const Case& one, double bytes) {
    const double forward =
        median_of(options_.repeats, [&] { return seconds_of(device_, [&] { one.forward(); }); });
    add(one.name, "forward", forward, one.forward_passes * bytes);
    if (one.backward_passes == 0) return;
    const double backward = median_of(options_.repeats, [&] {
      Tape tape;
      const Var y = one.forward();
      const Tensor dy = y.value().elements() == upstream_.elements()
                            ? upstream_.reshape(y.shape())
                            : Tensor::full(y.shape(), 1, y.dtype(), device_);
      return seconds_of(device_, [&] { tape.backward(y, dy); });
    });
    add(one.name, "backward", backward, one.backward_passes * bytes);
  }

  void add(const std::string& op, const char* pass, double seconds, double bytes) {
    rows_.push_back({op, pass, seconds, bytes, bytes / seconds / bandwidth_});
    out_ << fmt::format("{:<20} {:<9} {:>9.3f} {:>9.0f} {:>7.0f} %\n", op, pass, seconds * 1e3,
                        bytes / seconds * 1e-9, 100 * rows_.back().share)
         << std::flush;
  }

  const BenchOpsOptions& options_;
  Device device_;
  std::ostream& out_;
  Var x_, z_, weight_, bias_, taps_;
  Tensor upstream_, targets_;
  double bandwidth_ = 0;
  std::vector<BenchOpsRow> rows_;
};

void write(const std::filesystem::path& path, const std::vector<BenchOpsRow>& rows) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const BenchOpsRow& row : rows)
    json.push_back({{"op", row.op},
                    {"pass", row.pass},
                    {"seconds", row.seconds},
                    {"bytes", row.bytes},
                    {"share_of_copy", row.share}});
  write_text(path, json.dump(2) + "\n");
}

}  // namespace

std::vector<BenchOpsRow> run_bench_ops(const BenchOpsOptions& options, std::ostream& out) {
  check(options.rows >= 64 && options.rows % 64 == 0, "--rows ", options.rows,
        " is not allowed; a multiple of 64");
  check(options.width >= 16 && options.width % 16 == 0, "--width ", options.width,
        " is not allowed; a multiple of 16");
  check(options.repeats >= 1, "--repeats ", options.repeats, " is not allowed; 1 or more");
  if (!options.json.empty()) check_replaceable(options.json);
  const std::vector<BenchOpsRow> rows = Bench(options, out).run();
  if (!options.json.empty()) write(options.json, rows);
  return rows;
}

}  // namespace vla
