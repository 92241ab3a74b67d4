// vla generate
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <sstream>

#include "framework/file.hpp"
#include "framework/parallel.hpp"
#include "tools/command_line.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

struct Request {
  std::string run, prompt, tokens, save, load, device;
  Index count = 200;
  SamplingOptions sampling;
  std::uint64_t seed = 1;
  Index threads = 0;
};

// Whether the tokens of a run are the bytes of a text.
bool is_text(const TrainOptions& options) { return options.task == "text"; }

std::vector<Index> given_tokens(const Request& request, bool text) {
  check(request.prompt.empty() || request.tokens.empty(),
        "--prompt and --tokens exclude each other");
  check(text || request.prompt.empty(), "--prompt is for models of text; ", request.run,
        " takes numbers: --tokens 1,2,3");
  std::vector<Index> result;
  for (const char letter : request.prompt) result.push_back(static_cast<unsigned char>(letter));
  std::istringstream numbers(request.tokens);
  for (std::string number; std::getline(numbers, number, ',');)
    parse_setting("tokens", number, result.emplace_back());
  return result;
}

void check_request(const Request& request) {
  check(request.count >= 0, "--count ", request.count, " is not allowed; 0 or more");
  check(request.threads >= 0 && request.threads <= 4096, "--threads ", request.threads,
        " is not allowed; 0 to 4096");
  check(!request.prompt.empty() || !request.tokens.empty() || !request.load.empty(),
        "there is nothing to go on from; give --prompt, --tokens or --load-state");
  if (!request.save.empty()) check_replaceable(request.save);
}

// Before anything is written, not at the first token too many. The last token needs no position.
void check_positions(const Request& request, Index places, Index before) {
  check(places == 0 || request.count <= places + 1 - before, "--count ", request.count, " after ",
        before, " tokens is too many: ", request.run, " has learned positions for ", places,
        "; a model trained with --no-positions has no limit");
}

// Bytes as they are, numbers with commas between.
void write_token(Index token, bool first, bool text) {
  if (text)
    std::cout << static_cast<char>(token);
  else
    std::cout << (first ? "" : ",") << token;
  std::cout << std::flush;
}

int run_generate(const Request& request) {
  check_request(request);
  const RunDirectory run(request.run);
  const TrainOptions options = run.options();
  const bool text = is_text(options);
  const std::vector<Index> prompt = given_tokens(request, text);
  LanguageModel model =
      trained_model(options, run.checkpoint(), device_for(request.device, options));
  if (request.threads > 0) set_thread_count(static_cast<int>(request.threads));

  Generator generator(model, request.sampling, request.seed);
  if (!request.load.empty()) generator.load(read_safetensors(request.load));
  check_positions(request, model.config().positions,
                  generator.tokens() + static_cast<Index>(prompt.size()));
  generator.read(prompt);
  for (Index i = 0; i < request.count; ++i) write_token(generator.next(), i == 0, text);
  if (!text && request.count > 0) std::cout << std::endl;
  if (!request.save.empty()) write_safetensors(request.save, generator.save());
  return 0;
}

}  // namespace

Command generate_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("generate", "Let the model of a run write on");
  app->footer(
      "Example:\n  vla generate runs/first --tokens 5,9,2 --count 20 --temperature 0\n"
      "A model of text takes --prompt and writes bytes, any other --tokens and writes numbers.\n"
      "What it writes depends on the seed and on the place in the sequence: a sequence that was\n"
      "saved goes on, with the seed that it had, as if it had never been left. But for softmax,\n"
      "memory does not depend on the length.");
  const auto request = std::make_shared<Request>();
  app->add_option("run", request->run, "directory of the run")->type_name("RUN")->required();
  add_setting(*app, "prompt", request->prompt, "what comes before")->type_name("TEXT");
  add_setting(*app, "tokens", request->tokens, "the same in numbers, with commas between")
      ->type_name("LIST");
  add_setting(*app, "count", request->count, "tokens to write");
  add_setting(*app, "temperature", request->sampling.temperature,
              "above 1 for more surprise, below for less; 0: always the most likely token");
  add_setting(*app, "top-k", request->sampling.top_k,
              "draw from so many of the most likely tokens; 0: from all");
  add_setting(*app, "seed", request->seed, "seed of what is drawn");
  add_setting(*app, "save-state", request->save, "where to keep the sequence's state afterwards")
      ->type_name("FILE");
  add_setting(*app, "load-state", request->load, "a state to go on from")->type_name("FILE");
  add_setting(*app, "threads", request->threads, "CPU threads; 0: as trained");
  add_setting(*app, "device", request->device, kDeviceHelp)
      ->default_str("as trained, or cpu where that is missing");
  return {app, [request] { return run_generate(*request); }};
}

}  // namespace vla
