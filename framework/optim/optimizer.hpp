// Optimisers. They change parameters in place and never the gradients they are given. A parameter
// without a gradient took no part in the loss and is skipped: not moved, not decayed.
#pragma once

#include <string>
#include <vector>

#include "framework/diverged.hpp"
#include "framework/nn/module.hpp"

namespace vla {

/// Euclidean norm over all gradients of the parameters together, in float64; parameters without a
/// gradient are passed over.
double global_norm(const std::vector<Parameter>& parameters, const Gradients& gradients);

/// The factor that brings a gradient of norm `norm` to at most `limit`: min(1, limit/(norm+1e-6)).
double clip_factor(double norm, double limit);

/// What becomes of a step whose loss, or whose gradients' norm, is not finite.
enum class NonFinite {
  refuse,  ///< Diverged is thrown, nothing moves
  skip,    ///< nothing moves, and the step is counted as skipped
  ignore   ///< the parameters move, and are not finite afterwards
};

/// What optimisers share: the parameters, the step count, clipping, the guard against steps that
/// are not finite, and named state for checkpoints.
class Optimizer {
 public:
  /// What may change from step to step.
  struct StepOptions {
    double rate_share = 1;  ///< from a Schedule: multiplies the base rate
    double clip = 0;        ///< > 0: gradients are scaled to at most this global norm
    NonFinite non_finite = NonFinite::refuse;
  };

  virtual ~Optimizer() = default;
  /// Moves every parameter that has a gradient. Returns the global norm before clipping: a float64
  /// scalar where the parameters are, so that only who reads it waits for it. With nothing moved
  /// throws Error if an option is out of range, and Diverged if the norm is not finite and is to be
  /// refused; on CUDA that shows when a value is next read.
  Tensor step(const Gradients& gradients, StepOptions options);
  /// The same at the base rate, without clipping.
  Tensor step(const Gradients& gradients) { return step(gradients, StepOptions{}); }
  /// The first half of `step`: counts it and lays down its numbers where the parameters are.
  void begin_step(StepOptions options);
  /// The second half: moves the parameters by those numbers. A captured CUDA graph holds it alone.
  /// `loss`, one element of a floating type where the parameters are, is guarded like the norm if
  /// it is given.
  Tensor move(const Gradients& gradients, const Tensor& loss = {});

  /// In place of the second half: leaves the step that was begun out and counts it as skipped.
  void skip();

  /// Those it was made for.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Steps so far; those that were skipped count, so that schedules go on.
  std::int64_t steps() const { return steps_; }
  /// How many of them were skipped, since this optimiser was made. On CUDA this waits for them.
  std::int64_t skipped_steps() const;
  /// Goes on from a step, as a loader does.
  void set_steps(std::int64_t steps) { steps_ = steps; }
  /// The optimiser's tensors by name, e.g. "first_moment.blocks.0.mlp.up.weight": handles, so a
  /// loader writes into them.
  virtual std::vector<std::pair<std::string, Tensor>> state() const = 0;

 protected:
  /// Throws Error, naming both names, if a variable stands there twice: it would be stepped twice.
  explicit Optimizer(std::vector<Parameter> parameters);
  /// What the rule needs to know in this step, which steps() counts.
  virtual std::vector<double> numbers(double rate_share) const = 0;
  /// Parameters, by their places, and their gradients.
  using Moves = std::vector<std::pair<std::size_t, Tensor>>;
  /// Moves them. `numbers` (float64, where the parameters are) has the factor that the gradients
  /// are to be multiplied by, then those of the function above.
  virtual void update(const Moves& moves, const Tensor& numbers) = 0;

 private:
  Moves moves_of(const Gradients& gradients) const;
  Device device() const;
  void write_numbers(const std::vector<double>& numbers);
  bool guard(const Tensor& norm, const Tensor& loss);

  std::vector<Parameter> parameters_;
  std::int64_t steps_ = 0;
  Device made_on_;
  Tensor numbers_;
  Tensor skipped_;  // float64, one element, where the parameters are
  StepOptions options_;
};

/// Settings of Sgd.
struct SgdOptions {
  double rate = 1e-2;
  double momentum = 0;
  double weight_decay = 0;  ///< added to the gradient, as in plain L2 regularisation
};

/// v <- momentum v + g; p <- p - rate v.
class Sgd : public Optimizer {
 public:
  /// Throws Error for settings out of range, and as Optimizer does.
  explicit Sgd(std::vector<Parameter> parameters, SgdOptions options = {});
  std::vector<std::pair<std::string, Tensor>> state() const override;

 protected:
  std::vector<double> numbers(double rate_share) const override;
  void update(const Moves& moves, const Tensor& numbers) override;

 private:
  SgdOptions options_;
  std::vector<Tensor> velocity_;
};

/// Settings of Adam and AdamW.
struct AdamOptions {
  double rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  ///< true: AdamW, decay applied to the parameter and not to the gradient
};

/// Adam (Kingma and Ba 2015) with bias correction from step 1; with `decoupled` AdamW (Loshchilov
/// and Hutter 2019): p <- p (1 - rate decay), then the Adam step.
class Adam : public Optimizer {
 public:
  /// Throws Error for settings out of range, and as Optimizer does.
  explicit Adam(std::vector<Parameter> parameters, AdamOptions options = {});
  std::vector<std::pair<std::string, Tensor>> state() const override;

 protected:
  std::vector<double> numbers(double rate_share) const override;
  void update(const Moves& moves, const Tensor& numbers) override;

 private:
  AdamOptions options_;
  std::vector<Tensor> first_moment_, second_moment_;
};

/// Adam with decoupled weight decay.
class AdamW : public Adam {
 public:
  /// As Adam, with `decoupled` set.
  explicit AdamW(std::vector<Parameter> parameters, AdamOptions options = {})
      : Adam(std::move(parameters), with_decoupled(options)) {}

 private:
  static AdamOptions with_decoupled(AdamOptions options) {
    options.decoupled = true;
    return options;
  }
};

}  // namespace vla
