#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "framework/distributed/ops.hpp"
#include "framework/ops/arithmetic.hpp"
#include "framework/ops/reduce.hpp"
#include "tests/ranks/cases.hpp"

namespace vla {
namespace {

void check_value(const char* what, double actual, double expected) {
  check(actual == expected, what, " is ", actual, "; ", expected, " is expected");
}

void devices(const Communicator& ranks) {
  check(parse_device("cpu", ranks).is_cpu(), "cpu is not the CPU");
  const int gpus = cuda_device_count();
  if (gpus == 0) {
    check(parse_device("auto", ranks).is_cpu(), "auto is not the CPU");
    std::string refusal;
    try {
      parse_device("cuda", ranks);
    } catch (const Error& error) {
      refusal = error.what();
    }
    check(refusal.starts_with("device 'cuda' is not available: "), "refusal: ", refusal);
    return;
  }
  for (const char* name : {"cuda", "auto"})
    check_value(name, parse_device(name, ranks).index, ranks.rank() % gpus);
  check_value("cuda:0", parse_device("cuda:0", ranks).index, 0);
}

void collectives(const Communicator& ranks, const Words& words) {
  const int r = ranks.rank(), n = ranks.size();
  check_value("size", n, std::stod(words.at(0)));
  for (const DType dtype : {DType::float32, DType::float64}) {
    Tensor x = Tensor::full({3}, r + 1, dtype);
    ranks.sum(x);
    check_value("sum", x.to(DType::float64).at<double>({2}), n * (n + 1) / 2.0);
    Tensor y = Tensor::full({70000}, r + 1, dtype);
    PendingSum pending = ranks.begin_sum(y);
    pending.progress();
    pending.finish();
    pending.finish();
    check_value("a sum under way", y.to(DType::float64).at<double>({69999}), n * (n + 1) / 2.0);
    Tensor before = Tensor::full({2}, r + 1, dtype), after = before.clone();
    ranks.exclusive_sum(before);
    ranks.reversed().exclusive_sum(after);
    check_value("before", before.to(DType::float64).at<double>({1}), r * (r + 1) / 2.0);
    check_value("after", after.to(DType::float64).at<double>({1}),
                n * (n + 1) / 2.0 - (r + 1) * (r + 2) / 2.0);
  }
  check_value("local rank", ranks.local_rank(), r);  // of all on one machine, as tests are
  check_value("reversed local rank", ranks.separate().reversed().local_rank(), r);
  devices(ranks);
  check_value("reversed rank", ranks.reversed().rank(), n - 1 - r);
  check_value("a number's sum", ranks.sum(0.5), n * 0.5);
  check_value("the largest", ranks.largest(-r), 0);
  check_value("a number from the last", ranks.broadcast(r + 0.5, n - 1), n - 0.5);
  Tensor tokens = Tensor::range(r, r + 4);
  ranks.broadcast(tokens, n - 1);
  check_value("tokens from the last", static_cast<double>(tokens.at<Index>({3})), n + 2);
  // In a ring.
  Tensor own = Tensor::full({2, 2}, r, DType::float32), got = empty_like(own);
  if (n > 1) {
    if (r == 0) ranks.send(own, 1);
    ranks.receive(got, (r + n - 1) % n);
    if (r > 0) ranks.send(own, (r + 1) % n);
    check_value("from the rank before", got.at<float>({1, 1}), (r + n - 1) % n);
  }
  Tensor none({0}, DType::float32);
  ranks.sum(none);
  ranks.exclusive_sum(none);
}

// Gradients of ops over ranks are those of the sum of all losses.
void ops(const Communicator& ranks, const Words&) {
  const int r = ranks.rank(), n = ranks.size();
  const Var x = Var::parameter(Tensor::full({2}, r + 1, DType::float64));
  Tape tape;
  const Var before = sum_of_earlier_ranks(x, ranks);
  const Gradients g = tape.backward(sum((r + 1.0) * before));
  check_value("before", before.value().at<double>({0}), r * (r + 1) / 2.0);
  check_value("gradient", g[x].at<double>({0}), n * (n + 1) / 2.0 - (r + 1) * (r + 2) / 2.0);

  // Parts of r tokens, counted through: token i is i + 1.
  const Index first = r * (r - 1) / 2;
  constexpr Index kTail = 3;
  Tensor part({1, r, 1}, DType::float64);
  for (Index i = 0; i < r; ++i)
    part.mutable_values<double>()[static_cast<std::size_t>(i)] = static_cast<double>(first + i + 1);
  const Var p = Var::parameter(part);
  Tape second;
  const Var tail = tokens_of_earlier_ranks(p, kTail, ranks);
  for (Index i = 0; i < kTail; ++i)
    check_value("a token before", tail.value().at<double>({0, i, 0}),
                static_cast<double>(std::max<Index>(first - kTail + i + 1, 0)));
  // Each rank's loss weighs its tail by (rank + 1) (place + 1).
  Tensor weights({1, kTail, 1}, DType::float64);
  for (Index i = 0; i < kTail; ++i)
    weights.mutable_values<double>()[static_cast<std::size_t>(i)] =
        static_cast<double>((r + 1) * (i + 1));
  const Gradients h = second.backward(sum(tail * Var(weights)));
  for (Index i = 0; i < r; ++i) {
    double expected = 0;
    for (Index other = 0; other < n; ++other) {
      const Index place = first + i - (other * (other - 1) / 2 - kTail);
      if (other > r && place >= 0 && place < kTail)
        expected += static_cast<double>((other + 1) * (place + 1));
    }
    check_value("a token's gradient", h[p].at<double>({0, i, 0}), expected);
  }
}

void one_throws(const Communicator& ranks, const Words&) {
  Tensor x = Tensor::zeros({4}, DType::float32);
  ranks.sum(x);
  check(ranks.rank() != 1, "nothing works here");
  for (;;) ranks.sum(x);  // waits for rank 1
}

void all_throw(const Communicator& ranks, const Words&) {
  ranks.sum(1);
  fail("the same everywhere");
}

void one_dies(const Communicator& ranks, const Words&) {
  ranks.sum(1);
  if (ranks.rank() == 1) std::abort();
  ranks.sum(1);
}

void refusals(const Communicator& ranks, const Words&) {
  const auto refused = [](const std::string& part, auto action) {
    try {
      action();
    } catch (const Error& error) {
      const std::string text = error.what();
      check(text.find(part) != std::string::npos && text.find('\n') == std::string::npos, "'", text,
            "' has no '", part, "'");
      return;
    }
    fail("accepted: ", part);
  };
  Tensor tokens = Tensor::range(0, 3), x = Tensor::zeros({3}, DType::float32);
  refused("sum over ranks: element type int64 is not allowed", [&] { ranks.sum(tokens); });
  refused("broadcast: rank 2 does not exist; 0 to 1", [&] { ranks.broadcast(x, 2); });
  refused("send: rank 2 does not exist", [&] { ranks.send(x, 2); });
  refused("receive: rank -1 does not exist", [&] { ranks.receive(x, -1); });
  refused("is this process", [&] { ranks.send(x, ranks.rank()); });
  // What MPI itself finds wrong.
  if (ranks.rank() == 0) {
    ranks.send(x, 1);
  } else {
    Tensor small({1}, DType::float32);
    refused("receive: MPI reports: ", [&] { ranks.receive(small, 0); });
  }
}

}  // namespace

RankCases communicator_cases() {
  return {{"collectives", collectives}, {"ops", ops},           {"one_throws", one_throws},
          {"all_throw", all_throw},     {"one_dies", one_dies}, {"refusals", refusals}};
}

}  // namespace vla
