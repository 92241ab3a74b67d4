// What a user's program does: checks a primitive of its own, trains with it and with a model of the
// package, and prints what tests/package_test.cpp looks for.
#include <cmath>
#include <cstdio>

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "running_sum.hpp"
#include "tasks/tasks.hpp"

using namespace vla;

struct Softsign {  // y = x / (1 + |x|), elementwise
  static constexpr auto name = "softsign";
  template <class T>
  static T value(T x) {
    return x / (1 + std::abs(x));
  }
  template <class T>
  static T slope(T x, T) {
    const T d = 1 + std::abs(x);
    return 1 / (d * d);
  }
};

// Steps whose running sum is the target: what is learned are the target's differences.
static double learn_steps(Device device) {
  Rng rng(1);
  const Tensor target = rng.normal({4, 8}, DType::float32).to(device);
  const Var steps = Var::parameter(Tensor::zeros({4, 8}, DType::float32, device), "steps");
  Adam adam({{"steps", steps}}, {.rate = 0.05});
  double last = 0;
  for (int step = 0; step < 300; ++step) {
    Tape tape;
    const Var loss = mean(square(running_sum(steps) - Var(target)));
    adam.step(tape.backward(loss));
    last = loss.value().item();
  }
  return last;
}

static double learn_recall() {
  Mqar task({.pairs = 2, .vocabulary = 16});
  Rng weights(1), data(2);
  VlaLanguageModel model(
      {.vocabulary = task.vocabulary(), .width = 32, .heads = 2, .positions = task.length()},
      weights);
  AdamW adam(parameters(model), {.rate = 3e-3});
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    const Batch batch = task.sample(16, data);
    Tape tape;
    const Var loss = cross_entropy(model(batch.tokens), batch.targets);
    adam.step(tape.backward(loss));
    last = loss.value().item();
    if (step == 0) first = last;
  }
  return last / first;
}

int main() try {
  const Tensor x = Rng(3).normal({3, 5}, DType::float64);
  gradcheck("running_sum", [](const std::vector<Var>& in) { return running_sum(in[0]); }, {x});
  gradcheck("softsign", [](const std::vector<Var>& in) { return elementwise<Softsign>(in[0]); },
            {x});
  std::printf("gradients right\n");
  std::printf("steps %s\n", learn_steps({}) < 1e-3 ? "learned" : "not learned");
  std::printf("recall %s\n", learn_recall() < 0.9 ? "learned" : "not learned");
  if (cuda_device_count() > 0)
    std::printf("cuda steps %s\n", learn_steps(best_device()) < 1e-3 ? "learned" : "not learned");
  else
    std::printf("no CUDA device: %s\n", cuda_obstacle().c_str());
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
