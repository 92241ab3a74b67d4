#include "tools/verify.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "framework/framework.hpp"
#include "framework/safetensors.hpp"
#include "models/models.hpp"

namespace vla {
namespace {

// Norm of the difference over norm of the reference.
double relative_error(const Tensor& actual, const Tensor& expected) {
  check(actual.shape() == expected.shape(), "shape ", actual.shape(), " where the case has ",
        expected.shape());
  const Tensor a = actual.to(DType::float64), e = expected.to(DType::float64);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.values<double>().size(); ++i) {
    const double x = a.values<double>()[i], y = e.values<double>()[i];
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

// A case file, read in the element type of the run, and the verdict on its arrays.
class Case {
 public:
  Case(const std::string& path, DType dtype, double tolerance, std::ostream& out)
      : file_(read_safetensors(path)),
        name_(file_.text("case")),
        dtype_(dtype),
        tolerance_(tolerance),
        out_(out) {}

  const std::string& name() const { return name_; }
  bool is(std::string_view kind) const { return name_.starts_with(kind); }
  DType dtype() const { return dtype_; }
  bool passed() const { return passed_; }
  void fail_as_unknown() {
    out_ << name_ << " unknown kind of case\n";
    passed_ = false;
  }

  bool has(const std::string& array) const { return file_.find(array) != nullptr; }
  const TensorFile& file() const { return file_; }
  Tensor array(const std::string& name) const {
    const Tensor& tensor = file_.at(name);
    return is_floating(tensor.dtype()) ? tensor.to(dtype_) : tensor;
  }
  double number(const std::string& key) const {
    const std::string& text = file_.text(key);
    std::size_t end = 0;
    double value = 0;
    try {
      value = std::stod(text, &end);
    } catch (const std::exception&) {
      end = 0;
    }
    check(end > 0 && end == text.size(), file_.source, ": metadata '", key, "' is '", text,
          "'; a number is needed");
    return value;
  }
  double number_or(const std::string& key, double otherwise) const {
    return file_.metadata.contains(key) ? number(key) : otherwise;
  }
  Index integer(const std::string& key) const { return static_cast<Index>(number(key)); }
  Index integer_or(const std::string& key, Index otherwise) const {
    return file_.metadata.contains(key) ? integer(key) : otherwise;
  }
  std::vector<double> numbers(const std::string& key) const {
    try {
      return nlohmann::json::parse(file_.text(key)).get<std::vector<double>>();
    } catch (const nlohmann::json::exception&) {
      fail(file_.source, ": metadata '", key, "' is not a list of numbers");
    }
  }

  void compare(const std::string& array, const Tensor& actual) {
    report(array, relative_error(actual, file_.at(array)));
  }
  void report(const std::string& array, double error) {
    const bool within = error <= tolerance_;  // not so for NaN
    out_ << name_ << ' ' << array << ' ' << error << (within ? "" : "  FAILED") << '\n';
    passed_ = passed_ && within;
  }

 private:
  TensorFile file_;
  std::string name_;
  DType dtype_;
  double tolerance_;
  std::ostream& out_;
  bool passed_ = true;
};

// The reference's name of a parameter as ours, segment by segment.
std::string our_name(const std::string& reference) {
  static const std::vector<std::pair<std::string, std::string>> kSegments{
      {"attn", "mixer"},
      {"ln1", "norm1"},
      {"ln2", "norm2"},
      {"ln_f", "norm"},
      {"ff.0", "mlp.up"},
      {"ff.2", "mlp.down"},
      {"tok", "tokens"},
      {"pos", "positions"},
      {"W_q", "query"},
      {"W_k", "key"},
      {"W_v", "value"},
      {"W_o", "output"},
      {"Wq", "query"},
      {"Wk", "key"},
      {"Wv", "value"},
      {"Wo", "output"},
      {"o", "output"},
      {"Wg", "gate"},
      {"W_beta", "beta"},
      {"W_gamma", "penalty.forget"},
      {"lambda0", "penalty.lambda0"},
      {"out_norm", "norm"},
      {"conv_q", "query.convolution"},
      {"conv_k", "key.convolution"},
      {"conv_v", "value.convolution"},
  };
  std::string name = "." + reference + ".";
  for (const auto& [from, to] : kSegments) {
    const std::size_t at = name.find("." + from + ".");
    if (at != std::string::npos) name.replace(at + 1, from.size(), to);
  }
  return name.substr(1, name.size() - 2);
}

// Our parameters that one of the reference's holds: itself, or q, k and v where those are stacked.
std::vector<std::string> our_names(const std::string& reference) {
  const std::string stacked = "qkv.";
  const std::size_t at = reference.find(stacked);
  if (at == std::string::npos) return {our_name(reference)};
  std::vector<std::string> names;
  for (const char* part : {"query.", "key.", "value."})
    names.push_back(our_name(std::string(reference).replace(at, stacked.size(), part)));
  return names;
}

using ParameterMap = std::map<std::string, Var>;

template <class Module>
ParameterMap parameter_map(Module& module) {
  ParameterMap result;
  for (const Parameter& parameter : parameters(module)) result[parameter.name] = parameter.variable;
  return result;
}

Var& find(ParameterMap& parameters, const std::string& name, const std::string& reference) {
  auto found = parameters.find(name);
  check(found != parameters.end(), "no parameter '", name, "' for the case's '", reference, "'");
  return found->second;
}

// Writes the arrays PREFIX + name into the parameters; every parameter must be given.
void load(const Case& c, const std::string& prefix, ParameterMap& parameters) {
  std::size_t loaded = 0;
  for (const auto& [array, tensor] : c.file().tensors) {
    if (!array.starts_with(prefix)) continue;
    const std::string reference = array.substr(prefix.size());
    const std::vector<std::string> names = our_names(reference);
    Index row = 0;
    for (const std::string& name : names) {
      Tensor& target = find(parameters, name, reference).mutable_value();
      const Index rows = target.size(0);
      target.copy_from(slice(Var(c.array(array)), 0, row, row + rows).value());
      row += rows;
      ++loaded;
    }
    check(row == tensor.size(0), "array '", array, "' has ", tensor.size(0), " rows, not ", row);
  }
  check(loaded == parameters.size(), c.name(), ": the case has ", loaded,
        " of the model's parameters; it has ", parameters.size());
}

// Compares the arrays PREFIX + name with what `value` gives for our parameters.
template <class Value>
void compare_all(Case& c, const std::string& prefix, ParameterMap& parameters, Value value) {
  for (const auto& [array, tensor] : c.file().tensors) {
    if (!array.starts_with(prefix)) continue;
    const std::string reference = array.substr(prefix.size());
    std::vector<Var> parts;
    for (const std::string& name : our_names(reference))
      parts.emplace_back(value(find(parameters, name, reference)));
    c.compare(array, concat(parts, 0).value());
  }
}

// A mixer on x with an upstream gradient: output and all gradients. `run` returns the output.
template <class Module, class Run>
void verify_layer(Case& c, Module& module, Run run) {
  ParameterMap parameters = parameter_map(module);
  load(c, "param.", parameters);
  const Var x = Var::parameter(c.array("x"), "x");
  Tape tape;
  const Var output = run(x);
  c.compare("out", output.value());
  const Gradients gradients = tape.backward(output, c.array("dout"));
  c.compare("dx", gradients[x]);
  compare_all(c, "grad.", parameters, [&](const Var& p) { return gradients[p]; });
}

AttentionOptions attention_of(const Case& c) {
  return {.width = c.integer("d_model"),
          .heads = c.integer_or("heads", 1),
          .convolution = c.integer_or("convolution", 0),
          .dtype = c.dtype()};
}

void verify_vla_exact(Case& c) {
  VlaOptions options{.attention = attention_of(c),
                     .forget = c.integer_or("forget", 0) != 0,
                     .restore_period = c.integer_or("restore_period", 0),
                     .unit_floor = c.number_or("unit_floor", 1e-6),
                     .lambda_floor = c.number_or("lambda_floor", 0.01),
                     .norm_epsilon = c.number_or("norm_eps", 1e-5)};
  const std::string& map = c.file().text("feature_map");
  check(map == "elu+1" || map == "identity", c.name(), ": feature map '", map,
        "'; elu+1 or identity is needed");
  if (map == "identity") options.feature_map = FeatureMap::identity;
  Rng rng(0);
  Vla layer(options, rng);
  verify_layer(c, layer, [&](const Var& x) {
    const Vla::Result result = layer.run(x);
    if (c.has("M_final")) c.compare("M_final", result.penalty);
    if (c.has("S_final")) c.compare("S_final", result.memory);
    return result.output;
  });
}

template <class Layer, class Options>
void verify_mixer(Case& c, const Options& options) {
  Rng rng(0);
  Layer layer(options, rng);
  verify_layer(c, layer, [&](const Var& x) { return layer(x); });
}

constexpr double kReferenceFloor = 1e-12;  // of unit() in the reference's baselines

LinearTransformerOptions linear_of(const Case& c) {
  LinearTransformerOptions options{.attention = attention_of(c)};
  if (c.file().metadata.contains("denominator_eps")) {
    options.guard = DenominatorGuard::add;
    options.guard_value = c.number("denominator_eps");
  } else {
    options.guard_value = c.number_or("denominator_floor", 1e-6);
  }
  return options;
}

void verify_inverse_penalty(Case& c) {
  const Tensor u = c.array("u");
  check(u.rank() == 2, c.name(), ": u has shape ", u.shape(), "; (T, d) is needed");
  const Index time = u.size(0), d = u.size(1);
  const auto leaf = [&](const std::string& array, const Shape& shape) {
    return Var::parameter(c.array(array).reshape(shape), array);
  };
  const Var k = leaf("k", {1, time, 1, d});
  Penalty penalty{
      .directions = leaf("u", {1, time, 1, d}),
      .lambda0 = Var::parameter(Tensor::full({1}, c.number("lambda_0"), c.dtype()), "lambda_0")};
  if (c.has("forget")) penalty.forget = leaf("forget", {1, time, 1});
  Tape tape;
  const Var alpha = inverse_penalty(k, penalty).output;
  c.compare("alpha", alpha.value().reshape(Shape{time, d}));
  const Gradients gradients = tape.backward(alpha, c.array("dalpha").reshape(Shape{1, time, 1, d}));
  c.compare("dk", gradients[k].reshape(Shape{time, d}));
  c.compare("du", gradients[penalty.directions].reshape(Shape{time, d}));
  c.compare("dlambda_0", gradients[penalty.lambda0]);
  if (c.has("forget")) c.compare("dforget", gradients[penalty.forget].reshape(Shape{time}));

  // A applied to the unit vectors at every token: the last result is A at the end.
  Tensor unit_vectors = Tensor::zeros({1, time, 1, d, d}, c.dtype());
  dispatch_floating(c.dtype(), "verify", [&](auto zero) {
    auto* values = unit_vectors.mutable_data<decltype(zero)>();
    for (Index i = 0; i < time * d; ++i) values[i / d * d * d + i % d * (d + 1)] = 1;
  });
  const Var columns = inverse_penalty(Var(unit_vectors), penalty).output;
  c.compare("A_final", slice(columns, 1, time - 1, time).value().reshape(Shape{d, d}));
}

MixerFactory reference_mixer(const Case& c, const AttentionOptions& attention) {
  if (c.is("train3_linear"))
    return [=](Rng& rng) {
      return std::make_unique<LinearTransformer>(
          LinearTransformerOptions{.attention = attention, .guard_value = 1e-6}, rng);
    };
  if (c.is("train3_deltanet"))
    return [=](Rng& rng) {
      return std::make_unique<GatedDeltaNet>(
          GatedDeltaNetOptions{.attention = attention, .unit_floor = kReferenceFloor}, rng);
    };
  if (c.is("train3_softmax"))
    return [=](Rng& rng) { return std::make_unique<SoftmaxTransformer>(attention, rng); };
  return nullptr;
}

// Batch `step` of an array of all steps.
Tensor of_step(const Case& c, const std::string& array, Index step) {
  const Tensor& all = c.file().at(array);
  check(all.rank() == 3 && all.dtype() == DType::int64 && step < all.size(0), c.name(), ": ", array,
        " is ", all.dtype(), all.shape(), "; int64 (steps, B, T) is needed");
  const Index count = all.size(1) * all.size(2);
  return Tensor::from<std::int64_t>(
      {all.size(1), all.size(2)},
      all.values<std::int64_t>().subspan(static_cast<std::size_t>(step * count),
                                         static_cast<std::size_t>(count)));
}

// The loss does not depend on softmax's key bias, so its gradient is rounding noise, which Adam
// blows up to steps of full size: in float32 it is left as the reference has it.
void exempt_softmax_key_bias(const Case& c, ParameterMap& parameters) {
  if (!c.is("train3_softmax") || c.dtype() == DType::float64) return;
  for (auto& [name, variable] : parameters) {
    const std::string ending = "mixer.key.bias";
    if (!name.ends_with(ending)) continue;
    const Tensor stacked =
        c.array("final." + name.substr(0, name.size() - ending.size()) + "attn.qkv.bias");
    const Index rows = variable.size(0);
    variable.mutable_value().copy_from(slice(Var(stacked), 0, rows, 2 * rows).value());
  }
}

void verify_training(Case& c) {
  const AttentionOptions attention{.width = c.integer("config.d_model"),
                                   .heads = c.integer("config.n_heads"),
                                   .convolution = 0,
                                   .dtype = c.dtype()};
  const MixerFactory factory = reference_mixer(c, attention);
  if (!factory) return c.fail_as_unknown();
  Rng rng(0);
  LanguageModel model({.body = {.vocabulary = c.integer("config.vocab_size"),
                                .width = attention.width,
                                .layers = c.integer("config.n_layers"),
                                .hidden = c.integer("config.d_ff"),
                                .positions = c.integer("config.max_seq_len"),
                                .dtype = c.dtype()}},
                      factory, rng);
  ParameterMap parameters_by_name = parameter_map(model);
  load(c, "init.", parameters_by_name);
  const std::vector<double> betas = c.numbers("optimizer.betas");
  check(betas.size() == 2, c.name(), ": optimizer.betas has ", betas.size(), " numbers, not 2");
  AdamW adam(parameters(model), {.rate = c.number("optimizer.lr"),
                                 .beta1 = betas[0],
                                 .beta2 = betas[1],
                                 .epsilon = c.number("optimizer.eps"),
                                 .weight_decay = c.number("optimizer.weight_decay")});
  const std::vector<double> losses = c.numbers("losses"), norms = c.numbers("grad_norms");
  check(losses.size() == norms.size(), c.name(), ": losses and grad_norms differ in number");
  std::vector<double> our_losses, our_norms;
  for (std::size_t step = 0; step < losses.size(); ++step) {
    Tape tape;
    const Var logits = model(of_step(c, "tokens", static_cast<Index>(step)));
    const Var loss = cross_entropy(logits, of_step(c, "targets", static_cast<Index>(step)),
                                   {.ignore_index = c.integer_or("ignore_index", -100)});
    const Gradients gradients = tape.backward(loss);
    if (step == 0) {
      c.compare("logits0", logits.value());
      compare_all(c, "grad0.", parameters_by_name, [&](const Var& p) { return gradients[p]; });
    }
    our_losses.push_back(loss.value().item());
    our_norms.push_back(adam.step(gradients, {.clip = c.number("optimizer.grad_clip")}));
  }
  const auto compare_numbers = [&](const std::string& name, const std::vector<double>& ours,
                                   const std::vector<double>& theirs) {
    const Shape shape{static_cast<Index>(ours.size())};
    c.report(name, relative_error(Tensor::from<double>(shape, ours),
                                  Tensor::from<double>(shape, theirs)));
  };
  compare_numbers("losses", our_losses, losses);
  compare_numbers("grad_norms", our_norms, norms);
  exempt_softmax_key_bias(c, parameters_by_name);
  compare_all(c, "final.", parameters_by_name, [](const Var& p) { return p.value(); });
}

void verify_case(Case& c) {
  if (c.is("inverse_penalty")) return verify_inverse_penalty(c);
  if (c.is("train3_")) return verify_training(c);
  if (c.is("vla_exact")) return verify_vla_exact(c);
  if (c.is("deltanet_gated"))
    return verify_mixer<GatedDeltaNet>(
        c, GatedDeltaNetOptions{.attention = attention_of(c), .unit_floor = kReferenceFloor});
  if (c.is("deltanet"))
    return verify_mixer<DeltaNet>(c, DeltaNetOptions{.attention = attention_of(c),
                                                     .unit_query = false,
                                                     .rate_from_key = true,
                                                     .output_norm = false,
                                                     .unit_floor = kReferenceFloor});
  if (c.is("linear_")) return verify_mixer<LinearTransformer>(c, linear_of(c));
  if (c.is("softmax_")) return verify_mixer<SoftmaxTransformer>(c, attention_of(c));
  c.fail_as_unknown();
}

}  // namespace

int run_verify(const std::vector<std::string>& files, DType dtype, double tolerance,
               std::ostream& out) {
  check(is_floating(dtype), "verify: element type ", dtype, " is not allowed; float64 or float32");
  if (tolerance <= 0) tolerance = dtype == DType::float64 ? 1e-9 : 1e-4;
  bool passed = true;
  for (const std::string& file : files) {
    Case c(file, dtype, tolerance, out);
    verify_case(c);
    passed = passed && c.passed();
  }
  return passed ? 0 : 1;
}

}  // namespace vla
