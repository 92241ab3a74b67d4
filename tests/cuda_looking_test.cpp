// Looking into gradients on a CUDA device: anomalies, hooks, reports, profiles, recomputed
// segments.

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/anomaly.hpp"
#include "framework/cuda/graph.hpp"
#include "framework/cuda/launches.hpp"
#include "framework/gradient_report.hpp"
#include "framework/nn/layers.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/profiler.hpp"
#include "framework/recompute.hpp"
#include "framework/statistics.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"
#include "tests/error_of.hpp"
#include "tests/program.hpp"

namespace vla {
namespace {

using Pass = Profiler::Pass;

Tensor row(const std::vector<double>& values, DType dtype = DType::float32) {
  return Tensor::from({static_cast<Index>(values.size())}, values).to(dtype).to(kCuda);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_looking)

BOOST_AUTO_TEST_CASE(an_anomaly_is_named, NEEDS_CUDA) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    const Var w = Var::parameter(row({4, -1, 0}, dtype), "w");
    const DetectAnomalies detect;
    Tape tape;
    const std::string message = error_of([&] { log(w); });
    BOOST_TEST(message == concatenate("log (called at ", __FILE__, ":", __LINE__ - 1,
                                      "): result 0, ", dtype,
                                      "(3), has 1 NaN and 1 Inf; input 0, parameter 'w', ", dtype,
                                      "(3) from -1 to 4"));
    const Var v = Var::parameter(row({4, 0}, dtype), "v");
    const Var root = sqrt(v);
    check_contains(error_of([&] {
                     tape.backward(root, row({1, 1}, dtype));
                   }),
                   concatenate("): gradient of input 0, ", dtype,
                               "(2), has 1 Inf; upstream gradient 0, ", dtype, "(2) from 1 to 1"));
  }
}

BOOST_AUTO_TEST_CASE(what_is_finite_on_the_device, NEEDS_CUDA) {
  BOOST_TEST(all_finite(row({1e308, -1e308}, DType::float64)));  // though no norm is
  BOOST_TEST(all_finite(row({3e38, 3e38})));
  BOOST_TEST(!all_finite(row({1, std::nan("")})));
  BOOST_TEST(!all_finite(row({1, std::nan("")}, DType::bfloat16)));
  BOOST_TEST(concatenate(statistics(row({-3, 0, std::nan("")}, DType::bfloat16))) ==
             "from -3 to 0, 1 NaN");
}

BOOST_AUTO_TEST_CASE(a_replacement_on_another_device_is_an_error, NEEDS_CUDA) {
  const Var w = Var::parameter(row({3}), "w");
  {
    Tape tape;
    tape.on_gradient(w, [](const Tensor& g) { return scale(Var(g), 2).value(); });
    BOOST_TEST(tape.backward(sum(square(w)))[w].item() == 12);
  }
  Tape tape;
  tape.on_gradient(w, [](const Tensor& g) { return g.to(Device{}); });
  BOOST_TEST(error_of([&] { tape.backward(sum(square(w))); }) ==
             "on_gradient: the replacement for the gradient of 'w' is float32(1) on cpu, the "
             "variable is float32(1) on cuda:0");
}

BOOST_AUTO_TEST_CASE(a_report_says_what_it_says_on_the_cpu, NEEDS_CUDA) {
  std::vector<GradientRow> rows[2];
  for (const bool on_cuda : {false, true}) {
    Rng rng(1);
    Mlp mlp(8, 16, rng);
    if (on_cuda) move_to(mlp, kCuda);
    const Var x(rng.normal({4, 8}, DType::float32).to(on_cuda ? kCuda : Device{}));
    Sgd sgd(parameters(mlp), {.rate = 0.1});
    Tape tape;
    const Gradients gradients = tape.backward(mean(square(mlp(x))));
    GradientReport report(parameters(mlp), gradients);
    sgd.step(gradients);
    report.after_step();
    rows[on_cuda] = report.parameters();
  }
  BOOST_REQUIRE_EQUAL(rows[0].size(), rows[1].size());
  for (std::size_t i = 0; i < rows[0].size(); ++i) {
    const GradientRow &cpu = rows[0][i], &cuda = rows[1][i];
    BOOST_TEST(cuda.name == cpu.name);
    BOOST_TEST(cuda.weight_norm == cpu.weight_norm);
    BOOST_TEST(std::abs(cuda.norm - cpu.norm) <= 1e-4 * cpu.norm);
    BOOST_TEST(std::abs(cuda.largest - cpu.largest) <= 1e-4 * cpu.largest);
    BOOST_TEST(std::abs(cuda.update - cpu.update) <= 1e-3 * cpu.update);
  }
}

BOOST_AUTO_TEST_CASE(launches_belong_to_the_op_that_began_them, NEEDS_CUDA) {
  const TemporaryDirectory place;
  Rng rng(1);
  const Var w = Var::parameter(rng.normal({256, 256}, DType::float32).to(kCuda), "w");
  Profiler profiler(kCuda);
  const std::int64_t before = cuda::launches();
  for (int step = 0; step < 3; ++step) {
    Tape tape;
    tape.backward(mean(square(matmul(w, w))));
  }
  { Tape last; }
  const std::int64_t begun = cuda::launches() - before;
  std::int64_t launches = 0;
  double forward = 0, backward = 0;
  for (const Profiler::Row& row : profiler.rows()) {
    launches += row.launches;
    if (row.op == "matmul") (row.pass == Pass::forward ? forward : backward) = row.cuda_seconds;
    if (row.op == "matmul") BOOST_TEST(row.launches >= (row.pass == Pass::forward ? 3 : 6));
  }
  BOOST_TEST(launches == begun);
  BOOST_TEST(forward > 0);
  BOOST_TEST(backward > 0);
  check_contains(profiler.table(), "CUDA ms");

  profiler.write_trace(place / "trace.json");
  const auto trace = nlohmann::json::parse(read(place / "trace.json"));
  std::int64_t boxes = 0;
  double end = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X" || event.at("tid") != 2) continue;
    ++boxes;
    BOOST_TEST(event.at("ts").get<double>() >= end);  // one stream, in order
    end = event.at("ts");
  }
  BOOST_TEST(boxes == begun);
}

BOOST_AUTO_TEST_CASE(dropout_draws_the_same_words_again, NEEDS_CUDA) {
  const Var w = Var::parameter(Tensor::full({1000}, 2, DType::float32).to(kCuda), "w");
  Tensor gradients[3];
  for (const int way : {0, 1, 2}) {  // called, recomputed, recomputed in a captured graph
    Dropout dropout(0.5, Rng(7));
    const auto step = [&] {
      const auto segment = [&](const std::vector<Var>& in) { return square(dropout(in[0])); };
      Tape tape;
      const Var y = way == 0 ? segment({w}) : recompute(segment, {w}, {.random = {&dropout.rng}});
      gradients[way] = tape.backward(sum(y))[w];
    };
    if (way < 2) {
      for (int i = 0; i < 3; ++i) step();
      continue;
    }
    step();
    CapturedGraph graph(kCuda, step);
    graph.replay();
    graph.replay();
  }
  check_close(gradients[1].to(Device{}), gradients[0].to(Device{}), 0);
  check_close(gradients[2].to(Device{}), gradients[0].to(Device{}), 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
