// Lesson 8: training a model.
//
// A model is a struct of parts, with a function that names them; names, counts, optimisers and
// files follow from that. This one has a single layer of VLA, the memory of lesson 7, and learns
// to use it: the sequence shows keys and values in turn, k1 v1 k2 v2 k3 v3, and after a separator
// asks for the value of one key after the other. No weight can know the answers, since keys and
// values are new in every sequence. What is learned is to store and to look up.

#include <cstdio>

#include "framework/framework.hpp"
#include "models/models.hpp"
#include "tasks/tasks.hpp"

using namespace vla;

struct Model {
  Embedding embedding;  // a row of numbers for every token
  Vla memory;           // mixes a sequence over time; a short convolution joins k and v
  Linear answer;        // a score for every token

  // (B, T) tokens -> (B, T, vocabulary) scores.
  Var operator()(const Tensor& tokens) {
    const Var x = embedding(tokens);
    return answer(x + memory(x));
  }
  void visit(PartVisitor& parts) {
    parts("embedding", embedding);
    parts("memory", memory);
    parts("answer", answer);
  }
};

int main() {
  const Mqar task({.pairs = 3, .vocabulary = 12});
  const Index width = 24;
  Rng weights(1), data(2), held_out(3);
  const DType dtype = DType::float64;  // so that these digits are the same on every machine
  Model model{Embedding(task.vocabulary(), width, weights, 0.5, dtype),
              Vla({.attention = {.width = width, .heads = 2, .dtype = dtype}}, weights),
              Linear(width, task.vocabulary(), weights, {.dtype = dtype})};
  std::printf("%d trained numbers\n", int(parameter_count(model)));

  // The optimiser moves parameters against their gradients. The schedule lets its steps shrink,
  // from their full size to nothing.
  const int steps = 300;
  Adam adam(parameters(model), {.rate = 1e-2});
  const Schedule schedule{.kind = Schedule::Kind::cosine, .total = steps};
  for (int step = 0; step < steps; ++step) {
    const Batch batch = task.sample(32, data);
    Tape tape;
    // The mean of -log(probability of the right answer) over all places that ask for one.
    const Var loss = cross_entropy(model(batch.tokens), batch.targets);
    const Gradients gradients = tape.backward(loss);
    adam.step(gradients, {.rate_share = schedule(step)});
    if (step % 50 == 0) std::printf("step %3d, loss %.2f\n", step, loss.value().item());
  }

  // Sequences that it has not seen. Chance is the best guess of who knows the values in a sequence,
  // but not which of them belongs to which key.
  const Batch test = task.sample(500, held_out);
  const Score result = score(model(test.tokens).value(), test.targets);
  std::printf("answers right: %.2f, by chance %.2f\n", result.accuracy(), task.chance());
}

/* It prints

3376 trained numbers
step   0, loss 2.61
step  50, loss 0.91
step 100, loss 0.04
step 150, loss 0.10
step 200, loss 0.04
step 250, loss 0.02
answers right: 0.99, by chance 0.42
*/
