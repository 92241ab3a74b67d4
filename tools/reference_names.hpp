// The names of parameters in the public PyTorch reference of VLA, and ours.
//
// Whole models are those of its notebook 07, class TinyLM: token table `tok`, learned positions
// `pos`, `blocks.N` of `ln1`, `attn`, `ln2`, `ff.0`, `ff.2`, then `ln_f`, and `head`, which is
// `tok` again. Single layers are also those of its src/models/attention, as the cases in
// tests/golden have them. Its other models (LRAModel) have no counterpart here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/nn/module.hpp"
#include "framework/safetensors.hpp"
#include "tools/settings.hpp"

namespace vla {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Our models that the reference has, with commas between.
std::string reference_models();

/// Our parameters that one of the reference's holds: one, or query, key and value where those are
/// stacked, one above the other.
std::vector<std::string> our_names(const std::string& reference);

/// A language model's parameters as a state_dict of the reference's. Throws Error, with what it
/// has, for a model or a setting that the reference does not have.
NamedTensors to_reference(const TrainOptions& options, const std::vector<Parameter>& parameters);

/// The settings of the model in a file with the reference's names, as far as names and shapes tell:
/// all but the heads. The others are those of `options`. Throws Error for other names.
TrainOptions settings_of_reference(const TensorFile& file, TrainOptions options);

/// The tensors of such a file under our names. Throws Error with all names that are missing or
/// unexpected for the model that `options` ask for, and if `head` is not `tok`.
TensorFile from_reference(const TrainOptions& options, const TensorFile& file);

}  // namespace vla
