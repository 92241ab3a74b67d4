// Lesson 3: reading gradients.
//
// When a network does not learn, its gradients tell why. Here is a well known disease. On its way
// down through a stack of layers a gradient is multiplied, at every layer, by the slope of the
// activation function. The slope of a sigmoid is 1/4 at most, so little arrives at the bottom, and
// the lowest layers hardly learn. The slope of tanh is up to 1, and the gradient keeps its length.

#include <cmath>
#include <cstdio>

#include "framework/framework.hpp"

using namespace vla;

// The length of a gradient: the root of the sum of squares of its elements.
double length(const Tensor& gradient) { return norm(Var(gradient)).value().item(); }

// One pass through six layers, forward and backward.
template <class Activation>
void look(const char* name, Activation activation) {
  const Index width = 32, depth = 6;
  Rng rng(1);
  std::vector<Var> weights, outputs;
  const Var unused = Var::parameter(Tensor::zeros({1}, DType::float64), "unused");

  Tape tape;
  Var h(rng.normal({8, width}, DType::float64));
  for (Index i = 0; i < depth; ++i) {
    weights.push_back(Var::parameter(
        rng.normal({width, width}, DType::float64, 0, 1 / std::sqrt(double(width))), "weight"));
    h = activation(matmul(h, weights.back()));
    // A parameter's gradient is always kept. That of a value on the way is freed as soon as it has
    // been passed on, unless we say that we want to see it.
    tape.watch(h);
    outputs.push_back(h);
  }
  const Gradients gradients = tape.backward(mean(square(h)));

  // Gradients are looked up by variable: what was watched just as parameters.
  std::printf("%-21s", name);
  for (Index layer = 1; layer <= depth; ++layer) std::printf("  layer %d", int(layer));
  std::printf("\n  gradient of weights");
  for (const Var& weight : weights) std::printf("  %.1e", length(gradients[weight]));
  std::printf("\n  gradient of output ");
  for (const Var& output : outputs) std::printf("  %.1e", length(gradients[output]));

  // What took no part in the loss has no gradient: `find` asks, and gradients[unused] would throw.
  std::printf("\n  gradient of unused   %s\n", gradients.find(unused) ? "there is one" : "none");
}

int main() {
  look("sigmoid", [](const Var& x) { return sigmoid(x); });
  look("tanh", [](const Var& x) { return tanh(x); });

  // Gradients add up like numbers, so a large batch can be taken in small pieces.
  const Var w = Var::parameter(Tensor::scalar(3, DType::float64), "w");
  Gradients total;
  for (double x : {1.0, 2.0, 4.0}) {
    Tape tape;
    total += tape.backward(w * x);
  }
  std::printf("gradient of w + 2 w + 4 w, in three pieces: %g\n", total[w].item());
}

/* It prints

sigmoid                layer 1  layer 2  layer 3  layer 4  layer 5  layer 6
  gradient of weights  3.4e-05  2.6e-04  1.4e-03  6.0e-03  2.8e-02  1.3e-01
  gradient of output   2.7e-05  1.4e-04  7.3e-04  3.1e-03  1.5e-02  6.8e-02
  gradient of unused   none
tanh                   layer 1  layer 2  layer 3  layer 4  layer 5  layer 6
  gradient of weights  9.7e-02  1.0e-01  1.1e-01  9.7e-02  8.6e-02  7.4e-02
  gradient of output   2.5e-02  2.9e-02  3.8e-02  4.0e-02  3.8e-02  3.5e-02
  gradient of unused   none
gradient of w + 2 w + 4 w, in three pieces: 7
*/
