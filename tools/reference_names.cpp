#include "tools/reference_names.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "framework/ops/shaping.hpp"
#include "framework/tensor_bytes.hpp"

namespace vla {
namespace {

// The reference's name of a parameter as ours, segment by segment.
std::string our_name(const std::string& reference) {
  // Applied in this order, each at most once.
  static const std::vector<std::pair<std::string, std::string>> kSegments{
      {"penalty_builder.u_proj", "penalty.directions.0"},
      {"penalty_builder.lambda_net.0", "penalty.lambda.hidden"},
      {"penalty_builder.lambda_net.2", "penalty.lambda.out"},
      {"u_proj", "directions"},
      {"Wu", "directions"},
      {"norm_o", "norm"},
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

constexpr const char* kTokens = "tok.weight";
constexpr const char* kHead = "head.weight";

// Our model, and the parameters of its mixer in the notebook, the most telling one first.
struct ReferenceMixer {
  const char* model;
  std::vector<const char*> parts;
};
const std::vector<ReferenceMixer>& mixers() {
  static const std::vector<ReferenceMixer> all{
      {"vla-v3", {"Wu.weight", "Wq", "Wk", "Wv", "Wo", "norm_o"}},
      {"softmax", {"qkv", "o"}},
      {"linear", {"Wq", "Wk", "Wv", "Wo"}}};
  return all;
}

// "x" stands for x.weight and x.bias.
std::vector<std::string> full_names(const std::string& part) {
  if (part.ends_with(".weight")) return {part};
  return {part + ".weight", part + ".bias"};
}

// The reference has one value each of these settings, most of which leave no trace in names.
void check_settings_of_reference(const TrainOptions& options) {
  const auto need = [](const char* setting, const auto& value, const auto& needed) {
    check(value == needed, "--names reference: --", setting, " ", setting_text(value),
          " is not in the reference; ", setting_text(needed), " is");
  };
  const VlaV3Options theirs;
  const MixerConfig& mixer = options.mixer;
  const AttentionOptions attention = mixer.attention.resolved();
  need("convolution", attention.convolution, Index{0});
  need("key-width", attention.key_width, attention.width / attention.heads);
  need("value-width", attention.value_width, attention.width / attention.heads);
  need("rank", mixer.rank, theirs.rank);
  if (mixer.lambda0 > 0) need("lambda0", mixer.lambda0, theirs.lambda0);
  if (mixer.nudge_period >= 0) need("nudge-period", mixer.nudge_period, theirs.nudge_period);
  if (mixer.nudge >= 0) need("nudge-eps", mixer.nudge, theirs.nudge);
  need("positions", options.positions, true);
  need("tied-head", options.tied_head, true);
}

// All but the head.
std::vector<std::string> names_of_model(const TrainOptions& options) {
  const auto found = std::ranges::find(mixers(), options.model, &ReferenceMixer::model);
  check(found != mixers().end(), "--names reference: the reference's notebook has no model ",
        options.model, "; it has ", reference_models());
  check_settings_of_reference(options);
  std::vector<std::string> names{kTokens, "pos.weight"};
  const auto add = [&](const std::string& part) {
    for (const std::string& name : full_names(part)) names.push_back(name);
  };
  for (Index i = 0; i < options.layers; ++i) {
    const std::string block = concatenate("blocks.", i, ".");
    for (const char* part : {"ln1", "ln2", "ff.0", "ff.2"}) add(block + part);
    for (const char* part : found->parts) add(block + "attn." + part);
  }
  add("ln_f");
  return names;
}

// PyTorch's safetensors writes tied tensors once, under the first name in the alphabet.
const char* table_name(const TensorFile& file) {
  return file.find(kTokens) == nullptr && file.find(kHead) != nullptr ? kHead : kTokens;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::ranges::equal(readable_bytes(a), readable_bytes(b));
}

}  // namespace

std::string reference_models() {
  std::string names;
  for (const ReferenceMixer& mixer : mixers())
    names += (names.empty() ? "" : ", ") + std::string(mixer.model);
  return names;
}

std::vector<std::string> our_names(const std::string& reference) {
  const std::string stacked = "qkv.";
  const std::size_t at = reference.find(stacked);
  if (at == std::string::npos) return {our_name(reference)};
  std::vector<std::string> names;
  for (const char* part : {"query.", "key.", "value."})
    names.push_back(our_name(std::string(reference).replace(at, stacked.size(), part)));
  return names;
}

NamedTensors to_reference(const TrainOptions& options, const std::vector<Parameter>& parameters) {
  std::map<std::string, Var> ours;
  for (const Parameter& parameter : parameters) ours[parameter.name] = parameter.variable;
  NamedTensors tensors;
  std::size_t used = 0;
  for (const std::string& reference : names_of_model(options)) {
    std::vector<Var> parts;
    for (const std::string& name : our_names(reference)) {
      const auto found = ours.find(name);
      check(found != ours.end(), "--names reference: the model has no parameter ", name, " for ",
            reference);
      parts.push_back(found->second);
    }
    used += parts.size();
    tensors.emplace_back(reference, concat(parts, 0).value());
  }
  check(used == ours.size(), "--names reference: the model has ", ours.size(),
        " parameters, of which the reference names ", used);
  tensors.emplace_back(kHead, tensors.front().second);
  return tensors;
}

TrainOptions settings_of_reference(const TensorFile& file, TrainOptions options) {
  const auto size = [&](const std::string& name, int axis) {
    const Tensor& tensor = file.at(name);
    check(tensor.rank() == 2, file.source, ": ", name, " is ", tensor.shape(),
          "; a matrix is needed");
    return tensor.size(axis);
  };
  options.mixer.attention.width = size(table_name(file), 1);
  options.mixer.attention.dtype = file.at(table_name(file)).dtype();
  options.mixer.attention.convolution = 0;
  options.hidden = size("blocks.0.ff.0.weight", 0);
  options.layers = 0;
  while (file.find(concatenate("blocks.", options.layers, ".ln1.weight")) != nullptr)
    ++options.layers;
  check(file.find("blocks.0.attn.Wg.weight") == nullptr, file.source,
        ": blocks.0.attn has a gate Wg: the notebook's DeltaNet, which is no model of vla; ",
        reference_models(), " are");
  const auto is_there = [&](const ReferenceMixer& mixer) {
    return file.find("blocks.0.attn." + full_names(mixer.parts.front()).front()) != nullptr;
  };
  const auto found = std::ranges::find_if(mixers(), is_there);
  check(found != mixers().end(), file.source, ": blocks.0.attn is none of the reference's ",
        reference_models());
  options.model = found->model;
  return options;
}

TensorFile from_reference(const TrainOptions& options, const TensorFile& file) {
  TensorFile ours{.metadata = file.metadata, .source = file.source};
  std::set<std::string> known{kHead};
  std::string missing, unexpected;
  for (const std::string& reference : names_of_model(options)) {
    known.insert(reference);
    const Tensor* tensor = file.find(reference == kTokens ? table_name(file) : reference);
    if (tensor == nullptr) {
      missing += (missing.empty() ? "; missing: " : ", ") + reference;
      continue;
    }
    const std::vector<std::string> names = our_names(reference);
    const auto parts = static_cast<Index>(names.size());
    check(parts == 1 || (tensor->rank() > 0 && tensor->size(0) % parts == 0), file.source, ": ",
          reference, " is ", tensor->shape(), "; rows for query, key and value are needed");
    Index row = 0;
    for (const std::string& name : names) {
      const Index rows = parts == 1 ? 0 : tensor->size(0) / parts;
      ours.tensors.emplace_back(
          name, parts == 1 ? *tensor : slice(Var(*tensor), 0, row, row + rows).value());
      row += rows;
    }
  }
  for (const auto& [name, tensor] : file.tensors)
    if (!known.contains(name)) unexpected += (unexpected.empty() ? "; unexpected: " : ", ") + name;
  check(missing.empty() && unexpected.empty(), file.source, " is not the reference's ",
        options.model, " of ", options.layers, " layers", missing, unexpected);
  const Tensor* head = file.find(kHead);
  check(head == nullptr || same(*head, file.at(table_name(file))), file.source, ": ", kHead,
        " is not ", kTokens, ", as it is in the reference");
  return ours;
}

}  // namespace vla
