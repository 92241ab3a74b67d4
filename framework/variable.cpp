#include "framework/variable.hpp"

namespace vla {

namespace {

thread_local CallSite users_call;

}  // namespace

CalledFrom::CalledFrom(CallSite site) : outermost_(users_call.line == 0) {
  if (outermost_) users_call = site;
}

CalledFrom::~CalledFrom() {
  if (outermost_) users_call = {};
}

CallSite CalledFrom::complete(CallSite site) {
  if (users_call.line != 0 && site.outer_line == 0) {
    site.outer_file = users_call.file;
    site.outer_line = users_call.line;
  }
  return site;
}

std::string located(const std::string& op, CallSite site) {
  if (site.line == 0) return op;
  std::string where = concatenate("called at ", site.file, ":", site.line);
  if (site.outer_line != 0)
    where += concatenate(", for the call at ", site.outer_file, ":", site.outer_line);
  return concatenate(op, " (", where, ")");
}

Var::Var(Tensor value) : state_(std::make_shared<State>()) { state_->value = std::move(value); }

Var Var::parameter(Tensor value, std::string name) {
  check(value.defined() && is_floating(value.dtype()), "parameter '", name,
        "': a floating tensor is needed");
  Var result(std::move(value));
  result.state_->name = std::move(name);
  result.state_->requires_gradient = true;
  return result;
}

const Tensor& Var::value() const {
  check(defined(), "use of a variable that is not defined");
  return state_->value;
}

Tensor& Var::mutable_value() {
  check(defined(), "use of a variable that is not defined");
  return state_->value;
}

bool Var::requires_gradient() const { return state_ && state_->requires_gradient; }

const std::string& Var::name() const {
  check(defined(), "use of a variable that is not defined");
  return state_->name;
}

void Var::set_name(std::string name) {
  check(defined(), "use of a variable that is not defined");
  state_->name = std::move(name);
}

Var detach(const Var& x) { return Var(x.value()); }

Tensor value_or_none(const Var& x) { return x.defined() ? x.value() : Tensor(); }

const Tensor* Gradients::find(const Var& variable) const {
  auto found = places_.find(variable.identity());
  return found == places_.end() ? nullptr : &entries_[found->second].second;
}

const Tensor& Gradients::operator[](const Var& variable) const {
  const Tensor* gradient = find(variable);
  check(gradient != nullptr, "no gradient for ",
        variable.name().empty() ? "a variable without a name" : "'" + variable.name() + "'",
        " of shape ", variable.shape(), ": it took no part in the loss",
        variable.is_result() ? ", or is an intermediate result that was not watched: call "
                               "tape.watch with it before backward"
                             : "");
  return *gradient;
}

void Gradients::add(const Var& variable, const Tensor& gradient) {
  auto [found, fresh] = places_.try_emplace(variable.identity(), entries_.size());
  if (fresh) {
    entries_.emplace_back(variable, gradient);
    return;
  }
  // Tensors are handles: a sum in place could change a gradient that somebody else holds.
  Tensor& sum = entries_[found->second].second;
  if (!sum.unique()) sum = sum.clone();
  sum.accumulate(gradient);
}

Gradients& Gradients::operator+=(const Gradients& other) {
  for (const auto& [variable, gradient] : other) add(variable, gradient);
  return *this;
}

}  // namespace vla
