// Fused softmax attention on CUDA against its composed form in float64 on the CPU, on the same
// numbers.

#include "framework/framework.hpp"
#include "models/softmax_transformer/softmax_attention.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"

namespace vla {
namespace {

struct Sizes {
  Index batch = 2, time = 65, before = 0, heads = 2, key = 32, value = 32;
};

struct Inputs {
  Tensor query, key, value, upstream;  // the last the gradient of the output
};

Inputs random_inputs(const Sizes& n, double deviation = 1) {
  Rng rng(31);
  const Index keys = n.time + n.before;
  return {rng.normal({n.batch, n.time, n.heads, n.key}, DType::float64, 0, deviation),
          rng.normal({n.batch, keys, n.heads, n.key}, DType::float64),
          rng.normal({n.batch, keys, n.heads, n.value}, DType::float64),
          rng.normal({n.batch, n.time, n.heads, n.value}, DType::float64)};
}

using Attention = Var (*)(const Var& query, const Var& key, const Var& value);
Var fused(const Var& query, const Var& key, const Var& value) {
  return softmax_attention(query, key, value);
}

// The output and the gradients of query, key and value, on the CPU; the nodes of the tape.
struct Results {
  std::vector<Tensor> tensors;
  std::size_t nodes = 0;
};
Results results(Attention attention, const Inputs& in, DType dtype, Device device) {
  std::vector<Var> variables;
  for (const Tensor& x : {in.query, in.key, in.value})
    variables.push_back(Var::parameter(x.to(dtype).to(device)));
  Tape tape;
  const Var output = attention(variables[0], variables[1], variables[2]);
  Results result{{output.value().to(Device{})}, tape.size()};
  const Gradients gradients = tape.backward(output, in.upstream.to(dtype).to(device));
  for (const Var& variable : variables) result.tensors.push_back(gradients[variable].to(Device{}));
  return result;
}

double norm_of(const Tensor& x) { return norm(Var(x.to(DType::float64))).value().item(); }
double norm_of_difference(const Tensor& a, const Tensor& b) {
  return norm(sub(Var(a.to(DType::float64)), Var(b.to(DType::float64)))).value().item();
}

struct Tolerance {
  double output, gradient;
};
constexpr Tolerance kOfBFloat16{6e-3, 1.5e-2}, kOfFloat32{1e-5, 2e-5};

// `floor` is what counts as no error, in norms of the upstream gradient: for what cancels.
void check_inputs_of(const Inputs& given, DType dtype, Tolerance tolerance, double floor = 2e-6) {
  Inputs in = given;
  for (Tensor* x : {&in.query, &in.key, &in.value, &in.upstream})
    *x = x->to(dtype).to(DType::float64);
  const Results reference = results(composed_softmax_attention, in, DType::float64, {}),
                actual = results(fused, in, dtype, kCuda);
  BOOST_TEST(actual.nodes == 1u);  // that it is the fused form
  const char* names[] = {"output", "dq", "dk", "dv"};
  for (std::size_t i = 0; i < 4; ++i) {
    BOOST_TEST(actual.tensors[i].dtype() == dtype);
    const double error = norm_of_difference(actual.tensors[i], reference.tensors[i]);
    const double allowed =
        (i ? tolerance.gradient : tolerance.output) * norm_of(reference.tensors[i]) +
        floor * norm_of(in.upstream);
    BOOST_TEST(error <= allowed, names[i] << ": " << error << " > " << allowed << ", of norm "
                                          << norm_of(reference.tensors[i]));
  }
}

void check_both(const Inputs& in, double floor = 2e-6) {
  BOOST_TEST_CONTEXT("bfloat16") check_inputs_of(in, DType::bfloat16, kOfBFloat16, floor);
  BOOST_TEST_CONTEXT("float32") check_inputs_of(in, DType::float32, kOfFloat32, floor);
}

// Every row of x along time becomes row 0.
Tensor with_equal_rows(Tensor x) {
  const Index row = x.size(2) * x.size(3), rows = x.size(1);
  auto values = x.mutable_values<double>();
  for (Index i = 0; i < x.elements(); ++i)
    values[static_cast<std::size_t>(i)] =
        values[static_cast<std::size_t>(i / (rows * row) * rows * row + i % row)];
  return x;
}

// Every second row is zeros.
Tensor with_zero_rows(Tensor x) {
  const Index row = x.size(2) * x.size(3);
  auto values = x.mutable_values<double>();
  for (Index i = 0; i < x.elements(); ++i)
    if (i / row % 2 == 0) values[static_cast<std::size_t>(i)] = 0;
  return x;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cuda_softmax_attention)

BOOST_AUTO_TEST_CASE(every_width, NEEDS_CUDA) {
  struct Widths {
    Index key, value;
  };
  for (const Widths& width :
       {Widths{16, 16}, Widths{32, 32}, Widths{64, 64}, Widths{128, 128}, Widths{24, 24},
        Widths{1, 3}, Widths{7, 40}, Widths{64, 16}, Widths{18, 100}, Widths{96, 8}})
    BOOST_TEST_CONTEXT("d " << width.key << ", d_v " << width.value)
  check_both(random_inputs({.time = 200, .key = width.key, .value = width.value}));
}

BOOST_AUTO_TEST_CASE(every_length, NEEDS_CUDA) {
  for (Index time : {1, 9, 63, 64, 65, 127, 128, 129, 200, 1000})
    for (Index width : {32, 64, 128}) BOOST_TEST_CONTEXT("T " << time << ", width " << width)
  check_both(random_inputs({.time = time, .heads = 3, .key = width, .value = width}));
}

BOOST_AUTO_TEST_CASE(more_keys_than_queries, NEEDS_CUDA) {
  for (Index before : {1, 31, 64, 300})
    for (Index time : {1, 5, 64, 130})
      for (Index width : {64, 128})
        BOOST_TEST_CONTEXT("T " << time << ", before " << before << ", width " << width)
  check_both(random_inputs({.time = time, .before = before, .key = width, .value = width}));
}

BOOST_AUTO_TEST_CASE(no_queries, NEEDS_CUDA) {
  for (DType dtype : {DType::bfloat16, DType::float32})
    for (Index before : {0, 5}) {
      const Results found =
          results(fused, random_inputs({.time = 0, .before = before}), dtype, kCuda);
      BOOST_TEST(found.tensors[0].elements() == 0);
      BOOST_TEST(norm_of(found.tensors[2]) == 0);
      BOOST_TEST(norm_of(found.tensors[3]) == 0);
    }
  BOOST_TEST(
      results(fused, random_inputs({.batch = 0}), DType::bfloat16, kCuda).tensors[0].elements() ==
      0);
}

BOOST_AUTO_TEST_CASE(large_scores, NEEDS_CUDA) {
  check_both(random_inputs({.time = 200, .key = 64, .value = 64}, 50));
}

BOOST_AUTO_TEST_CASE(equal_keys_and_zero_rows, NEEDS_CUDA) {
  Inputs in = random_inputs({.time = 200, .key = 64, .value = 64});
  in.key = with_zero_rows(in.key);
  in.query = with_zero_rows(in.query);
  in.value = with_zero_rows(in.value);
  BOOST_TEST_CONTEXT("zero rows") check_both(in);
  // dq is the sum of gradients that cancel, times one key.
  in = random_inputs({.time = 200, .key = 64, .value = 64});
  in.key = with_equal_rows(in.key);
  BOOST_TEST_CONTEXT("equal keys, bfloat16")
  check_inputs_of(in, DType::bfloat16, kOfBFloat16, 1e-3);
  BOOST_TEST_CONTEXT("equal keys, float32") check_inputs_of(in, DType::float32, kOfFloat32);
  for (Tensor* x : {&in.query, &in.key, &in.value}) *x = zeros_like(*x);
  BOOST_TEST_CONTEXT("zeros") check_both(in);
}

BOOST_AUTO_TEST_CASE(the_same_bits_every_time, NEEDS_CUDA) {
  const Inputs in = random_inputs({.batch = 3, .time = 333, .before = 50, .key = 64, .value = 48});
  for (DType dtype : {DType::bfloat16, DType::float32}) {
    const Results first = results(fused, in, dtype, kCuda);
    poison_memory(true, kCuda);
    const Results again = results(fused, in, dtype, kCuda);
    poison_memory(false, kCuda);
    for (std::size_t i = 0; i < first.tensors.size(); ++i)
      BOOST_TEST(norm_of_difference(first.tensors[i], again.tensors[i]) == 0);
  }
}

BOOST_AUTO_TEST_CASE(composed_where_there_is_no_kernel, NEEDS_CUDA) {
  const Inputs wide = random_inputs({.time = 9, .key = 130, .value = 16});
  BOOST_TEST(results(fused, wide, DType::bfloat16, kCuda).nodes > 1u);
  const Inputs narrow = random_inputs({.time = 9, .before = 3});
  const Results there = results(fused, narrow, DType::float64, kCuda),
                here = results(composed_softmax_attention, narrow, DType::float64, {});
  BOOST_TEST(there.nodes > 1u);
  for (std::size_t i = 0; i < here.tensors.size(); ++i)
    check_close(there.tensors[i], here.tensors[i], 1e-12);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
