#include "framework/tape.hpp"

#include <algorithm>
#include <atomic>

namespace vla {
namespace {

thread_local Tape* innermost = nullptr;
std::atomic<std::uint64_t> next_serial{1};

std::string located(const std::string& op, CallSite site) {
  return site.line ? concatenate(op, " (called at ", site.file, ":", site.line, ")") : op;
}

// What a rule returns. An Error from inside it tells whose rule that was.
std::vector<Tensor> apply(const BackwardFunction& rule, const BackwardContext& context,
                          const std::string& op, CallSite site) {
  try {
    return rule(context);
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Error& error) {
    fail(located(op, site), ": in its backward rule: ", error.what());
  }
}

}  // namespace

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
        " of shape ", variable.shape(), ": it took no part in the loss");
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

Var record(std::string name, Tensor value, const std::vector<Var>& inputs,
           std::vector<Tensor> saved, BackwardFunction backward, CallSite site) {
  return record(std::move(name), std::vector<Tensor>{std::move(value)}, inputs, std::move(saved),
                std::move(backward), site)[0];
}

std::vector<Var> record(std::string name, std::vector<Tensor> values,
                        const std::vector<Var>& inputs, std::vector<Tensor> saved,
                        BackwardFunction backward, CallSite site) {
  check(backward != nullptr, located(name, site), ": record was given no backward rule");
  std::vector<Var> outputs(values.begin(), values.end());
  if (innermost)
    innermost->append(std::move(name), outputs, inputs, std::move(saved), std::move(backward),
                      site);
  return outputs;
}

bool will_be_recorded(const std::vector<Var>& inputs) {
  return innermost != nullptr && std::ranges::any_of(inputs, &Var::requires_gradient);
}

Tape::Tape() : serial_(next_serial++), outer_(innermost) { innermost = this; }

Tape::~Tape() { stop_recording(); }

void Tape::stop_recording() {
  if (innermost != this) return;
  do innermost = innermost->outer_;
  while (innermost && innermost->walked_);
}

Tape* Tape::current() { return innermost; }

bool Tape::knows(const Var& variable) const {
  const bool is_leaf = variable.state_->tape == 0;
  return is_leaf || variable.state_->tape == serial_ || leaves_.contains(variable.identity());
}

int Tape::slot_of(const Var& variable) {
  if (variable.state_->tape == serial_) return variable.state_->slot;
  auto [found, fresh] = leaves_.try_emplace(variable.identity(), static_cast<int>(slots_.size()));
  if (fresh)
    slots_.push_back({{},
                      variable.shape(),
                      variable.dtype(),
                      variable.device(),
                      variable,
                      static_cast<int>(nodes_.size())});
  return found->second;
}

void Tape::append(std::string name, std::vector<Var>& outputs, const std::vector<Var>& inputs,
                  std::vector<Tensor> saved, BackwardFunction backward, CallSite site) {
  Node node;
  bool tracked = false;
  for (const Var& input : inputs) {
    node.inputs.push_back(input.requires_gradient() ? slot_of(input) : -1);
    tracked |= node.inputs.back() >= 0;
  }
  if (!tracked) return;

  node.first_output = static_cast<int>(slots_.size());
  node.outputs = static_cast<int>(outputs.size());
  for (Var& output : outputs) {
    output.state_->requires_gradient = true;
    output.state_->tape = serial_;
    output.state_->slot = static_cast<int>(slots_.size());
    slots_.push_back({{}, output.shape(), output.dtype(), output.device(), {}, -1});
  }
  for (const Tensor& tensor : saved) node.versions.push_back(tensor.version());
  node.name = std::move(name);
  node.site = site;
  node.saved = std::move(saved);
  node.backward = std::move(backward);
  nodes_.push_back(std::move(node));
}

void Tape::watch(const Var& variable) {
  check(variable.requires_gradient() && variable.state_->tape == serial_,
        "watch: the variable was not recorded by this tape");
  slots_[static_cast<std::size_t>(variable.state_->slot)].kept = variable;
}

void Tape::on_final_gradient(std::function<void(const Var&, const Tensor&)> callback) {
  final_gradient_ = std::move(callback);
}

std::size_t Tape::saved_bytes() const {
  std::size_t sum = 0;
  for (const Node& node : nodes_)
    for (const Tensor& tensor : node.saved) sum += tensor.defined() ? tensor.bytes() : 0;
  return sum;
}

Gradients Tape::backward(const Var& loss) {
  check(loss.value().elements() == 1, "backward: the loss has shape ", loss.shape(),
        "; one element is needed (or give the upstream gradient)");
  return backward(loss, Tensor::full(loss.shape(), 1, loss.dtype(), loss.device()));
}

Gradients Tape::backward(const Var& output, const Tensor& upstream) {
  check(!walked_, "backward: this tape was walked before; record a new one");
  check(output.requires_gradient() && knows(output),
        "backward: the loss depends on no parameter of this tape");
  check(upstream.defined(), "backward: the upstream gradient is not defined");
  check(upstream.shape() == output.shape() && upstream.dtype() == output.dtype(),
        "backward: upstream gradient is ", upstream.dtype(), upstream.shape(), ", the output is ",
        output.dtype(), output.shape());
  walked_ = true;
  stop_recording();  // what the user does after backward belongs to the tape outside, if any
  const PauseRecording in_rules;
  slots_[static_cast<std::size_t>(slot_of(output))].gradient = upstream;

  for (int index = static_cast<int>(nodes_.size()) - 1; index >= 0; --index) run_backward(index);

  Gradients result;
  for (Slot& slot : slots_)
    if (slot.kept.defined() && slot.gradient.defined()) result.add(slot.kept, slot.gradient);
  slots_.clear();
  return result;
}

void Tape::run_backward(int index) {
  Node node = std::move(nodes_[static_cast<std::size_t>(index)]);
  BackwardContext context;
  bool reached = false;
  for (int i = 0; i < node.outputs; ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(node.first_output + i)];
    reached |= slot.gradient.defined();
    context.gradients_.push_back(slot.gradient);
    if (!slot.kept.defined()) slot.gradient = {};  // used up, unless somebody watches it
  }
  if (reached) {
    for (int i = 0; i < node.outputs; ++i) {
      Tensor& gradient = context.gradients_[static_cast<std::size_t>(i)];
      const Slot& slot = slots_[static_cast<std::size_t>(node.first_output + i)];
      if (!gradient.defined()) gradient = Tensor::zeros(slot.shape, slot.dtype, slot.device);
    }
    for (std::size_t i = 0; i < node.saved.size(); ++i)
      check(node.saved[i].version() == node.versions[i], located(node.name, node.site),
            ": saved tensor ", i, " was changed in place before backward");
    context.saved_ = node.saved;
    for (int slot : node.inputs) context.wants_.push_back(slot >= 0);

    const std::vector<Tensor> gradients = apply(node.backward, context, node.name, node.site);
    if (gradients.size() != node.inputs.size()) {
      std::string inputs;
      for (int place : node.inputs) {
        const Slot* slot = place < 0 ? nullptr : &slots_[static_cast<std::size_t>(place)];
        inputs += inputs.empty() ? "" : ", ";
        inputs += slot ? concatenate(slot->dtype, slot->shape) : "a constant";
      }
      fail(located(node.name, node.site), ": backward returned ", gradients.size(),
           " gradients; needed is one for each of its inputs, ", inputs);
    }
    for (std::size_t i = 0; i < gradients.size(); ++i)
      if (node.inputs[i] >= 0) receive(node, i, gradients[i]);
  }
  if (!final_gradient_) return;
  for (int place_of_input : node.inputs) {
    if (place_of_input < 0) continue;
    Slot& slot = slots_[static_cast<std::size_t>(place_of_input)];
    if (slot.first_user != index || !slot.gradient.defined()) continue;
    slot.first_user = -1;  // once, though the node may read it twice
    final_gradient_(slot.kept, slot.gradient);
  }
}

void Tape::receive(const Node& node, std::size_t input, const Tensor& gradient) {
  Slot& slot = slots_[static_cast<std::size_t>(node.inputs[input])];
  check(gradient.defined(), located(node.name, node.site),
        ": backward returned no gradient for input ", input, ", which is ", slot.dtype, slot.shape,
        " and wants one");
  check(gradient.shape() == slot.shape && gradient.dtype() == slot.dtype &&
            gradient.device() == slot.device,
        located(node.name, node.site), ": gradient of input ", input, " is ", gradient.dtype(),
        gradient.shape(), " on ", gradient.device(), ", the input is ", slot.dtype, slot.shape,
        " on ", slot.device);
  if (!slot.gradient.defined()) {
    slot.gradient = gradient;
    return;
  }
  // Tensors are handles: a rule may have returned the same one for two inputs.
  if (!slot.gradient.unique()) slot.gradient = slot.gradient.clone();
  slot.gradient.accumulate(gradient);
}

PauseRecording::PauseRecording() : paused_(innermost) { innermost = nullptr; }
PauseRecording::~PauseRecording() { innermost = paused_; }

}  // namespace vla
