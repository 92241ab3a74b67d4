#include "framework/checkpoint.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "framework/checksum.hpp"
#include "framework/diverged.hpp"
#include "framework/file.hpp"
#include "framework/safetensors_header.hpp"
#include "framework/tensor_bytes.hpp"

namespace vla {
namespace {

// Prefixes of tensor names.
constexpr std::string_view kModel = "model.";
constexpr std::string_view kOptimizer = "optimizer.";

// Keys of the metadata, and prefixes of keys.
constexpr std::string_view kVersionKey = "checkpoint.version";
constexpr std::string_view kVersion = "2";
constexpr std::string_view kVersionWithoutChecksums = "1";
constexpr std::string_view kTensorsChecksumKey = "checksum.tensors";
constexpr std::string_view kTextChecksumKey = "checksum.text";
constexpr std::string_view kStepKey = "step";
constexpr std::string_view kDataPositionKey = "data.position";
constexpr std::string_view kOptimizerStepsKey = "optimizer.steps";
constexpr std::string_view kRandom = "random.";
constexpr std::string_view kNote = "note.";

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

// Tensors under prefix + name: handles, through which a loader writes.
void append(NamedTensors& list, std::string_view prefix, const std::vector<Parameter>& parameters) {
  for (const Parameter& parameter : parameters)
    list.emplace_back(concatenate(prefix, parameter.name), parameter.variable.value());
}

void append(NamedTensors& list, const Optimizer* optimizer) {
  if (!optimizer) return;
  for (auto& [name, tensor] : optimizer->state())
    list.emplace_back(concatenate(kOptimizer, name), tensor);
}

Metadata to_metadata(const TrainingState& state, const Optimizer* optimizer) {
  Metadata metadata;
  auto put_count = [&](std::string_view key, std::int64_t value) {
    check(value >= 0, "checkpoint: ", key, " is ", value, "; 0 or more is allowed");
    metadata.emplace(key, std::to_string(value));
  };
  metadata.emplace(kVersionKey, kVersion);
  put_count(kStepKey, state.step);
  put_count(kDataPositionKey, state.data_position);
  if (optimizer) put_count(kOptimizerStepsKey, optimizer->steps());
  for (const auto& [name, random] : state.random)
    metadata.emplace(concatenate(kRandom, name), std::to_string(random.seed) + " " +
                                                     std::to_string(random.stream) + " " +
                                                     std::to_string(random.position));
  for (const auto& [name, text] : state.notes) metadata.emplace(concatenate(kNote, name), text);
  return metadata;
}

std::uint64_t add_text(std::uint64_t sum, std::string_view text) {
  constexpr std::byte kEnd{0};  // or "a", "bc" would have the sum of "ab", "c"
  return checksum({&kEnd, 1}, checksum(std::as_bytes(std::span(text)), sum));
}

// Of names, types, shapes and values, whatever the order.
std::string checksum_of(const NamedTensors& tensors) {
  std::map<std::string_view, const Tensor*> sorted;
  for (const auto& [name, tensor] : tensors) sorted.emplace(name, &tensor);
  std::uint64_t sum = 0;
  for (const auto& [name, tensor] : sorted) {
    sum = add_text(add_text(sum, name), concatenate(tensor->dtype(), tensor->shape()));
    sum = checksum(readable_bytes(*tensor), sum);
  }
  return std::to_string(sum);
}

// Of all but itself.
std::string checksum_of(const Metadata& metadata) {
  std::uint64_t sum = 0;
  for (const auto& [key, text] : metadata)
    if (key != kTextChecksumKey) sum = add_text(add_text(sum, key), text);
  return std::to_string(sum);
}

// Reads the text of a checkpoint's metadata; every error names the file.
class StateReader {
 public:
  StateReader(const Metadata& metadata, std::string source)
      : metadata_(metadata), source_(std::move(source)) {
    auto version = metadata.find(std::string(kVersionKey));
    check(version != metadata.end(), source_, " is not a checkpoint: its metadata has no '",
          kVersionKey, "'");
    if (version->second != kVersion && version->second != kVersionWithoutChecksums)
      fail(source_, ": checkpoint version ", quote_name(version->second),
           " is not known; allowed: ", kVersionWithoutChecksums, " and ", kVersion);
    has_checksums_ = version->second == kVersion;
    check_sum(kTextChecksumKey, "text", [&] { return checksum_of(metadata_); });
  }

  void check_tensors(const NamedTensors& tensors) const {
    check_sum(kTensorsChecksumKey, "tensors", [&] { return checksum_of(tensors); });
  }

  TrainingState state() const {
    TrainingState state;
    state.step = count(kStepKey);
    state.data_position = count(kDataPositionKey);
    for (const auto& [key, text] : metadata_) {
      if (key.starts_with(kRandom)) state.random[key.substr(kRandom.size())] = random(key, text);
      if (key.starts_with(kNote)) state.notes[key.substr(kNote.size())] = text;
    }
    return state;
  }

  std::int64_t count(std::string_view key) const {
    auto found = metadata_.find(std::string(key));
    check(found != metadata_.end(), source_, ": the checkpoint's metadata has no '", key, "'");
    std::string_view text = found->second;
    const std::int64_t value = take_number<std::int64_t>(key, text);
    if (!text.empty() || value < 0) fail_number(key, found->second, "an integer of 0 or more");
    return value;
  }

 private:
  template <class Sum>
  void check_sum(std::string_view key, std::string_view what, Sum sum) const {
    if (!has_checksums_) return;
    const auto written = metadata_.find(std::string(key));
    check(written != metadata_.end(), source_, ": the checkpoint's metadata has no '", key, "'");
    const std::string found = sum();
    if (written->second != found)
      fail(source_, " is damaged: the checksum of its ", what, " is ", found, ", and was ",
           quote_name(written->second), " when it was written");
  }

  RandomState random(const std::string& key, const std::string& whole) const {
    std::string_view text = whole;
    RandomState state;
    std::uint64_t* const fields[] = {&state.seed, &state.stream, &state.position};
    for (std::uint64_t* field : fields) {
      if (field != fields[0]) {
        if (!text.starts_with(' ')) fail_number(key, whole, kThreeNumbers);
        text.remove_prefix(1);
      }
      *field = take_number<std::uint64_t>(key, text);
    }
    if (!text.empty()) fail_number(key, whole, kThreeNumbers);
    return state;
  }

  // Takes a number off the front of `text`.
  template <class T>
  T take_number(std::string_view key, std::string_view& text) const {
    T value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) fail_number(key, text, "a decimal number of 64 bits");
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    return value;
  }

  [[noreturn]] void fail_number(std::string_view key, std::string_view text,
                                std::string_view allowed) const {
    fail(source_, ": ", quote_name(key), " in the metadata is ", quote_name(text), "; it must be ",
         allowed);
  }

  static constexpr std::string_view kThreeNumbers = "seed, stream and position, one space between";
  const Metadata& metadata_;
  std::string source_;
  bool has_checksums_ = false;
};

// What would take the place of a checkpoint that is good.
void check_finite(const NamedTensors& tensors, const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return;
  for (const auto& [name, tensor] : tensors) {
    dispatch_any(tensor.dtype(), [&](auto zero) {
      const auto values = tensor.values<decltype(zero)>();
      const auto bad = std::ranges::find_if(
          values, [](auto x) { return !std::isfinite(static_cast<double>(x)); });
      if (bad != values.end())
        throw Diverged(concatenate(path.string(), " is kept as it is: ", quote_name(name),
                                   " now holds ", static_cast<double>(*bad)));
    });
  }
}

// Fills every tensor of `targets` from the file's tensor of the same name, after everything has
// been compared: it either throws with all differences, or changes all of them. Names that start
// with `ignored` may be in the file and not among the targets.
void fill(const NamedTensors& targets, const TensorFile& file,
          std::optional<std::string_view> ignored) {
  std::map<std::string_view, const Tensor*> found;
  for (const auto& [name, tensor] : file.tensors) found.emplace(name, &tensor);
  std::string missing, different, unexpected;
  auto list = [](std::string& names, const auto&... parts) {
    names += concatenate(names.empty() ? "" : ", ", parts...);
  };
  NamedTensors sources;
  std::set<std::string_view> wanted;
  for (const auto& [name, target] : targets) {
    wanted.insert(name);
    auto place = found.find(name);
    if (place == found.end()) {
      list(missing, quote_name(name));
    } else if (const Tensor& source = *place->second;
               source.shape() != target.shape() || source.dtype() != target.dtype()) {
      list(different, quote_name(name), " is ", source.dtype(), source.shape(), " and must be ",
           target.dtype(), target.shape());
    } else {
      sources.emplace_back(name, source);
    }
  }
  for (const auto& [name, tensor] : file.tensors)
    if (!wanted.contains(name) && !(ignored && name.starts_with(*ignored)))
      list(unexpected, quote_name(name));

  std::string differences;
  if (!missing.empty()) differences += "; missing: " + missing;
  if (!unexpected.empty()) differences += "; unexpected: " + unexpected;
  if (!different.empty()) differences += "; different: " + different;
  check(differences.empty(), file.source, " does not fit what it is loaded into", differences);

  // Moving to another device may fail; copying afterwards cannot.
  for (std::size_t i = 0; i < sources.size(); ++i)
    sources[i].second = sources[i].second.to(targets[i].second.device());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    Tensor target = targets[i].second;
    target.copy_from(sources[i].second);
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const std::vector<Parameter>& parameters,
                     const Optimizer* optimizer, const TrainingState& state) {
  TensorFile file;
  append(file.tensors, kModel, parameters);
  append(file.tensors, optimizer);
  for (auto& [name, tensor] : file.tensors) tensor = tensor.to(Device{});
  check_finite(file.tensors, path);
  file.metadata = to_metadata(state, optimizer);
  file.metadata.emplace(kTensorsChecksumKey, checksum_of(file.tensors));
  file.metadata.emplace(kTextChecksumKey, checksum_of(file.metadata));
  write_safetensors(path, file);
}

TensorFile read_checkpoint(const std::filesystem::path& path) {
  TensorFile file = read_safetensors(path);
  StateReader(file.metadata, file.source).check_tensors(file.tensors);
  return file;
}

TrainingState load_checkpoint(const std::filesystem::path& path,
                              const std::vector<Parameter>& parameters, Optimizer* optimizer) {
  const TensorFile file = read_checkpoint(path);
  const StateReader reader(file.metadata, file.source);
  TrainingState state = reader.state();
  const std::int64_t steps = optimizer ? reader.count(kOptimizerStepsKey) : 0;
  NamedTensors targets;
  append(targets, kModel, parameters);
  append(targets, optimizer);
  fill(targets, file, optimizer ? std::nullopt : std::optional(kOptimizer));
  if (optimizer) optimizer->set_steps(steps);
  return state;
}

TrainingState read_training_state(const std::filesystem::path& path) {
  const Metadata metadata = read_safetensors_metadata(path);
  return StateReader(metadata, path.string()).state();
}

void save_parameters(const std::filesystem::path& path, const std::vector<Parameter>& parameters,
                     const std::map<std::string, std::string>& metadata) {
  TensorFile file;
  append(file.tensors, "", parameters);
  for (auto& [name, tensor] : file.tensors) tensor = tensor.to(Device{});
  check_finite(file.tensors, path);
  file.metadata = metadata;
  write_safetensors(path, file);
}

void load_parameters(const TensorFile& file, const std::vector<Parameter>& parameters) {
  NamedTensors targets;
  append(targets, "", parameters);
  fill(targets, file, {});
}

void load_parameters(const std::filesystem::path& path, const std::vector<Parameter>& parameters) {
  load_parameters(read_safetensors(path), parameters);
}

}  // namespace vla
