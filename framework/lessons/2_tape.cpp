// Lesson 2: the tape of the framework.
//
// It is the tape of lesson 1, with two differences. The numbers are tensors, so that one step may
// be a whole matrix product. And a step is written down only while a Tape is alive, and only if it
// depends on a parameter.

#include <iostream>

#include "framework/framework.hpp"

using namespace vla;

int main() {
  // Data: y = 2 a - 3 b for 100 pairs (a, b). A Tensor is an array of numbers; a Var made from one
  // is a constant of our calculation. float64 has 16 digits; training is content with float32.
  Rng rng(1);
  const Var x(rng.normal({100, 2}, DType::float64));
  const Var truth(Tensor::from<double>({2, 1}, {2, -3}));
  const Var y = matmul(x, truth);

  // What we look for is a parameter: a variable with respect to which we want derivatives.
  Var w = Var::parameter(Tensor::zeros({2, 1}, DType::float64), "w");
  const auto loss_of = [&](const Var& w) { return mean(square(matmul(x, w) - y)); };

  // Without a tape nothing is written down: the ops simply compute.
  std::cout << "loss without a tape: " << loss_of(w).value().item() << '\n';

  {
    // While this object is alive, what depends on w is recorded.
    Tape tape;
    const Var loss = loss_of(w);
    std::cout << "the tape holds " << tape.size() << " steps: matmul, sub, square, mean\n";

    // The walk back. Gradients are ordinary values: nothing is stored in w, so nothing has to be
    // set to zero before the next walk. This tape is used up now.
    const Gradients gradients = tape.backward(loss);
    std::cout << "gradient of w: " << gradients[w] << '\n';
  }

  // By hand: the loss is |x w - y|^2 / n, so its gradient is (2 / n) x^T (x w - y).
  const Var by_hand = matmul(x, matmul(x, w) - y, {.transpose_a = true}) * (2.0 / 100);
  std::cout << "by hand:       " << by_hand.value() << '\n';

  // Gradient descent: each step has a tape of its own, and moves w against the gradient.
  for (int step = 1; step <= 60; ++step) {
    Tape tape;
    const Gradients gradients = tape.backward(loss_of(w));
    w.mutable_value().accumulate((Var(gradients[w]) * -0.1).value());
    if (step % 20 == 0) std::cout << "w after step " << step << ": " << w.value() << '\n';
  }
}

/* It prints

loss without a tape: 8.45463
the tape holds 4 steps: matmul, sub, square, mean
gradient of w: float64(2, 1) on cpu [-2.7439, 3.80715]
by hand:       float64(2, 1) on cpu [-2.7439, 3.80715]
w after step 20: float64(2, 1) on cpu [1.88533, -2.80856]
w after step 40: float64(2, 1) on cpu [1.99296, -2.98809]
w after step 60: float64(2, 1) on cpu [1.99956, -2.99926]
*/
