// Every op and layer on CUDA, against finite differences and against the CPU.

#include <algorithm>
#include <functional>

#include "framework/cuda/runtime.hpp"
#include "framework/framework.hpp"
#include "models/models.hpp"
#include "models/vla/inverse_penalty.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"
#include "tools/cases.hpp"

namespace vla {
namespace {

constexpr GradcheckOptions kStrict{.absolute = 1e-8, .relative = 1e-6};

// The output of a case, then the gradient of a fixed weighting of it for every input, on the CPU.
std::vector<Tensor> results(const GradientCase& row, const std::vector<Tensor>& inputs,
                            Device device) {
  std::vector<Var> variables;
  for (const Tensor& input : inputs) variables.push_back(Var::parameter(input.to(device)));
  Tape tape;
  const Var output = row.function(variables);
  std::vector<Tensor> result{output.value().to(Device{})};
  const Tensor weights = Rng(5).normal(output.shape(), DType::float64).to(output.dtype());
  const Gradients gradients = tape.backward(output, weights.to(device));
  for (const Var& variable : variables) {
    const Tensor* gradient = gradients.find(variable);
    result.push_back(gradient ? gradient->to(Device{}) : zeros_like(variable.value()).to(Device{}));
  }
  return result;
}

double norm_of_difference(const Tensor& a, const Tensor& b) {
  return norm(sub(Var(a.to(DType::float64)), Var(b.to(DType::float64)))).value().item();
}
double norm_of(const Tensor& x) { return norm(Var(x.to(DType::float64))).value().item(); }

std::vector<Tensor> in_dtype(const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Tensor> converted;
  for (const Tensor& input : inputs) converted.push_back(input.to(dtype));
  return converted;
}

std::vector<GradientCase> all_cases() {
  std::vector<GradientCase> rows = op_cases();
  for (GradientCase& row : layer_cases()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_ops)

BOOST_AUTO_TEST_CASE(every_gradient_agrees_with_finite_differences, NEEDS_CUDA) {
  const auto check_rows = [](const std::vector<GradientCase>& rows, GradcheckOptions options) {
    options.device = kCuda;
    for (const GradientCase& row : rows) {
      try {
        BOOST_TEST(gradcheck(row.name, row.function, row.inputs, options) <= 1, row.name);
      } catch (const Error& error) {
        BOOST_ERROR(row.name << ": " << error.what());
      }
    }
  };
  check_rows(op_cases(), kStrict);
  check_rows(layer_cases(), {.device = kCuda});
}

BOOST_AUTO_TEST_CASE(float64_agrees_with_the_cpu, NEEDS_CUDA) {
  for (const GradientCase& row : all_cases()) {
    try {
      const std::vector<Tensor> here = results(row, row.inputs, {}),
                                there = results(row, row.inputs, kCuda);
      for (std::size_t i = 0; i < here.size(); ++i) {
        // The absolute part is for what cancels to nothing beside numbers of size 1.
        const double allowed = 1e-12 * norm_of(here[i]) + 1e-12;
        const double error = norm_of_difference(here[i], there[i]);
        BOOST_TEST(error <= allowed, row.name << ", " << (i ? "gradient " : "output ") << i << ": "
                                              << error << " > " << allowed);
      }
    } catch (const Error& error) {
      BOOST_ERROR(row.name << ": " << error.what());
    }
  }
}

BOOST_AUTO_TEST_CASE(float32_agrees_with_float64_on_the_cpu, NEEDS_CUDA) {
  for (const GradientCase& row : op_cases()) {
    const std::vector<Tensor> narrow = in_dtype(row.inputs, DType::float32);
    try {
      const std::vector<Tensor> reference = results(row, in_dtype(narrow, DType::float64), {}),
                                here = results(row, narrow, {}),
                                there = results(row, narrow, kCuda);
      for (std::size_t i = 0; i < reference.size(); ++i) {
        // Where a result cancels or is a logarithm of something huge, as near as the CPU comes.
        const double allowed =
            1e-5 * norm_of(reference[i]) + 1e-6 + 2 * norm_of_difference(here[i], reference[i]);
        const double error = norm_of_difference(there[i], reference[i]);
        BOOST_TEST(there[i].dtype() == DType::float32);
        BOOST_TEST(error <= allowed, row.name << ", " << (i ? "gradient " : "output ") << i << ": "
                                              << error << " > " << allowed);
      }
    } catch (const Error& error) {
      BOOST_ERROR(row.name << ": " << error.what());
    }
  }
}

// Activations in bfloat16, parameters in float32, against float64 on the same numbers. An op rounds
// what it leaves to 8 bits, which is 1.7e-3 of a vector's norm; 5e-3 is for two or three of them in
// a row. What the op computes in between must not lose more.
BOOST_AUTO_TEST_CASE(bfloat16_agrees_with_float64_on_the_cpu, NEEDS_CUDA) {
  Rng rng(3);
  struct Row {
    const char* name;
    std::function<Var(const std::vector<Var>&)> function;
    std::vector<Tensor> activations, parameters;
    double allowed = 5e-3;
  };
  const auto normal = [&](const Shape& shape) { return rng.normal(shape, DType::float64); };
  const Tensor targets = Tensor::from<Index>({6}, {0, 3, 66, -100, 12, 12});
  const std::vector<Row> rows = {
      {"add", [](const auto& v) { return v[0] + v[1]; }, {normal({5, 67}), normal({67})}, {}},
      {"mul", [](const auto& v) { return v[0] * v[1]; }, {normal({5, 64}), normal({5, 64})}, {}},
      {"div",
       [](const auto& v) { return v[0] / (square(v[1]) + 1.0); },
       {normal({5, 64}), normal({5, 1})},
       {}},
      {"gelu", [](const auto& v) { return gelu(v[0]); }, {normal({7, 129})}, {}},
      {"silu", [](const auto& v) { return silu(v[0]); }, {normal({7, 129})}, {}},
      {"sigmoid", [](const auto& v) { return sigmoid(v[0]); }, {normal({1001})}, {}},
      {"elu_plus_one", [](const auto& v) { return elu_plus_one(v[0]); }, {normal({64, 3})}, {}},
      {"softmax", [](const auto& v) { return softmax(v[0]); }, {normal({6, 67})}, {}},
      {"log_softmax", [](const auto& v) { return log_softmax(v[0]); }, {normal({6, 1500})}, {}},
      {"cross_entropy",
       [&](const auto& v) { return cross_entropy(v[0], targets.to(v[0].device())); },
       {normal({6, 67})},
       {}},
      {"unit", [](const auto& v) { return unit(v[0]); }, {normal({2, 9, 32})}, {}},
      {"sum", [](const auto& v) { return sum(v[0], {0}); }, {normal({301, 5})}, {}},
      {"permute",
       [](const auto& v) {
         return permute(v[0], {0, 2, 1, 3});
       },
       {normal({2, 3, 5, 16})},
       {}},
      {"concat",
       [](const auto& v) {
         return concat({v[0], v[1]}, 1);
       },
       {normal({2, 3}), normal({2, 5})},
       {}},
      {"cumulative_sum",
       [](const auto& v) { return cumulative_sum(v[0], 1); },
       {normal({2, 40, 8})},
       {}},
      {"matmul",
       [](const auto& v) { return matmul(v[0], v[1], {.transpose_b = true}); },
       {normal({3, 17, 33}), normal({3, 9, 33})},
       {}},
      {"layer_norm",
       [](const auto& v) { return layer_norm(v[0], v[1], v[2]); },
       {normal({300, 67})},
       {normal({67}), normal({67})}},
      {"rms_norm",
       [](const auto& v) { return rms_norm(v[0], v[1]); },
       {normal({300, 64})},
       {normal({64})}},
      {"linear",
       [](const auto& v) { return linear(v[0], v[1], v[2]); },
       {normal({2, 150, 33})},
       {normal({17, 33}), normal({17})}},
      {"max", [](const auto& v) { return max(v[0], {1}); }, {normal({9, 70})}, {}},
      {"norm", [](const auto& v) { return norm(v[0], {1}); }, {normal({9, 70})}, {}},
      {"slice", [](const auto& v) { return slice(v[0], 1, 3, 9); }, {normal({9, 70})}, {}},
      {"where",
       [](const auto& v) {
         const Tensor mask = Tensor::from<std::uint8_t>({1, 4}, {1, 0, 0, 2});
         return where(mask.to(v[0].device()), v[0], v[1]);
       },
       {normal({9, 4}), normal({9, 4})},
       {}},
      {"causal_convolution",
       [](const auto& v) { return causal_convolution(v[0], v[1]); },
       {normal({2, 37, 24})},
       {normal({24, 4})}},
      {"causal_convolution, many taps",
       [](const auto& v) { return causal_convolution(v[0], v[1]); },
       {normal({2, 17, 5})},
       {normal({5, 7})}},
      {"delta_rule, step",
       [](const auto& v) {
         return delta_rule(
                    {.query = v[0], .key = unit(v[1]), .coefficient = unit(v[1]), .value = v[2]},
                    {.form = OperatorForm::step})
             .output;
       },
       {normal({2, 21, 2, 8}), normal({2, 21, 2, 8}), normal({2, 21, 2, 6})},
       {}},
      {"delta_rule, chunk",
       [](const auto& v) {
         return delta_rule(
                    {.query = v[0], .key = unit(v[1]), .coefficient = unit(v[1]), .value = v[2]},
                    {.form = OperatorForm::chunk})
             .output;
       },
       {normal({2, 70, 2, 8}), normal({2, 70, 2, 8}), normal({2, 70, 2, 6})},
       {},
       1e-2},  // e is rounded too, and with 70 keys of width 8 sums over tokens cancel
      {"inverse_penalty, step",
       [](const auto& v) {
         const Var k = unit(v[0]);
         return inverse_penalty(k, {.directions = k, .lambda0 = v[1]}, {.form = OperatorForm::step})
             .output;
       },
       {normal({2, 21, 2, 8})},
       {Tensor::full({2}, 0.7, DType::float64)}},
      {"inverse_penalty, chunk",
       [](const auto& v) {
         const Var k = unit(v[0]);
         return inverse_penalty(k, {.directions = k, .lambda0 = v[1]},
                                {.form = OperatorForm::chunk})
             .output;
       },
       {normal({2, 70, 2, 8})},
       {Tensor::full({2}, 0.7, DType::float64)}},
      {"linear without bias",
       [](const auto& v) { return linear(v[0], v[1]); },
       {normal({300, 64})},
       {normal({32, 64})}},
  };
  for (const Row& row : rows) {
    std::vector<Tensor> wide, narrow;
    for (const Tensor& x : row.activations) narrow.push_back(x.to(DType::bfloat16));
    for (const Tensor& x : row.parameters) narrow.push_back(x.to(DType::float32));
    for (const Tensor& x : narrow) wide.push_back(x.to(DType::float64));
    const GradientCase function{row.name, row.function, {}};
    try {
      const std::vector<Tensor> reference = results(function, wide, {}),
                                there = results(function, narrow, kCuda);
      for (std::size_t i = 0; i < reference.size(); ++i) {
        const double error = norm_of_difference(there[i], reference[i]);
        const double allowed = row.allowed * norm_of(reference[i]) + 1e-6;
        BOOST_TEST(error <= allowed, row.name << ", " << (i ? "gradient " : "output ") << i << ": "
                                              << error << " > " << allowed);
        if (i > 0) BOOST_TEST(there[i].dtype() == narrow[i - 1].dtype(), row.name);
      }
    } catch (const Error& error) {
      BOOST_ERROR(row.name << ": " << error.what());
    }
  }
}

BOOST_AUTO_TEST_CASE(fresh_memory_is_written_before_it_is_read, NEEDS_CUDA) {
  for (const GradientCase& row : all_cases()) {
    try {
      const std::vector<Tensor> first = results(row, row.inputs, kCuda);
      poison_memory(true, kCuda);
      const std::vector<Tensor> again = results(row, row.inputs, kCuda);
      for (std::size_t i = 0; i < first.size(); ++i) {
        const auto a = first[i].values<double>(), b = again[i].values<double>();
        BOOST_TEST(std::ranges::equal(std::as_bytes(a), std::as_bytes(b)),
                   row.name << ", " << (i ? "gradient " : "output ") << i);
      }
    } catch (const Error& error) {
      BOOST_ERROR(row.name << ": " << error.what());
    }
    poison_memory(false, kCuda);
  }
}

// Sizes that need every part of a kernel, and one that 32 bits do not count.
BOOST_AUTO_TEST_CASE(large_tensors, NEEDS_CUDA) {
  const Index rows = 70001, width = 97;
  const Tensor x = Rng(1).normal({rows, width}, DType::float32);
  const Var there(x.to(kCuda)), here(x);
  const auto same = [&](const char* name, const Var& a, const Var& b) {
    BOOST_TEST_CONTEXT(name) check_close(a.value().to(Device{}), b.value(), 1e-5);
  };
  same("sum of columns", sum(there, {0}), sum(here, {0}));
  same("sum of rows", sum(there, {1}), sum(here, {1}));
  same("sum", sum(square(there)), sum(square(here)));
  same("max", max(there, {1}), max(here, {1}));
  same("softmax", softmax(there), softmax(here));
  same("permute", permute(there, {1, 0}), permute(here, {1, 0}));
  const std::size_t needed = std::size_t{9} << 30;
  if (cuda::properties_now(kCuda).free_bytes < 2 * needed) return;
  const Index many = (Index{1} << 32) + 6;
  Tensor bytes = Tensor::zeros({many}, DType::uint8, kCuda);
  bytes = concat({Var(bytes), Var(Tensor::full({3}, 7, DType::uint8, kCuda))}, 0).value();
  // From an odd place on, so that the bytes are moved one by one.
  bytes = slice(Var(bytes), 0, 1, many + 3).value();
  const Tensor end = slice(Var(bytes), 0, many - 2, many + 2).value().to(Device{});
  const std::vector<std::uint8_t> expected = {0, 7, 7, 7};
  BOOST_TEST(end.values<std::uint8_t>() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
