// Lesson 1: a tape by hand, for single numbers. It uses nothing of the framework.
//
// Every program that computes a number is a list of small steps, and we know the derivative of each
// small step by heart: of a * b it is b with respect to a, and a with respect to b. A tape is that
// list, written down while the program runs. Read backwards, it gives the derivative of the last
// number with respect to every number before it: the chain rule, once per step.

#include <cmath>
#include <cstdio>
#include <vector>

// One step: its result, the places on the tape of what it was made from (-1: of nothing), and the
// derivative of the result with respect to each.
struct Step {
  double value;
  int from[2];
  double slope[2];
};

std::vector<Step> tape;

// A number is the place on the tape of the step that made it.
struct Number {
  int place;
  double value() const { return tape[place].value; }
};

Number write_down(Step step) {
  tape.push_back(step);
  return {static_cast<int>(tape.size()) - 1};
}

// The steps that this little language knows. Each computes, and writes down what it did.
Number input(double value) { return write_down({value, {-1, -1}, {0, 0}}); }
Number operator+(Number a, Number b) {
  return write_down({a.value() + b.value(), {a.place, b.place}, {1, 1}});
}
Number operator*(Number a, Number b) {
  return write_down({a.value() * b.value(), {a.place, b.place}, {b.value(), a.value()}});
}
Number sin(Number a) {
  return write_down({std::sin(a.value()), {a.place, -1}, {std::cos(a.value()), 0}});
}

// The derivative of `last` with respect to every number on the tape. We begin with d last / d last,
// which is 1, and walk back: a step passes its own derivative on to what it was made from, times
// the slope. A number that was used twice receives twice, hence the +=.
std::vector<double> backward(Number last) {
  std::vector<double> derivative(tape.size(), 0);
  derivative[last.place] = 1;
  for (int place = last.place; place >= 0; --place)
    for (int i = 0; i < 2; ++i)
      if (const int from = tape[place].from[i]; from >= 0)
        derivative[from] += derivative[place] * tape[place].slope[i];
  return derivative;
}

int main() {
  const Number x = input(2), y = input(3);
  const Number f = x * y + sin(x);
  std::printf("f = x y + sin x = %.4f at x = 2, y = 3; the tape:\n", f.value());
  for (const Step& step : tape)
    std::printf("  %7.4f from %2d %2d\n", step.value, step.from[0], step.from[1]);
  const std::vector<double> derivative = backward(f);
  std::printf("df/dx = %.4f, by calculus y + cos x = %.4f\n", derivative[x.place], 3 + std::cos(2));
  std::printf("df/dy = %.4f, by calculus x = %.4f\n", derivative[y.place], 2.0);
}

/* It prints

f = x y + sin x = 6.9093 at x = 2, y = 3; the tape:
   2.0000 from -1 -1
   3.0000 from -1 -1
   0.9093 from  0 -1
   6.0000 from  0  1
   6.9093 from  3  2
df/dx = 2.5839, by calculus y + cos x = 2.5839
df/dy = 2.0000, by calculus x = 2.0000
*/
