#include "framework/optim/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "framework/optim/optimizer_cuda.hpp"
#include "framework/optim/optimizer_rules.hpp"
#include "framework/parallel.hpp"

namespace vla {
namespace {

constexpr Index kGrain = 1 << 13;  // elements below which a second thread costs more than it saves

// --- clipping -----------------------------------------------------------------------------------

template <class T>
double sum_of_squares(const T* x, Index count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index i = 0; i < count; ++i) sum += double(x[i]) * double(x[i]);
  return sum;
}

// In blocks of one size, so that the result does not depend on the number of threads.
double sum_of_squares(const Tensor& tensor) {
  constexpr Index kBlock = 1 << 13;
  const Index count = tensor.elements(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  dispatch_floating(tensor.dtype(), "global_norm", [&](auto zero) {
    const auto* x = tensor.data<decltype(zero)>();
    parallel_for(blocks, 1, [&](Index begin, Index end) {
      for (Index block = begin; block < end; ++block)
        sums[static_cast<std::size_t>(block)] =
            sum_of_squares(x + block * kBlock, std::min(kBlock, count - block * kBlock));
    });
  });
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

void check_rates(const char* name, double rate, double weight_decay) {
  check(rate >= 0 && std::isfinite(rate), name, ": rate ", rate, " is not allowed; 0 or more");
  check(weight_decay >= 0 && std::isfinite(weight_decay), name, ": weight decay ", weight_decay,
        " is not allowed; 0 or more");
}

void check_share(const char* name, const char* what, double share) {
  check(share >= 0 && share < 1, name, ": ", what, " ", share,
        " is not allowed; 0 or more and less than 1");
}

std::vector<Tensor> zeros_for(const std::vector<Parameter>& parameters) {
  std::vector<Tensor> result;
  for (const Parameter& parameter : parameters)
    result.push_back(zeros_like(parameter.variable.value()));
  return result;
}

void add_named(std::vector<std::pair<std::string, Tensor>>& state, const std::string& prefix,
               const std::vector<Parameter>& parameters, const std::vector<Tensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    state.emplace_back(prefix + "." + parameters[i].name, tensors[i]);
}

}  // namespace

namespace {

// Of tensors on one device: float64, where they are.
Tensor norm_of(const std::vector<Tensor>& tensors, Device device) {
  Tensor norm({}, DType::float64, device);
  const auto on_cpu = [&] {
    double sum = 0;
    for (const Tensor& tensor : tensors) sum += sum_of_squares(tensor);
    norm.fill(std::sqrt(sum));
  };
  on_device("global_norm", device, on_cpu, [&] { cuda::global_norm(tensors, norm); });
  return norm;
}

}  // namespace

double global_norm(const std::vector<Parameter>& parameters, const Gradients& gradients) {
  std::vector<Tensor> found;
  for (const Parameter& parameter : parameters)
    if (const Tensor* gradient = gradients.find(parameter.variable)) found.push_back(*gradient);
  return found.empty() ? 0 : norm_of(found, found.front().device()).item();
}

double clip_factor(double norm, double limit) { return std::min(1.0, limit / (norm + 1e-6)); }

Optimizer::Optimizer(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {
  std::map<const void*, std::string_view> names;
  for (const auto& [name, variable] : parameters_) {
    const auto [first, fresh] = names.try_emplace(variable.identity(), name);
    check(fresh, "optimizer: '", first->second, "' and '", name,
          "' are one variable, which would be stepped twice; name it once");
  }
  made_on_ = device();
}

Device Optimizer::device() const {
  return parameters_.empty() ? Device{} : parameters_.front().variable.device();
}

Optimizer::Moves Optimizer::moves_of(const Gradients& gradients) const {
  Moves moves;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, variable] = parameters_[i];
    const Tensor* gradient = gradients.find(variable);
    if (!gradient) continue;
    check(gradient->shape() == variable.shape() && gradient->dtype() == variable.dtype() &&
              gradient->device() == variable.device(),
          "optimizer: gradient of '", name, "' is ", gradient->dtype(), gradient->shape(), " on ",
          gradient->device(), ", the parameter is ", variable.dtype(), variable.shape(), " on ",
          variable.device());
    check(variable.dtype() != DType::bfloat16, "optimizer: '", name,
          "' is bfloat16; parameters are float32 or float64, bfloat16 is for activations");
    check(variable.device() == device(), "optimizer: '", name, "' is on ", variable.device(),
          ", the first parameter on ", device(), "; one device is needed");
    moves.emplace_back(i, *gradient);
  }
  return moves;
}

// Always to the same place, where a captured graph reads them.
void Optimizer::write_numbers(const std::vector<double>& numbers) {
  const Tensor written = Tensor::from<double>({static_cast<Index>(numbers.size())}, numbers);
  if (!numbers_.defined() || numbers_.device() != device())
    numbers_ = Tensor(written.shape(), DType::float64, device());
  if (!skipped_.defined()) skipped_ = Tensor::zeros({}, DType::float64, device());
  numbers_.copy_from(written);
}

void Optimizer::begin_step(StepOptions options) {
  check(options.rate_share >= 0 && std::isfinite(options.rate_share), "optimizer: rate share ",
        options.rate_share, " is not allowed; 0 or more");
  check(options.clip >= 0, "optimizer: clip ", options.clip, " is not allowed; 0 (off) or more");
  check(device() == made_on_, "optimizer: it was made when the parameters were on ", made_on_,
        " and its own tensors are there, the parameters are on ", device(),
        " now; make it after move_to");
  ++steps_;
  std::vector<double> all = numbers(options.rate_share);
  all.insert(all.begin(), 1);
  write_numbers(all);
  options_ = options;
}

void Optimizer::skip() { skipped_.fill(skipped_.item() + 1); }

std::int64_t Optimizer::skipped_steps() const {
  return skipped_.defined() ? static_cast<std::int64_t>(skipped_.item()) : 0;
}

// Lays down the factor of the gradients. False: nothing is to move; on CUDA that is for the kernels
// to see, by a factor that is NaN.
bool Optimizer::guard(const Tensor& norm, const Tensor& loss) {
  bool move = true;
  const auto on_cpu = [&] {
    const double length = norm.item(), value = loss.defined() ? loss.item() : 0;
    const bool finite = std::isfinite(length) && std::isfinite(value);
    if (options_.non_finite == NonFinite::refuse)
      check_not_diverged(finite, "optimizer: the ",
                         std::isfinite(length) ? "loss is " : "gradients' norm is ",
                         std::isfinite(length) ? value : length,
                         "; a finite one is needed to move the parameters");
    move = finite || options_.non_finite == NonFinite::ignore;
    if (!move) skip();
    if (options_.clip > 0 && finite)
      numbers_.mutable_data<double>()[0] = clip_factor(length, options_.clip);
  };
  on_device("optimizer", device(), on_cpu,
            [&] { cuda::guard(norm, loss, options_, skipped_, numbers_); });
  return move;
}

Tensor Optimizer::move(const Gradients& gradients, const Tensor& loss) {
  check(!loss.defined() || (loss.elements() == 1 && loss.device() == device()),
        "optimizer: a loss to guard is one number on ", device());
  const Moves moves = moves_of(gradients);
  if (moves.empty()) return Tensor::zeros({}, DType::float64, device());
  std::vector<Tensor> tensors;
  for (const auto& [index, gradient] : moves) tensors.push_back(gradient);
  const Tensor norm = norm_of(tensors, device());
  if (guard(norm, loss)) update(moves, numbers_);
  return norm;
}

Tensor Optimizer::step(const Gradients& gradients, StepOptions options) {
  moves_of(gradients);  // a gradient that does not fit is refused before the step counts
  begin_step(options);
  try {
    return move(gradients);
  } catch (...) {
    --steps_;
    throw;
  }
}

// --- SGD ----------------------------------------------------------------------------------------

namespace {

template <class T>
void sgd_step(const SgdConstants<T>& at, T* p, const T* gradient, Index begin, Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) sgd_rule(at, gradient[i], p[i]);
}

template <class T>
void momentum_step(const SgdConstants<T>& at, T* p, const T* gradient, T* v, Index begin,
                   Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) momentum_rule(at, gradient[i], p[i], v[i]);
}

// The tensors of a move; `first` and `second` may be empty.
std::vector<cuda::Moved> moved_tensors(const std::vector<Parameter>& parameters,
                                       const std::vector<std::pair<std::size_t, Tensor>>& moves,
                                       const std::vector<Tensor>& first,
                                       const std::vector<Tensor>& second) {
  std::vector<cuda::Moved> result;
  for (const auto& [index, gradient] : moves)
    result.push_back({parameters[index].variable.value(), gradient,
                      first.empty() ? Tensor() : first[index],
                      second.empty() ? Tensor() : second[index]});
  return result;
}

}  // namespace

Sgd::Sgd(std::vector<Parameter> parameters, SgdOptions options)
    : Optimizer(std::move(parameters)), options_(options) {
  check_rates("sgd", options.rate, options.weight_decay);
  check_share("sgd", "momentum", options.momentum);
  if (options.momentum > 0) velocity_ = zeros_for(this->parameters());
}

std::vector<std::pair<std::string, Tensor>> Sgd::state() const {
  std::vector<std::pair<std::string, Tensor>> result;
  add_named(result, "velocity", parameters(), velocity_);
  return result;
}

std::vector<double> Sgd::numbers(double rate_share) const {
  return {options_.rate * rate_share, options_.momentum, options_.weight_decay};
}

void Sgd::update(const Moves& moves, const Tensor& numbers) {
  const auto on_cpu = [&] {
    for (const auto& [index, gradient] : moves) {
      Var variable = parameters()[index].variable;
      Tensor& parameter = variable.mutable_value();
      dispatch_floating(parameter.dtype(), "sgd", [&](auto zero) {
        using T = decltype(zero);
        const SgdConstants<T> constants(numbers.data<double>());
        T* p = parameter.mutable_data<T>();
        const T* g = gradient.template data<T>();
        T* v = velocity_.empty() ? nullptr : velocity_[index].mutable_data<T>();
        parallel_for(parameter.elements(), kGrain, [=](Index begin, Index end) {
          if (v)
            momentum_step(constants, p, g, v, begin, end);
          else
            sgd_step(constants, p, g, begin, end);
        });
      });
    }
  };
  on_device("sgd", numbers.device(), on_cpu,
            [&] { cuda::sgd(moved_tensors(parameters(), moves, velocity_, {}), numbers); });
}

// --- Adam ---------------------------------------------------------------------------------------

namespace {

template <class T>
void adam_step(const AdamConstants<T>& at, T* p, const T* gradient, T* m, T* v, Index begin,
               Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) adam_rule(at, gradient[i], p[i], m[i], v[i]);
}

}  // namespace

Adam::Adam(std::vector<Parameter> parameters, AdamOptions options)
    : Optimizer(std::move(parameters)), options_(options) {
  check_rates("adam", options.rate, options.weight_decay);
  check_share("adam", "beta1", options.beta1);
  check_share("adam", "beta2", options.beta2);
  check(options.epsilon >= 0 && std::isfinite(options.epsilon), "adam: epsilon ", options.epsilon,
        " is not allowed; 0 or more");
  first_moment_ = zeros_for(this->parameters());
  second_moment_ = zeros_for(this->parameters());
}

std::vector<std::pair<std::string, Tensor>> Adam::state() const {
  std::vector<std::pair<std::string, Tensor>> result;
  add_named(result, "first_moment", parameters(), first_moment_);
  add_named(result, "second_moment", parameters(), second_moment_);
  return result;
}

std::vector<double> Adam::numbers(double rate_share) const {
  const double rate = options_.rate * rate_share, step_count = static_cast<double>(steps());
  return {rate,
          options_.epsilon,
          options_.decoupled ? 0 : options_.weight_decay,
          options_.decoupled ? 1 - rate * options_.weight_decay : 1,
          1 - options_.beta1,
          1 - options_.beta2,
          1 / (1 - std::pow(options_.beta1, step_count)),
          1 / std::sqrt(1 - std::pow(options_.beta2, step_count))};
}

void Adam::update(const Moves& moves, const Tensor& numbers) {
  const auto on_cpu = [&] {
    for (const auto& [index, gradient] : moves) {
      Var variable = parameters()[index].variable;
      Tensor& parameter = variable.mutable_value();
      dispatch_floating(parameter.dtype(), "adam", [&](auto zero) {
        using T = decltype(zero);
        const AdamConstants<T> constants(numbers.data<double>());
        T *p = parameter.mutable_data<T>(), *m = first_moment_[index].mutable_data<T>(),
          *v = second_moment_[index].mutable_data<T>();
        const T* g = gradient.template data<T>();
        parallel_for(parameter.elements(), kGrain,
                     [=](Index begin, Index end) { adam_step(constants, p, g, m, v, begin, end); });
      });
    }
  };
  on_device("adam", numbers.device(), on_cpu, [&] {
    cuda::adam(moved_tensors(parameters(), moves, first_moment_, second_moment_), numbers);
  });
}

}  // namespace vla
