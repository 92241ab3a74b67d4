// Lesson 4: a new elementwise primitive.
//
// An op that does the same to every element needs two functions of one number: the value, and the
// slope. The framework makes the rest of them: the loop over all elements and cores, and the step
// on the tape. Ours is the bell curve, y = exp(-x^2).

#include <cmath>
#include <cstdio>

#include "framework/framework.hpp"

using namespace vla;

// T is float or double. VLA_HOST_DEVICE lets the same two functions run on a GPU too, if the file
// is compiled as CUDA (named .cu); here it means nothing.
struct Bell {
  static constexpr auto name = "bell";
  template <class T>
  VLA_HOST_DEVICE static T value(T x) {
    using std::exp;
    return exp(-x * x);
  }
  // dy/dx = -2 x exp(-x^2). The value y is handed to us, so the exponential is not computed again.
  template <class T>
  VLA_HOST_DEVICE static T slope(T x, T y) {
    return -2 * x * y;
  }
};

// The op that users call. `site` is their file and line, which an error message will name.
Var bell(const Var& x, CallSite site = CallSite::here()) { return elementwise<Bell>(x, {}, site); }

int main() {
  // The sum of bells has the slopes as its gradient, element by element.
  const Var x = Var::parameter(Tensor::from<double>({4}, {-1.5, -0.5, 0.5, 1.5}), "x");
  Tape tape;
  const Var y = bell(x);
  const Gradients gradients = tape.backward(sum(y));
  std::printf("    x  bell(x)    slope   -2 x y\n");
  for (int i = 0; i < 4; ++i)
    std::printf("%5.1f  %7.4f  %7.4f  %7.4f\n", x.value().at<double>({i}),
                y.value().at<double>({i}), gradients[x].at<double>({i}),
                -2 * x.value().at<double>({i}) * y.value().at<double>({i}));

  // A slope that does not belong to its value is found by moving x a little, both ways. That check
  // is one line, and it throws if the two disagree.
  gradcheck("bell", [](const auto& in) { return bell(in[0]); }, {x.value()});
  std::printf("the gradient is right\n");

  // And bell is an op like any other: here is the gradient through a chain of ops. At the top of
  // the bell nothing moves: f = bell(x - 1) is largest at x = 1.
  Var place = Var::parameter(Tensor::scalar(0.2, DType::float64), "place");
  for (int step = 0; step < 50; ++step) {
    Tape tape;
    const Tensor slope = tape.backward(bell(place - 1.0))[place];
    place.mutable_value().fill(place.value().item() + 0.2 * slope.item());
  }
  std::printf("climbing the bell around 1 from 0.2 ends at %.4f\n", place.value().item());
}

/* It prints

    x  bell(x)    slope   -2 x y
 -1.5   0.1054   0.3162   0.3162
 -0.5   0.7788   0.7788   0.7788
  0.5   0.7788  -0.7788  -0.7788
  1.5   0.1054  -0.3162  -0.3162
the gradient is right
climbing the bell around 1 from 0.2 ends at 1.0000
*/
