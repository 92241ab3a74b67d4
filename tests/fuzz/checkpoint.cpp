#include "framework/checkpoint.hpp"

#include "framework/file.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

// A model of two parameters.
struct Run {
  std::vector<Parameter> parameters = {{"w", Var::parameter(Tensor::full({2}, 1, DType::float32))},
                                       {"b", Var::parameter(Tensor::full({}, 2, DType::float64))}};
  AdamW optimizer{parameters};
  TrainingState state = {.step = 3,
                         .data_position = std::int64_t{1} << 62,
                         .random = {{"data", {.seed = ~std::uint64_t{0}, .stream = 1}}},
                         .notes = {{"config", "{\"task\": \"copy\"}"}}};

  void set(double value) {
    for (const Parameter& parameter : parameters)
      Var(parameter.variable).mutable_value().fill(value);
    for (auto& [name, tensor] : optimizer.state()) tensor.fill(value);
    optimizer.set_steps(static_cast<std::int64_t>(value));
  }
  // Every byte of what a checkpoint is read into.
  std::string bytes() {
    std::string all = std::to_string(optimizer.steps());
    const auto append = [&](const Tensor& tensor) {
      const auto more = readable_bytes(tensor);
      all.append(reinterpret_cast<const char*>(more.data()), more.size());
    };
    for (const Parameter& parameter : parameters) append(parameter.variable.value());
    for (const auto& [name, tensor] : optimizer.state()) append(tensor);
    return all;
  }
};

bool same(const TrainingState& a, const TrainingState& b) {
  return a.step == b.step && a.data_position == b.data_position && a.random == b.random &&
         a.notes == b.notes;
}

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "x.safetensors");
  static Run run;
  file.hold(bytes);
  run.set(7);
  const std::string before = run.bytes();
  const auto text = loaded([] { return read_training_state(file.path()); });
  const auto state =
      loaded([] { return load_checkpoint(file.path(), run.parameters, &run.optimizer); });
  if (!state) {
    require(run.bytes() == before, "a refused checkpoint has left something behind");
    return false;
  }
  require(text && same(*text, *state), "the text alone and the whole file differ");
  require(state->step >= 0 && state->data_position >= 0 && run.optimizer.steps() >= 0,
          "a count is negative");
  for (const Parameter& parameter : run.parameters) use(parameter.variable.value());
  for (const auto& [name, tensor] : run.optimizer.state()) use(tensor);
  return true;
}

std::vector<std::string> seeds() {
  const TemporaryDirectory folder;
  const Run run;
  save_checkpoint(folder / "x", run.parameters, &run.optimizer, run.state);
  std::vector<std::string> result = {read_text(folder / "x")};
  // Of version 1: without checksums a changed byte comes as far as what is read.
  TensorFile file = read_safetensors(folder / "x");
  file.metadata["checkpoint.version"] = "1";
  file.metadata.erase("checksum.tensors");
  file.metadata.erase("checksum.text");
  write_safetensors(folder / "x", file);
  result.push_back(read_text(folder / "x"));
  return result;
}

const AddTarget added({"checkpoint", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
