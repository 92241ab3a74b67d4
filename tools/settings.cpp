#include "tools/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "framework/safetensors_header.hpp"

namespace vla {
namespace {

constexpr Index kMany = std::numeric_limits<Index>::max();

struct AllowedWords {
  std::string_view option;
  std::vector<std::string> words;
};
const std::vector<AllowedWords>& all_allowed_words() {
  static const std::vector<AllowedWords> all{{"precision", {"float32", "tf32", "bf16"}},
                                             {"dtype", {"float32", "float64"}},
                                             {"penalty", {"key", "learned"}},
                                             {"features", {"elu", "identity"}},
                                             {"operator-form", {"auto", "step", "chunk"}},
                                             {"held-out", {"val", "test"}},
                                             {"form", {"notebook", "zoology", "zoology-mix"}},
                                             {"names", {"own", "reference"}},
                                             {"optimizer", {"adamw", "sgd"}},
                                             {"non-finite", {"throw", "skip", "ignore"}}};
  return all;
}

void check_between(const char* name, Index value, Index low, Index high) {
  if (high == kMany)
    check(value >= low, "--", name, " ", value, " is not allowed; ", low, " or more");
  else
    check(value >= low && value <= high, "--", name, " ", value, " is not allowed; ", low, " to ",
          high);
}

// The whole of `text` as a number, with nothing left over.
template <class T>
void parse_number(const std::string& name, const std::string& text, const char* kind, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  check(error != std::errc::result_out_of_range, "--", name, " ", text, " is out of range");
  check(error == std::errc() && stop == end, "--", name, " '", text, "' is not ", kind);
}

// A value as config.json holds it: numbers and truth values as such, the rest as text.
template <class T>
nlohmann::ordered_json as_json(const T& value) {
  if constexpr (std::is_same_v<T, DType>)
    return setting_text(value);
  else
    return value;
}

// An object of settings. What nests in it is refused where it begins, so that its depth is no
// matter, and so is a name that is there twice, of which the library would take the last.
nlohmann::json parsed(const std::string& text, const std::string& source) {
  using Event = nlohmann::json::parse_event_t;
  std::unordered_set<std::string> names;
  std::string name;
  const auto look = [&](int depth, Event event, nlohmann::json& value) {
    const bool nests = depth > 0 && (event == Event::object_start || event == Event::array_start);
    check(!nests || !names.empty(), source, ": not a JSON object");
    check(!nests, source, ": setting ", quote_name(name),
          " is an object or an array; a single value is needed");
    if (event != Event::key) return true;
    name = value.get<std::string>();
    check(names.insert(name).second, source, ": setting ", quote_name(name), " is there twice");
    return true;
  };
  // The library would take a zero byte for the end of the text.
  check(text.find('\0') == std::string::npos, source, ": not JSON: it has a zero byte");
  try {
    nlohmann::json json = nlohmann::json::parse(text, look);
    check(json.is_object(), source, ": not a JSON object");
    return json;
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception...] parse error at line ...", at its end what was read last, of any length.
    constexpr std::size_t kLongest = 150;
    const std::string reason = error.what();
    fail(source, ": not JSON: ", reason.substr(reason.find("] ") + 2, kLongest));
  }
}

// A value as messages show it.
std::string value_text(const nlohmann::json& json) {
  constexpr std::size_t kLongest = 60;
  const std::string text = json.dump(-1, ' ', true);  // ASCII alone, which may be cut anywhere
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

template <class T>
void from_json(const std::string& where, const nlohmann::json& json, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    check(json.is_boolean(), where, " is ", value_text(json), "; true or false is needed");
    value = json.get<bool>();
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, DType>) {
    check(json.is_string(), where, " is ", value_text(json), "; a text is needed");
    const auto text = json.get<std::string>();
    if constexpr (std::is_same_v<T, DType>) check_word("dtype", text, where);
    parse_setting(where, text, value);
  } else if constexpr (std::is_same_v<T, double>) {
    check(json.is_number(), where, " is ", value_text(json), "; a number is needed");
    value = json.get<double>();
  } else {
    check(json.is_number_integer() && (json.is_number_unsigned() || std::is_signed_v<T>), where,
          " is ", value_text(json), "; a whole number", std::is_signed_v<T> ? "" : " of 0 or more",
          " is needed");
    check(!json.is_number_unsigned() || std::in_range<T>(json.get<std::uint64_t>()), where, " is ",
          value_text(json), ", which is out of range");
    value = json.get<T>();
  }
}

// A setting that the task does not use would otherwise be lost without a word.
void check_task_settings(const TrainOptions& options) {
  const TaskKind& task = task_kind(options.task);
  std::string allowed;
  for (std::string_view name : task.settings)
    allowed += (allowed.empty() ? "--" : ", --") + std::string(name);
  TaskConfig defaults, data = options.data;
  std::vector<std::string> default_texts;
  visit_task_settings(defaults, [&](const std::string&, auto& value, const char*) {
    default_texts.push_back(setting_text(value));
  });
  auto usual = default_texts.begin();
  visit_task_settings(data, [&](const std::string& name, auto& value, const char*) {
    const std::string text = setting_text(value);
    check(text == *usual++ || std::ranges::find(task.settings, name) != task.settings.end(), "--",
          name, " ", text, " is not for task ", task.name, ", whose settings are ", allowed);
  });
}

}  // namespace

std::vector<std::string> allowed_words(std::string_view option) {
  const auto found = std::ranges::find(all_allowed_words(), option, &AllowedWords::option);
  return found == all_allowed_words().end() ? std::vector<std::string>{} : found->words;
}

void check_word(const std::string& option, const std::string& text, const std::string& where) {
  const std::vector<std::string> words = allowed_words(option);
  if (std::ranges::find(words, text) != words.end()) return;
  fail(where.empty() ? "--" + option : where, " ", quote_name(text), " is not allowed; ",
       fmt::format("{} or {}", fmt::join(words.begin(), words.end() - 1, ", "), words.back()));
}

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream stream(list + ",");
  for (std::string word; std::getline(stream, word, ',');) words.push_back(word);
  return words;
}

bool is_about_computing(std::string_view name) {
  return name == "device" || name == "precision" || name == "graph" || name == "threads";
}

void check_settings(const TrainOptions& options) {
  check_task_settings(options);
  check(options.task != "text" || options.mixer.symbolic == 0, "--symbolic ",
        options.mixer.symbolic,
        " is not for task text: it normalises over later tokens, which "
        "are what is to be foretold");
  check_between("layers", options.layers, 1, 1000);
  check_between("hidden", options.hidden, 1, kMany);
  check_between("threads", options.threads, 0, 4096);
  check_between("steps", options.steps, 1, kMany);
  check_between("batch", options.batch, 1, kMany);
  check_between("warm-up", options.warm_up, 0, kMany);
  check(options.warm_up < options.steps, "--warm-up ", options.warm_up,
        " is not allowed; less than --steps ", options.steps);
  check_between("report-every", options.report_every, 1, kMany);
  check_between("ranks", options.ranks, 1, kMany);
  check_between("checkpoint-every", options.checkpoint_every, 0, kMany);
  check_between("keep", options.keep, 1, kMany);
  check_word("optimizer", options.optimizer);
  check_word("non-finite", options.non_finite);
  check(options.momentum >= 0 && options.momentum < 1, "--momentum ", options.momentum,
        " is not allowed; 0 or more and less than 1");
  check(options.optimizer == "sgd" || options.momentum == 0, "--momentum ", options.momentum,
        " is for --optimizer sgd, it is ", options.optimizer);
  check(std::isfinite(options.rate) && options.rate > 0, "--rate ", options.rate,
        " is not allowed; above 0");
  check(std::isfinite(options.decay) && options.decay >= 0, "--decay ", options.decay,
        " is not allowed; 0 or more");
  check(std::isfinite(options.clip) && options.clip >= 0, "--clip ", options.clip,
        " is not allowed; 0 or more");
  check(options.until >= 0 && options.until <= 1, "--until ", options.until,
        " is not allowed; 0 to 1");
  check(std::isfinite(options.mixer.attention.deviation) && options.mixer.attention.deviation > 0,
        "--deviation ", options.mixer.attention.deviation, " is not allowed; above 0");
  check_word("dtype", setting_text(options.mixer.attention.dtype));
  check_word("precision", options.precision);
  const bool cuda = options.device.starts_with("cuda") || options.device == "auto";
  check(cuda || options.precision == "float32", "--precision ", options.precision,
        " is for CUDA devices, --device is ", options.device);
  check(options.precision == "float32" || options.mixer.attention.dtype == DType::float32,
        "--precision ", options.precision, " is for parameters of float32, --dtype is ",
        options.mixer.attention.dtype);
  check(cuda || !options.graph, "--graph is for CUDA devices, --device is ", options.device);
}

NonFinite non_finite_policy(const TrainOptions& options) {
  if (options.non_finite == "skip") return NonFinite::skip;
  return options.non_finite == "ignore" ? NonFinite::ignore : NonFinite::refuse;
}

DType activation_dtype(const TrainOptions& options) {
  return options.precision == "bf16" ? DType::bfloat16 : options.mixer.attention.dtype;
}

void parse_setting(const std::string&, const std::string& text, std::string& value) {
  value = text;
}
void parse_setting(const std::string& name, const std::string& text, Index& value) {
  parse_number(name, text, "a whole number", value);
}
void parse_setting(const std::string& name, const std::string& text, std::uint64_t& value) {
  parse_number(name, text, "a whole number of 0 or more", value);
}
void parse_setting(const std::string& name, const std::string& text, double& value) {
  parse_number(name, text, "a number", value);
}
void parse_setting(const std::string& name, const std::string& text, bool& value) {
  check(text == "true" || text == "false", "--", name, " '", text, "' is not true or false");
  value = text == "true";
}
void parse_setting(const std::string& name, const std::string& text, DType& value) {
  check_word("dtype", text, "--" + name);
  value = parse_dtype(text);
}

std::string setting_text(const std::string& value) { return value; }
std::string setting_text(Index value) { return std::to_string(value); }
std::string setting_text(std::uint64_t value) { return std::to_string(value); }
std::string setting_text(double value) { return fmt::format("{}", value); }
std::string setting_text(bool value) { return value ? "true" : "false"; }
std::string setting_text(DType value) { return concatenate(value); }

std::string to_json(const TrainOptions& options) {
  nlohmann::ordered_json json = {{"version", VLA_VERSION}};
  TrainOptions copy = options;
  visit_settings(copy, [&](const std::string& name, auto& value, const char*) {
    json[name] = as_json(value);
  });
  return json.dump(2) + "\n";
}

SettingTexts setting_texts(TrainOptions options) {
  SettingTexts texts;
  visit_settings(options, [&](const std::string& name, auto& value, const char*) {
    texts[name] = setting_text(value);
  });
  return texts;
}

void set_settings(TrainOptions& options, const SettingTexts& texts) {
  visit_settings(options, [&](const std::string& name, auto& value, const char*) {
    if (const auto found = texts.find(name); found != texts.end())
      parse_setting(name, found->second, value);
  });
}

TrainOptions options_from_json(const std::string& text, const std::string& source) {
  const nlohmann::json json = parsed(text, source);
  std::set<std::string> known = {"version"};
  TrainOptions options;
  visit_settings(options, [&](const std::string& name, auto& value, const char*) {
    known.insert(name);
    if (json.contains(name)) from_json(source + ": setting '" + name + "'", json[name], value);
  });
  if (!json.contains("warm-up")) options.warm_up = usual_warm_up(options.steps);
  // Versions need not be compared: an older file lacks settings, whose defaults are meant, and a
  // newer one has some that are unknown here.
  const std::string version =
      json.contains("version") && json["version"].is_string() ? json["version"] : VLA_VERSION;
  const std::string writer = quote_name(version);
  for (const auto& [name, value] : json.items())
    check(known.contains(name), source, ": unknown setting ", quote_name(name),
          version == VLA_VERSION ? ""
                                 : "; written by vla " + writer.substr(1, writer.size() - 2) +
                                       ", this is " + VLA_VERSION);
  return options;
}

}  // namespace vla
