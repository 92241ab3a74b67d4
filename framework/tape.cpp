#include "framework/tape.hpp"

#include <algorithm>
#include <atomic>

#include "framework/diverged.hpp"
#include "framework/op_observer.hpp"

namespace vla {
namespace {

thread_local Tape* innermost = nullptr;
std::atomic<std::uint64_t> next_serial{1};

// What a rule returns. An Error from inside it tells whose rule that was.
std::vector<Tensor> apply(const BackwardFunction& rule, const BackwardContext& context,
                          const std::string& op, CallSite site) {
  const auto told = [&](const Error& error) {
    return concatenate(located(op, site), ": in its backward rule: ", error.what());
  };
  try {
    return rule(context);
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Diverged& error) {
    throw Diverged(told(error));
  } catch (const Error& error) {
    throw Error(told(error));
  }
}

}  // namespace

Var record(std::string name, Tensor value, const std::vector<Var>& inputs,
           std::vector<Tensor> saved, BackwardFunction backward, CallSite site) {
  return record(std::move(name), std::vector<Tensor>{std::move(value)}, inputs, std::move(saved),
                std::move(backward), site)[0];
}

std::vector<Var> record(std::string name, std::vector<Tensor> values,
                        const std::vector<Var>& inputs, std::vector<Tensor> saved,
                        BackwardFunction backward, CallSite site) {
  site = CalledFrom::complete(site);
  if (!backward) fail(located(name, site), ": record was given no backward rule");
  std::vector<Var> outputs(values.begin(), values.end());
  OpObserver::tell(&OpObserver::after_op, OpRun{name, site, inputs, outputs});
  if (innermost)
    innermost->append(std::move(name), outputs, inputs, std::move(saved), std::move(backward),
                      site);
  return outputs;
}

bool will_be_recorded(const std::vector<Var>& inputs) {
  return innermost != nullptr && std::ranges::any_of(inputs, &Var::requires_gradient);
}

Tape::Tape() : serial_(next_serial++), outer_(innermost) {
  innermost = this;
  OpObserver::tell(&OpObserver::at_tape, TapeEvent::made);
}

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
    slots_.push_back({{}, variable.shape(), variable.dtype(), variable.device(), variable, -1, {}});
  return found->second;
}

void Tape::append(std::string name, std::vector<Var>& outputs, const std::vector<Var>& inputs,
                  std::vector<Tensor> saved, BackwardFunction backward, CallSite site) {
  Node node;
  bool tracked = false;
  for (const Var& input : inputs) {
    node.inputs.push_back(input.requires_gradient() ? slot_of(input) : -1);
    if (node.inputs.back() >= 0) {
      tracked = true;
      Slot& slot = slots_[static_cast<std::size_t>(node.inputs.back())];
      if (input.state_->tape != serial_ && slot.first_user < 0)
        slot.first_user = static_cast<int>(nodes_.size());
    }
  }
  if (!tracked) return;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (const Var& input = inputs[i]; node.inputs[i] < 0 && input.defined())
      constants_.push_back({nodes_.size(),
                            i,
                            {ValueView::Kind::constant, input.name(), input.shape(), input.dtype(),
                             input.device()}});

  node.first_output = static_cast<int>(slots_.size());
  node.outputs = static_cast<int>(outputs.size());
  for (Var& output : outputs) {
    output.state_->requires_gradient = true;
    output.state_->tape = serial_;
    output.state_->slot = static_cast<int>(slots_.size());
    slots_.push_back({{}, output.shape(), output.dtype(), output.device(), {}, -1, {}});
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
  check(!walked_, "watch: this tape was walked; watch before backward");
  slots_[static_cast<std::size_t>(variable.state_->slot)].kept = variable;
}

void Tape::on_final_gradient(std::function<void(const Var&, const Tensor&)> callback) {
  final_gradient_ = std::move(callback);
}

HookHandle Tape::add_hook(const Var& variable, GradientHook hook) {
  check(!walked_, "on_gradient: this tape was walked; add hooks before backward");
  check(variable.requires_gradient(), "on_gradient: the variable requires no gradient");
  HookHandle handle;
  auto& hooks = slots_[static_cast<std::size_t>(slot_of(variable))].hooks;
  handle.hook_ = hooks.emplace_back(std::make_shared<GradientHook>(std::move(hook)));
  return handle;
}

Gradients Tape::backward(const Var& loss) {
  check(loss.value().elements() == 1, "backward: the loss has shape ", loss.shape(),
        "; one element is needed (or give the upstream gradient)");
  return backward(loss, Tensor::full(loss.shape(), 1, loss.dtype(), loss.device()));
}

Gradients Tape::backward(const Var& output, const Tensor& upstream) {
  check(!walked_, "backward: this tape was walked before; record a new one");
  check(output.requires_gradient() && knows(output),
        "backward: the loss depends on no parameter of this tape; was it computed while the tape "
        "was alive, and from a Var::parameter?");
  check(upstream.defined(), "backward: the upstream gradient is not defined");
  check(upstream.shape() == output.shape() && upstream.dtype() == output.dtype(),
        "backward: upstream gradient is ", upstream.dtype(), upstream.shape(), ", the output is ",
        output.dtype(), output.shape());
  walked_ = true;
  stop_recording();  // what the user does after backward belongs to the tape outside, if any
  const PauseRecording in_rules;
  OpObserver::tell(&OpObserver::at_tape, TapeEvent::walk_begins);
  Slot& last = slots_[static_cast<std::size_t>(slot_of(output))];
  last.gradient = upstream;
  if (output.state_->tape != serial_ && last.first_user < 0) finish_leaf(last);

  for (int index = static_cast<int>(nodes_.size()) - 1; index >= 0; --index) run_backward(index);

  Gradients result;
  for (Slot& slot : slots_)
    if (slot.kept.defined() && slot.gradient.defined()) result.add(slot.kept, slot.gradient);
  slots_.clear();
  OpObserver::tell(&OpObserver::at_tape, TapeEvent::walk_ends);
  return result;
}

void Tape::run_backward(int index) {
  Node node = std::move(nodes_[static_cast<std::size_t>(index)]);
  BackwardContext context;
  bool reached = false;
  for (int i = 0; i < node.outputs; ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(node.first_output + i)];
    reached |= slot.gradient.defined();
    if (slot.gradient.defined() && !slot.hooks.empty())
      run_hooks(slot, concatenate("output ", i, " of ", located(node.name, node.site)));
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
      if (node.saved[i].version() != node.versions[i])
        fail(located(node.name, node.site), ": saved tensor ", i,
             " was changed in place before backward");
    context.saved_ = node.saved;
    for (int slot : node.inputs) context.wants_.push_back(slot >= 0);

    const std::vector<Tensor> gradients = run_rule(node, context);
    for (std::size_t i = 0; i < gradients.size(); ++i)
      if (node.inputs[i] >= 0) receive(node, i, gradients[i]);
  }
  for (int place_of_input : node.inputs) {
    if (place_of_input < 0) continue;
    Slot& slot = slots_[static_cast<std::size_t>(place_of_input)];
    if (slot.first_user == index && slot.gradient.defined()) finish_leaf(slot);
  }
}

std::vector<Tensor> Tape::run_rule(const Node& node, const BackwardContext& context) {
  std::vector<Var> held;
  if (OpObserver::any())
    for (int slot : node.inputs)
      held.push_back(slot < 0 ? Var() : slots_[static_cast<std::size_t>(slot)].kept);
  RuleRun run{node.name, node.site, context.gradients_, node.saved, held, {}};
  OpObserver::tell(&OpObserver::before_rule, run);
  std::vector<Tensor> gradients;
  try {
    gradients = apply(node.backward, context, node.name, node.site);
    check_count(node, gradients.size());
  } catch (...) {
    OpObserver::tell(&OpObserver::after_rule, run);
    throw;
  }
  run.gradients = gradients;
  OpObserver::tell(&OpObserver::after_rule, run);
  return gradients;
}

void Tape::check_count(const Node& node, std::size_t gradients) const {
  if (gradients == node.inputs.size()) return;
  std::string inputs;
  for (int place : node.inputs) {
    const Slot* slot = place < 0 ? nullptr : &slots_[static_cast<std::size_t>(place)];
    inputs += inputs.empty() ? "" : ", ";
    inputs += slot ? concatenate(slot->dtype, slot->shape) : "a constant";
  }
  fail(located(node.name, node.site), ": backward returned ", gradients,
       " gradients; needed is one for each of its inputs, ", inputs);
}

void Tape::finish_leaf(Slot& slot) {
  slot.first_user = -1;  // once, though the node may read it twice
  if (const std::string& name = slot.kept.name(); !slot.hooks.empty())
    run_hooks(slot, name.empty() ? "a leaf without a name" : "'" + name + "'");
  OpObserver::tell(&OpObserver::at_leaf, LeafGradient{slot.kept, slot.gradient});
  if (final_gradient_) final_gradient_(slot.kept, slot.gradient);
}

void Tape::run_hooks(Slot& slot, const std::string& whose) {
  for (const auto& hook : slot.hooks) {
    const GradientHook called = *hook;  // a copy: it may remove itself
    Tensor replacement = called ? called(slot.gradient) : Tensor();
    if (!replacement.defined()) continue;
    check(replacement.shape() == slot.shape && replacement.dtype() == slot.dtype &&
              replacement.device() == slot.device,
          "on_gradient: the replacement for the gradient of ", whose, " is ", replacement.dtype(),
          replacement.shape(), " on ", replacement.device(), ", the variable is ", slot.dtype,
          slot.shape, " on ", slot.device);
    slot.gradient = std::move(replacement);
  }
}

void Tape::receive(const Node& node, std::size_t input, const Tensor& gradient) {
  Slot& slot = slots_[static_cast<std::size_t>(node.inputs[input])];
  if (!gradient.defined())
    fail(located(node.name, node.site), ": backward returned no gradient for input ", input,
         ", which is ", slot.dtype, slot.shape, " and wants one");
  if (gradient.shape() != slot.shape || gradient.dtype() != slot.dtype ||
      gradient.device() != slot.device)
    fail(located(node.name, node.site), ": gradient of input ", input, " is ", gradient.dtype(),
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
