#include "framework/optim/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "framework/ops/inputs.hpp"
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

double global_norm(const std::vector<Parameter>& parameters, const Gradients& gradients) {
  double sum = 0;
  for (const Parameter& parameter : parameters)
    if (const Tensor* gradient = gradients.find(parameter.variable))
      sum += sum_of_squares(*gradient);
  return std::sqrt(sum);
}

double clip_factor(double norm, double limit) { return std::min(1.0, limit / (norm + 1e-6)); }

Optimizer::Optimizer(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {
  std::map<const void*, std::string_view> names;
  for (const auto& [name, variable] : parameters_) {
    const auto [first, fresh] = names.try_emplace(variable.identity(), name);
    check(fresh, "optimizer: '", first->second, "' and '", name,
          "' are one variable, which would be stepped twice; name it once");
  }
}

double Optimizer::step(const Gradients& gradients, StepOptions options) {
  check(options.rate_share >= 0 && std::isfinite(options.rate_share), "optimizer: rate share ",
        options.rate_share, " is not allowed; 0 or more");
  check(options.clip >= 0, "optimizer: clip ", options.clip, " is not allowed; 0 (off) or more");
  for (const auto& [name, variable] : parameters_)
    if (const Tensor* gradient = gradients.find(variable))
      check(gradient->shape() == variable.shape() && gradient->dtype() == variable.dtype(),
            "optimizer: gradient of '", name, "' is ", gradient->dtype(), gradient->shape(),
            ", the parameter is ", variable.dtype(), variable.shape());
  double norm = 0, factor = 1;
  if (options.clip > 0) {
    norm = global_norm(parameters_, gradients);
    check(std::isfinite(norm), "optimizer: the gradients' norm is ", norm,
          "; a finite one is needed to clip to ", options.clip);
    factor = clip_factor(norm, options.clip);
  }
  ++steps_;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (const Tensor* gradient = gradients.find(parameters_[i].variable))
      update(i, *gradient, factor, options.rate_share);
  return norm;
}

// --- SGD ----------------------------------------------------------------------------------------

namespace {

template <class T>
struct SgdConstants {
  T rate, momentum, decay, factor;
};

// p <- p - rate g
template <class T>
void sgd_step(SgdConstants<T> at, T* p, const T* gradient, Index begin, Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) p[i] -= at.rate * (at.factor * gradient[i] + at.decay * p[i]);
}

// v <- momentum v + g; p <- p - rate v
template <class T>
void momentum_step(SgdConstants<T> at, T* p, const T* gradient, T* v, Index begin, Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) {
    v[i] = at.momentum * v[i] + (at.factor * gradient[i] + at.decay * p[i]);
    p[i] -= at.rate * v[i];
  }
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

void Sgd::update(std::size_t index, const Tensor& gradient, double gradient_factor,
                 double rate_share) {
  Var variable = parameters()[index].variable;
  Tensor& parameter = variable.mutable_value();
  check_cpu("sgd", parameter);
  dispatch_floating(parameter.dtype(), "sgd", [&](auto zero) {
    using T = decltype(zero);
    const SgdConstants<T> constants{T(options_.rate * rate_share), T(options_.momentum),
                                    T(options_.weight_decay), T(gradient_factor)};
    T* p = parameter.mutable_data<T>();
    const T* g = gradient.data<T>();
    T* v = velocity_.empty() ? nullptr : velocity_[index].mutable_data<T>();
    parallel_for(parameter.elements(), kGrain, [=](Index begin, Index end) {
      if (v)
        momentum_step(constants, p, g, v, begin, end);
      else
        sgd_step(constants, p, g, begin, end);
    });
  });
}

// --- Adam ---------------------------------------------------------------------------------------

namespace {

template <class T>
struct AdamConstants {
  T rate, epsilon;
  T factor;          // of the gradient, from clipping
  T decay;           // share of the parameter added to the gradient
  T kept;            // share of the parameter that decoupled decay leaves
  T fresh1, fresh2;  // 1 - beta, taken in float64: in float32 it would be off by 5e-5
  T scale1;          // 1 / (1 - beta1^step), the bias correction of the first moment
  T root_scale2;     // 1 / sqrt(1 - beta2^step)
};

template <class T>
void adam_step(AdamConstants<T> at, T* p, const T* gradient, T* m, T* v, Index begin, Index end) {
#pragma omp simd
  for (Index i = begin; i < end; ++i) {
    const T g = at.factor * gradient[i] + at.decay * p[i];
    m[i] += at.fresh1 * (g - m[i]);
    v[i] += at.fresh2 * (g * g - v[i]);
    const T step = at.scale1 * m[i] / (at.root_scale2 * std::sqrt(v[i]) + at.epsilon);
    p[i] = at.kept * p[i] - at.rate * step;
  }
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

void Adam::update(std::size_t index, const Tensor& gradient, double gradient_factor,
                  double rate_share) {
  Var variable = parameters()[index].variable;
  Tensor& parameter = variable.mutable_value();
  check_cpu("adam", parameter);
  const double rate = options_.rate * rate_share, step_count = static_cast<double>(steps());
  dispatch_floating(parameter.dtype(), "adam", [&](auto zero) {
    using T = decltype(zero);
    const AdamConstants<T> constants{
        .rate = T(rate),
        .epsilon = T(options_.epsilon),
        .factor = T(gradient_factor),
        .decay = T(options_.decoupled ? 0 : options_.weight_decay),
        .kept = T(options_.decoupled ? 1 - rate * options_.weight_decay : 1),
        .fresh1 = T(1 - options_.beta1),
        .fresh2 = T(1 - options_.beta2),
        .scale1 = T(1 / (1 - std::pow(options_.beta1, step_count))),
        .root_scale2 = T(1 / std::sqrt(1 - std::pow(options_.beta2, step_count)))};
    T *p = parameter.mutable_data<T>(), *m = first_moment_[index].mutable_data<T>(),
      *v = second_moment_[index].mutable_data<T>();
    const T* g = gradient.data<T>();
    parallel_for(parameter.elements(), kGrain,
                 [=](Index begin, Index end) { adam_step(constants, p, g, m, v, begin, end); });
  });
}

}  // namespace vla
