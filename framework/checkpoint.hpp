// A training run in one file, so that it can go on to the bit; and the parameters of a model alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "framework/nn/module.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/random.hpp"
#include "framework/safetensors.hpp"

namespace vla {

/// What a run must remember beside its tensors. A Schedule is a function of the step, so what it
/// was made from goes into the notes.
struct TrainingState {
  std::int64_t step = 0;           ///< steps taken
  std::int64_t data_position = 0;  ///< where the next batch begins, in units of the task
  std::map<std::string, RandomState> random = {};  ///< random streams by name
  std::map<std::string, std::string> notes = {};   ///< any text, e.g. the configuration as JSON
};

/// Writes a safetensors file: parameters as "model.NAME", the optimiser's tensors as
/// "optimizer.NAME" (nullptr: none), everything else as text in the metadata, with checksums of the
/// tensors and of that text. A file that is there is replaced only when the new one is complete on
/// disk, and not by tensors that hold NaN or infinity: Diverged, naming one. Throws Error if
/// writing fails, if a count is negative, or if two parameters have one name. What earlier writers
/// of the same file left behind when they were ended is removed.
void save_checkpoint(const std::filesystem::path& path, const std::vector<Parameter>& parameters,
                     const Optimizer* optimizer, const TrainingState& state);

/// Reads such a file into the parameters and the optimiser (nullptr: its part is passed over).
/// Throws Error if the file is not a checkpoint or a checksum does not hold, or with all names that
/// are missing, unexpected or of another shape or type; parameters and optimiser are then
/// unchanged.
TrainingState load_checkpoint(const std::filesystem::path& path,
                              const std::vector<Parameter>& parameters, Optimizer* optimizer);

/// Reads a checkpoint's tensors and text, as load_checkpoint does, into nothing.
TensorFile read_checkpoint(const std::filesystem::path& path);

/// The state without the tensors: enough to build the model that the rest is then loaded into.
/// Throws Error if the checksum of the text does not hold.
TrainingState read_training_state(const std::filesystem::path& path);

/// Parameters under their own names, without a run around them and without checksums, for other
/// programs. A file that is there is replaced as save_checkpoint does, and Errors are the same.
void save_parameters(const std::filesystem::path& path, const std::vector<Parameter>& parameters,
                     const std::map<std::string, std::string>& metadata = {});
/// Reads them back. Throws Error as load_checkpoint does.
void load_parameters(const std::filesystem::path& path, const std::vector<Parameter>& parameters);
/// The same from tensors that have been read.
void load_parameters(const TensorFile& file, const std::vector<Parameter>& parameters);

}  // namespace vla
