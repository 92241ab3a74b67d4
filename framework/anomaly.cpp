#include "framework/anomaly.hpp"

#include <sstream>

#include "framework/statistics.hpp"

namespace vla {
namespace {

std::string described(const Tensor& x) {
  if (!x.defined()) return "none";
  std::ostringstream out;
  out << x.dtype() << x.shape();
  if (is_floating(x.dtype())) out << " " << statistics(x);
  return out.str();
}

// "3 NaN and 1 Inf"
std::string counted(const Statistics& found) {
  std::string text;
  if (found.nan > 0) text = concatenate(found.nan, " NaN");
  if (found.infinite > 0) text += concatenate(text.empty() ? "" : " and ", found.infinite, " Inf");
  return text;
}

bool is_anomaly(const Tensor& x, bool may_be_infinite) {
  if (!x.defined() || all_finite(x)) return false;
  return !may_be_infinite || statistics(x).nan > 0;
}

// "parameter 'w'", "constant", "result": what a variable is to a reader.
std::string kind_of(const Var& variable) {
  const std::string name = variable.name().empty() ? "" : " '" + variable.name() + "'";
  return (variable.is_result()           ? "result"
          : variable.requires_gradient() ? "parameter"
                                         : "constant") +
         name;
}

std::string inputs_of(const OpRun& op) {
  std::string text;
  for (std::size_t i = 0; i < op.inputs.size(); ++i) {
    const Var& input = op.inputs[i];
    if (!input.defined()) continue;
    text += concatenate(text.empty() ? "" : "; ", "input ", i, ", ", kind_of(input), ", ",
                        described(input.value()));
    if (!all_finite(input.value())) text += ": it was not finite before";
  }
  return text.empty() ? "it has no inputs" : text;
}

std::string inputs_of(const RuleRun& rule) {
  std::string text;
  for (std::size_t i = 0; i < rule.upstream.size(); ++i)
    text +=
        concatenate(i > 0 ? "; " : "", "upstream gradient ", i, ", ", described(rule.upstream[i]));
  for (std::size_t i = 0; i < rule.saved.size(); ++i) {
    const Tensor& saved = rule.saved[i];
    if (!saved.defined()) continue;
    text += concatenate("; saved tensor ", i);
    for (const Var& input : rule.inputs)
      if (input.defined() && input.value().shares_storage(saved)) {
        text += ", " + kind_of(input);
        break;
      }
    text += ", " + described(saved);
    if (!all_finite(saved)) text += ": it was not finite before";
  }
  return text;
}

}  // namespace

DetectAnomalies::DetectAnomalies() : DetectAnomalies(Options{}) {}
DetectAnomalies::DetectAnomalies(Options options) : options_(std::move(options)) {}

void DetectAnomalies::after_op(const OpRun& op) {
  for (std::size_t i = 0; i < op.outputs.size(); ++i) {
    const Tensor& value = op.outputs[i].value();
    if (!is_anomaly(value, options_.may_be_infinite.contains(op.name))) continue;
    fail(located(op.name, op.site), ": result ", i, ", ", value.dtype(), value.shape(), ", has ",
         counted(statistics(value)), "; ", inputs_of(op));
  }
}

// In the two below no rule has made it, or it would have been found after that rule.
void DetectAnomalies::at_leaf(const LeafGradient& final) {
  if (is_anomaly(final.gradient, false))
    fail("backward: the gradient of ", kind_of(final.leaf), ", ", described(final.gradient),
         ", is not finite, which comes of adding gradients up, of a hook, or of the caller");
}

void DetectAnomalies::before_rule(const RuleRun& rule) {
  for (const Tensor& gradient : rule.upstream)
    if (is_anomaly(gradient, false))
      fail("backward of ", located(rule.name, rule.site),
           ": the gradient that reaches it is not finite, which comes of adding gradients up, of a "
           "hook, or of the caller; ",
           inputs_of(rule));
}

void DetectAnomalies::after_rule(const RuleRun& rule) {
  for (std::size_t i = 0; i < rule.gradients.size(); ++i) {
    const Tensor& gradient = rule.gradients[i];
    if (!is_anomaly(gradient, false)) continue;
    fail("backward of ", located(rule.name, rule.site), ": gradient of input ", i, ", ",
         gradient.dtype(), gradient.shape(), ", has ", counted(statistics(gradient)), "; ",
         inputs_of(rule));
  }
}

}  // namespace vla
