// vla stability
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "framework/file.hpp"
#include "framework/parallel.hpp"
#include "tools/command_line.hpp"
#include "tools/stability_streaming.hpp"

namespace vla {
namespace {

using Json = nlohmann::ordered_json;

struct Request {
  StabilityOptions options;
  bool against_float64 = false;
  Index threads = 0;
  std::string device = "cpu", json;
};

constexpr Index kTableRows = 16;

Json settings_json(const Request& request) {
  const StabilityOptions& options = request.options;
  return {{"version", VLA_VERSION},   {"model", options.model},
          {"keys", options.keys},     {"time", options.time},
          {"seed", options.seed},     {"dimensions", options.dimensions},
          {"device", request.device}, {"against_float64", request.against_float64}};
}

// Numbers that are not finite become null.
Json as_json(const Request& request, const StabilityStates& states) {
  Json json = settings_json(request);
  json["every"] = states.every;
  for (const StabilitySeries& series : states.series) {
    Json& written = json["series"][series.name];
    for (const Index place : series.places()) {
      written["tokens"].push_back(place + 1);
      written["numbers"].push_back(series.at(place));
    }
    json["min"][series.name] = series.range.min;
    json["max"][series.name] = series.range.max;
    json["last"][series.name] = series.last();
  }
  return json;
}

Json as_json(const Request& request, const StreamedErrors& errors) {
  Json json = settings_json(request);
  json["block"] = kStreamedBlock;
  json["tokens"] = Json::array();
  json["error"] = Json::array();
  for (const StreamedBlock& block : errors.blocks) {
    json["tokens"].push_back(block.tokens);
    json["error"].push_back(block.error);
  }
  json["largest"] = {{"tokens", errors.largest.tokens}, {"error", errors.largest.error}};
  json["seconds"] = {{"drawing", errors.drawing_seconds},
                     {"float32", errors.seconds},
                     {"float64", errors.float64_seconds}};
  return json;
}

std::string head(const Request& request) {
  const StabilityOptions& options = request.options;
  return fmt::format("{}, {} keys, d = {}, {} tokens, seed {}", options.model, options.keys,
                     options.dimensions, options.time, options.seed);
}

std::string table(const StabilityStates& states) {
  std::string text = fmt::format("{:>9}", "tokens");
  for (const StabilitySeries& series : states.series) text += fmt::format("{:>21}", series.name);
  const auto row = [&](const std::string& name, const auto& number_of) {
    text += fmt::format("\n{:>9}", name);
    for (const StabilitySeries& series : states.series)
      text += fmt::format("{:>21.6g}", number_of(series));
  };
  // Where there are eigenvalues there are all numbers.
  const auto coarsest = std::ranges::max_element(states.series, {}, &StabilitySeries::step);
  const Index count = static_cast<Index>(coarsest->numbers.size());
  for (Index number : log_spaced(count, kTableRows)) {
    const Index place = number * coarsest->step;
    row(std::to_string(place + 1),
        [place](const StabilitySeries& series) { return series.at(place); });
  }
  row("min", [](const StabilitySeries& series) { return series.range.min; });
  row("max", [](const StabilitySeries& series) { return series.range.max; });
  return text + "\n";
}

std::string table(const StreamedErrors& errors) {
  std::string text = fmt::format("{:>9}{:>12}\n", "tokens", "error");
  for (Index place : log_spaced(static_cast<Index>(errors.blocks.size()), kTableRows)) {
    const StreamedBlock& block = errors.blocks[static_cast<std::size_t>(place)];
    text += fmt::format("{:>9}{:>12.3g}\n", block.tokens, block.error);
  }
  return text + fmt::format("largest: {:.3g}, up to token {}\n", errors.largest.error,
                            errors.largest.tokens);
}

void finish(const Request& request, const std::string& text, const Json& json) {
  std::cout << text;
  if (!request.json.empty()) write_text(request.json, json.dump(2) + "\n");
}

int run_command(const Request& request) {
  const Device device = parse_device(request.device);
  check(request.against_float64 || device.is_cpu(), "--device ", request.device,
        " is for --against-float64; the state over time is measured on the cpu");
  if (!request.json.empty()) check_replaceable(request.json);
  check(request.threads >= 0 && request.threads <= 4096, "--threads ", request.threads,
        " is not allowed; 0 to 4096");
  if (request.threads > 0) set_thread_count(static_cast<int>(request.threads));
  if (!request.against_float64) {
    const StabilityStates states = measure_states(request.options);
    finish(request, head(request) + ", in float64\n" + table(states), as_json(request, states));
    return 0;
  }
  const StreamedErrors errors = measure_streaming(request.options, device);
  finish(request,
         head(request) + fmt::format(", in float32 on {} against float64\n", request.device) +
             table(errors) +
             fmt::format("drawing {:.1f} s, float32 on {} {:.1f} s, float64 on cpu {:.1f} s\n",
                         errors.drawing_seconds, request.device, errors.seconds,
                         errors.float64_seconds),
         as_json(request, errors));
  return 0;
}

}  // namespace

Command stability_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "stability", "Follow the state of an untrained memory over a long random sequence");
  app->footer(
      "Examples:\n"
      "  vla stability --model vla --time 10000 --json stability.json\n"
      "  vla stability --model vla --time 1000000 --dimensions 64 --against-float64\n"
      "The first prints norms and eigenvalues over time, the second the relative error of the\n"
      "outputs, block by block of 16384 tokens. What is read: tasks/README.md, Stability.");
  const auto request = std::make_shared<Request>();
  StabilityOptions& options = request->options;
  add_setting(*app, "model", options.model, "vla, vla-v1, vla-v3, deltanet or linear");
  add_setting(*app, "time", options.time, "tokens");
  add_setting(*app, "dimensions", options.dimensions, "width of keys and values");
  add_setting(*app, "seed", options.seed, "of the tokens and weights");
  add_setting(*app, "keys", options.keys, "random, or repeated: 8 of them over and over");
  add_setting(*app, "against-float64", request->against_float64,
              "compare the outputs of vla, deltanet or linear, streamed in float32, with float64");
  add_setting(*app, "threads", request->threads, "CPU threads; 0: one per core");
  add_setting(*app, "device", request->device, kDeviceHelp);
  app->add_option("--json", request->json, "write all of it to this file too")
      ->type_name("FILE")
      ->take_last();
  return {app, [request] { return run_command(*request); }};
}

}  // namespace vla
