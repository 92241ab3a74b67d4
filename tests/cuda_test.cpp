// The CUDA backend as a whole: memory, errors, graphs, training.

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "framework/cuda/graph.hpp"
#include "framework/cuda/runtime.hpp"
#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_functions.hpp"
#include "tests/cuda_guard.hpp"
#include "tools/training.hpp"
#include "tools/verify.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

TrainOptions small(const std::string& model, const std::string& device, DType dtype) {
  TrainOptions options;
  options.model = model;
  options.device = device;
  options.mixer.attention.width = 32;
  options.mixer.attention.heads = 2;
  options.mixer.attention.dtype = dtype;
  options.hidden = 48;
  options.batch = 8;
  options.data.pairs = 4;
  options.data.vocabulary = 32;
  options.steps = 100;
  options.warm_up = 5;
  return options;
}

struct Trained {
  std::vector<double> losses, norms;
  std::vector<Tensor> parameters;
};

// The losses, norms and parameters of a short training.
Trained trained(const TrainOptions& options, int steps) {
  Training training(options);
  Trained result;
  for (int i = 0; i < steps; ++i) {
    const Training::Step step = training.step();
    result.losses.push_back(step.loss.item());
    result.norms.push_back(step.gradient_norm.item());
  }
  for (const Parameter& parameter : training.all_parameters())
    result.parameters.push_back(parameter.variable.value().to(Device{}));
  return result;
}

void check_identical(const Trained& a, const Trained& b) {
  BOOST_TEST(a.losses == b.losses, boost::test_tools::per_element());
  BOOST_TEST(a.norms == b.norms, boost::test_tools::per_element());
  BOOST_REQUIRE(a.parameters.size() == b.parameters.size());
  for (std::size_t i = 0; i < a.parameters.size(); ++i) {
    const auto left = a.parameters[i].to(DType::float64),
               right = b.parameters[i].to(DType::float64);
    BOOST_TEST(std::ranges::equal(left.values<double>(), right.values<double>()),
               "parameter " << i);
  }
}

Tensor numbers(const std::vector<double>& values) {
  return Tensor::from({static_cast<Index>(values.size())}, values);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda)

BOOST_AUTO_TEST_CASE(tensors_go_there_and_back, NEEDS_CUDA) {
  const Tensor x = Rng(1).normal({3, 5}, DType::float64);
  check_close(x.to(kCuda).to(Device{}), x, 0);
  check_close(x.to(kCuda).to(DType::float32).to(Device{}), x.to(DType::float32), 0);
  check_close(x.to(kCuda).to(DType::bfloat16).to(Device{}), x.to(DType::bfloat16), 0);
  BOOST_TEST(Tensor::full({}, 2.5, DType::float32, kCuda).item() == 2.5);
  const Tensor range = Tensor::range(3, 7, kCuda).to(Device{});
  const std::vector<Index> expected{3, 4, 5, 6};
  BOOST_TEST(range.values<Index>() == expected, boost::test_tools::per_element());
  Tensor target = Tensor::zeros({3, 5}, DType::float64, kCuda);
  target.copy_from(x);
  target.accumulate(x.to(kCuda));
  check_close(target.to(Device{}), scale(Var(x), 2).value(), 0);
  BOOST_TEST(Tensor({0, 4}, DType::float32, kCuda).to(Device{}).elements() == 0);
}

BOOST_AUTO_TEST_CASE(a_gradient_on_another_device_is_an_error, NEEDS_CUDA) {
  const Var w = Var::parameter(Tensor::zeros({2}, DType::float64, kCuda));
  const auto rule = [](const BackwardContext&) -> std::vector<Tensor> {
    return {Tensor::zeros({2}, DType::float64)};
  };
  Tape tape;
  const Var y = record("custom", w.value().clone(), {w}, {}, rule, {"program.cpp", 7});
  BOOST_CHECK_EXCEPTION(tape.backward(sum(y)), Error,
                        says("custom (called at program.cpp:7): gradient of input 0 is float64(2) "
                             "on cpu, the input is float64(2) on cuda:0"));
}

BOOST_AUTO_TEST_CASE(mixed_devices_are_named, NEEDS_CUDA) {
  const Var here(numbers({1, 2})), there(numbers({1, 2}).to(kCuda));
  BOOST_CHECK_EXCEPTION(add(here, there), Error,
                        says("add: inputs are on cpu and cuda:0; one device is needed"));
  BOOST_CHECK_EXCEPTION(there.value().values<double>(), Error,
                        says("access from the CPU to a tensor on cuda:0"));
  BOOST_CHECK_EXCEPTION(parse_device("cuda:99"), Error, [](const Error& error) {
    return std::string(error.what()).starts_with("device 'cuda:99' is not available: this machine");
  });
}

BOOST_AUTO_TEST_CASE(what_a_kernel_finds_wrong_is_thrown_where_a_value_is_read, NEEDS_CUDA) {
  const Var table(Tensor::zeros({5, 2}, DType::float32, kCuda));
  const Var rows = embedding(table, Tensor::from<Index>({2}, {4, 5}, kCuda));
  BOOST_CHECK_EXCEPTION(rows.value().to(Device{}), Error,
                        says("embedding: token 5 is out of range; allowed: 0 to 4"));
  const Var loss = cross_entropy(Var(Tensor::zeros({2, 3}, DType::float32, kCuda)),
                                 Tensor::from<Index>({2}, {0, 7}, kCuda));
  BOOST_CHECK_EXCEPTION(
      loss.value().item(), Error,
      says("cross_entropy: target 7 is out of range; allowed: 0 to 2, or the index to ignore"));
  // It is thrown once.
  BOOST_TEST(Tensor::full({}, 1, DType::float32, kCuda).item() == 1);
}

BOOST_AUTO_TEST_CASE(a_norm_that_is_not_finite_moves_nothing, NEEDS_CUDA) {
  const Var p = Var::parameter(numbers({1, 2}).to(kCuda), "p");
  AdamW adam({{"p", p}});
  Gradients gradients;
  gradients.add(p, numbers({1, std::nan("")}).to(kCuda));
  adam.step(gradients, {.clip = 1});
  BOOST_CHECK_THROW(p.value().to(Device{}), Error);
  check_close(p.value().to(Device{}), numbers({1, 2}), 0);
}

BOOST_AUTO_TEST_CASE(steps_that_are_not_finite_are_skipped_or_refused, NEEDS_CUDA) {
  const Var p = Var::parameter(numbers({1, 2}).to(kCuda), "p");
  const auto gradients = [&](double first) {
    Gradients result;
    result.add(p, numbers({first, 1}).to(kCuda));
    return result;
  };
  Sgd sgd({{"p", p}}, {.rate = 1});
  for (const double first : {1.0, std::nan(""), -1.0, HUGE_VAL})
    sgd.step(gradients(first), {.non_finite = NonFinite::skip});
  BOOST_TEST(sgd.skipped_steps() == 2);
  check_close(p.value().to(Device{}), numbers({1, 0}), 0);
  sgd.begin_step({});
  sgd.move(gradients(1), Tensor::scalar(HUGE_VAL, DType::float32, kCuda));
  BOOST_CHECK_EXCEPTION(p.value().to(Device{}), Diverged,
                        says("optimizer: the loss is inf; a finite one is needed to move the "
                             "parameters"));
  check_close(p.value().to(Device{}), numbers({1, 0}), 0);
}

BOOST_AUTO_TEST_CASE(optimisers_agree_with_the_cpu, NEEDS_CUDA) {
  const auto moved = [](Device device, bool adam) {
    Rng rng(2);
    std::vector<Parameter> parameters;
    for (int i = 0; i < 70; ++i)  // more than one launch takes
      parameters.push_back(
          {std::to_string(i), Var::parameter(rng.normal({i * 100}, DType::float64).to(device))});
    std::unique_ptr<Optimizer> optimizer;
    if (adam)
      optimizer = std::make_unique<AdamW>(parameters, AdamOptions{.weight_decay = 0.1});
    else
      optimizer = std::make_unique<Sgd>(parameters, SgdOptions{.momentum = 0.9});
    std::vector<Tensor> results;
    for (int step = 0; step < 3; ++step) {
      Gradients gradients;
      for (const Parameter& parameter : parameters)
        gradients.add(parameter.variable,
                      rng.normal(parameter.variable.shape(), DType::float64).to(device));
      results.push_back(optimizer->step(gradients, {.rate_share = 0.5, .clip = 3}).to(Device{}));
    }
    for (const Parameter& parameter : parameters)
      results.push_back(parameter.variable.value().to(Device{}));
    return results;
  };
  for (bool adam : {true, false}) {
    const std::vector<Tensor> here = moved({}, adam), there = moved(kCuda, adam);
    for (std::size_t i = 0; i < here.size(); ++i)
      if (here[i].elements() > 0) check_close(there[i], here[i], 1e-13);
  }
}

// The struct is compiled for both devices in one .cu file: the CPU's loop and the kernel.
BOOST_AUTO_TEST_CASE(a_users_function_has_its_kernel, NEEDS_CUDA) {
  const auto function = [](const std::vector<Var>& v) { return swish(v[0]); };
  const Tensor x = Rng(1).normal({7, 11}, DType::float64);
  BOOST_TEST(gradcheck("swish", function, {x}, {.device = kCuda}) <= 1);
  check_close(swish(Var(x.to(kCuda))).value().to(Device{}), silu(Var(x)).value(), 1e-15);
}

BOOST_AUTO_TEST_CASE(random_words_are_those_of_the_cpu, NEEDS_CUDA) {
  std::vector<double> places;
  for (int i = 0; i < 1001; ++i) places.push_back(i);
  const Tensor x = numbers(places);
  for (const RandomState& state :
       {RandomState{1, 0, 0}, RandomState{~std::uint64_t{0}, 7, (std::uint64_t{1} << 34) - 3}}) {
    check_close(random_words(state, x.to(kCuda)).to(Device{}), random_words(state, x), 0);
    check_close(random_uniforms(state, x.to(kCuda)).to(Device{}), random_uniforms(state, x), 0);
    Rng rng(state);
    const Tensor words = random_words(state, x.to(kCuda)).to(Device{});
    for (double word : words.values<double>()) BOOST_TEST(word == rng.word());
  }
}

BOOST_AUTO_TEST_CASE(dropout_is_that_of_the_cpu, NEEDS_CUDA) {
  for (const std::uint64_t skipped : {0, 1, 2, 3, 7}) {
    for (Index count : {1, 3, 5, 1000, 4099}) {
      const Tensor x = Tensor::full({count}, 1, DType::float64);
      Rng here(9, 4), there(9, 4);
      here.reserve(skipped);
      there.reserve(skipped);
      for (double rate : {0.1, 0.5, 0.9}) {
        const Var kept = dropout(Var(x), {.rate = rate, .train = true}, here);
        const Var same = dropout(Var(x.to(kCuda)), {.rate = rate, .train = true}, there);
        check_close(same.value().to(Device{}), kept.value(), 0);
      }
      BOOST_TEST((here.state() == there.state()));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_shortage_of_memory_is_an_error_to_recover_from, NEEDS_CUDA) {
  const Tensor kept = Tensor::zeros({1000}, DType::float32, kCuda);
  limit_memory(memory_statistics(kCuda).live + (std::size_t{1} << 20), kCuda);
  try {
    Tensor large({1 << 20}, DType::float32, kCuda);
    BOOST_ERROR("a tensor beyond the limit was made");
  } catch (const OutOfMemory& error) {
    BOOST_TEST(error.requested >= std::size_t{4} << 20);
    BOOST_TEST(error.live > 0u);
    BOOST_TEST(error.peak >= error.live);
    BOOST_REQUIRE(!error.largest.empty());
    BOOST_TEST(std::string(error.what()).starts_with("out of memory on cuda:0: "));
  }
  limit_memory(0, kCuda);
  BOOST_TEST(sum(Var(kept) + 1.0).value().item() == 1000);
  // And the device's own.
  try {
    Tensor beyond({Index{1} << 42}, DType::float64, kCuda);
    BOOST_ERROR("32 TB were found");
  } catch (const OutOfMemory&) {
  }
  BOOST_TEST(sum(Var(kept) + 1.0).value().item() == 1000);
}

BOOST_AUTO_TEST_CASE(memory_stays_flat, NEEDS_CUDA) {
  Training training(small("vla", "cuda", DType::float32));
  for (int i = 0; i < 5; ++i) training.step();
  training.wait();
  const MemoryStatistics before = memory_statistics(kCuda);
  for (int i = 0; i < 300; ++i) training.step();
  training.wait();
  const MemoryStatistics after = memory_statistics(kCuda);
  BOOST_TEST(after.live == before.live);
  BOOST_TEST(after.cached == before.cached);
}

BOOST_AUTO_TEST_CASE(golden_cases, NEEDS_CUDA) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(VLA_SOURCE_DIR) / "tests/golden")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    std::ostringstream lines;
    try {
      const int failed = run_verify({entry.path().string()}, DType::float64, kCuda, 1e-9, lines);
      BOOST_TEST(failed == 0, lines.str());
    } catch (const Error& error) {
      BOOST_ERROR(entry.path().filename().string() << ": " << error.what());
    }
  }
  BOOST_TEST(files == 20);
}

BOOST_AUTO_TEST_CASE(training_agrees_with_the_cpu, NEEDS_CUDA) {
  for (const ModelKind& kind : model_kinds()) {
    BOOST_TEST_CONTEXT(kind.name) {
      const std::string model(kind.name);
      const Trained here = trained(small(model, "cpu", DType::float64), 3),
                    there = trained(small(model, "cuda", DType::float64), 3);
      check_close(numbers(there.losses), numbers(here.losses), 1e-9);
      check_close(numbers(there.norms), numbers(here.norms), 1e-8);
      const Trained narrow = trained(small(model, "cuda", DType::float32), 3);
      check_close(numbers(narrow.losses), numbers(here.losses), 1e-4);
      TrainOptions half = small(model, "cuda", DType::float32);
      half.precision = "bf16";
      check_close(numbers(trained(half, 3).losses), numbers(here.losses), 2e-2);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_bits, NEEDS_CUDA) {
  for (const char* model : {"vla", "vla-v3", "deltanet", "softmax"}) BOOST_TEST_CONTEXT(model) {
      const TrainOptions options = small(model, "cuda", DType::float32);
      check_identical(trained(options, 8), trained(options, 8));
    }
}

BOOST_AUTO_TEST_CASE(a_captured_step_is_the_step, NEEDS_CUDA) {
  for (const ModelKind& kind : model_kinds()) BOOST_TEST_CONTEXT(kind.name) {
      TrainOptions eager = small(std::string(kind.name), "cuda", DType::float32);
      TrainOptions captured = eager;
      captured.graph = true;
      check_identical(trained(eager, 12), trained(captured, 12));
    }
}

BOOST_AUTO_TEST_CASE(a_captured_graph_draws_on, NEEDS_CUDA) {
  Rng eager(3), replayed(3);
  const Var x(Tensor::full({1000}, 1, DType::float32, kCuda));
  const DropoutOptions options{.rate = 0.3, .train = true};
  dropout(x, options, replayed);
  dropout(x, options, eager);
  Tensor out;
  CapturedGraph graph(kCuda, [&] {
    sum(x);  // leaves memory free that the next tensors may take
    const Var once = dropout(x, options, replayed);
    out = (once + dropout(x, options, replayed)).value();
  });
  for (int i = 0; i < 5; ++i) {
    if (i == 2)
      for (Rng* rng : {&eager, &replayed}) rng->reserve(5);  // others may draw from it too
    if (i == 3)
      for (Rng* rng : {&eager, &replayed}) *rng = Rng(3);  // or set it back
    graph.replay();
    const Var once = dropout(x, options, eager);
    check_close(out.to(Device{}), (once + dropout(x, options, eager)).value().to(Device{}), 0);
    BOOST_TEST((eager.state() == replayed.state()));
  }
}

BOOST_AUTO_TEST_CASE(a_capture_that_fails_leaves_everything_as_it_was, NEEDS_CUDA) {
  const Var x(Tensor::full({4}, 1, DType::float32, kCuda));
  Rng rng(1);
  const auto work = [&] { sum(dropout(x, {.rate = 0.5, .train = true}, rng)).value().item(); };
  BOOST_CHECK_THROW(CapturedGraph(kCuda, work), Error);
  BOOST_TEST((rng.state() == Rng(1).state()));
  BOOST_TEST(sum(x).value().item() == 4);
}

BOOST_AUTO_TEST_CASE(a_captured_training_goes_on_from_its_checkpoint, NEEDS_CUDA) {
  TrainOptions options = small("vla", "cuda", DType::float32);
  options.graph = true;
  const Trained whole = trained(options, 12);
  const fs::path path = fs::temp_directory_path() / "vla_cuda_test.safetensors";
  {
    Training first(options);
    for (int i = 0; i < 6; ++i) first.step();
    first.report_evaluation();  // between captured steps, from the memory of everybody
    first.save(path);
  }
  Training second(options);
  second.load(path);
  for (int i = 6; i < 12; ++i)
    BOOST_TEST(second.step().loss.item() == whole.losses[static_cast<std::size_t>(i)]);
  fs::remove(path);
}

BOOST_AUTO_TEST_CASE(forgetting_next_to_1_survives_bfloat16, NEEDS_CUDA) {
  TrainOptions options = small("vla", "cuda", DType::float32);
  options.mixer.forget = true;
  const Trained exact = trained(options, 3);
  options.precision = "bf16";
  Training training(options);
  for (int i = 0; i < 3; ++i) {
    const double loss = training.step().loss.item();
    BOOST_TEST(std::abs(loss - exact.losses[static_cast<std::size_t>(i)]) < 0.02);
  }
  const Var x = Var::parameter(Tensor::full({1, 1}, 6.5, DType::bfloat16, kCuda));
  Tape tape;
  const Var gamma = sigmoid(cast(x, DType::float32));
  BOOST_TEST(gamma.value().item() < 0.999);
  BOOST_TEST(tape.backward(gamma)[x].item() > 1e-3);
}

BOOST_AUTO_TEST_CASE(an_optimiser_made_before_a_move_is_refused, NEEDS_CUDA) {
  Var p = Var::parameter(numbers({1, 2}), "p");
  AdamW adam({{"p", p}});
  p.mutable_value() = p.value().to(kCuda);
  Gradients gradients;
  gradients.add(p, numbers({1, 2}).to(kCuda));
  BOOST_CHECK_EXCEPTION(
      adam.step(gradients), Error,
      says("optimizer: it was made when the parameters were on cpu and its own tensors are there, "
           "the parameters are on cuda:0 now; make it after move_to"));
}

BOOST_AUTO_TEST_CASE(streams_agree_with_the_cpu, NEEDS_CUDA) {
  for (const char* model : {"vla", "vla-v3", "deltanet", "linear", "softmax"}) {
    TrainOptions options = small(model, "cpu", DType::float64);
    options.positions = false;
    const auto written = [&](Device device) {
      LanguageModel language = make_model(options, 32, 0);
      move_to(language, device);
      Generator generator(language, {.temperature = 0}, 1);
      generator.read(std::vector<Index>{3, 1, 4, 1, 5, 9, 2, 6});
      std::vector<Index> tokens;
      for (int i = 0; i < 20; ++i) tokens.push_back(generator.next());
      return tokens;
    };
    BOOST_TEST_CONTEXT(model)
    BOOST_TEST(written(kCuda) == written({}), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
