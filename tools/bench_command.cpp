// vla bench
#include <iostream>
#include <memory>
#include <vector>

#include "framework/parallel.hpp"
#include "tools/bench.hpp"
#include "tools/bench_attention.hpp"
#include "tools/bench_ops.hpp"
#include "tools/bench_train.hpp"
#include "tools/command_line.hpp"

namespace vla {
namespace {

struct Request {
  BenchOptions options;
  std::string json, device = "cpu";
  Index threads = 0;
};

int run(Request& request, bool json_given) {
  check(request.threads >= 0 && request.threads <= 4096, "--threads ", request.threads,
        " is not allowed; 0 to 4096");
  check(!json_given || !request.json.empty(), "--json is empty; it needs a file");
  request.options.json = request.json;
  request.options.shape.device = parse_device(request.device);
  if (request.threads > 0) set_thread_count(static_cast<int>(request.threads));
  run_bench(request.options, std::cout);
  return 0;
}

// vla bench train, ops and attention: subcommands with options of their own.
struct TrainRequest {
  BenchTrainOptions options;
  std::string json;
};
struct OpsRequest {
  BenchOpsOptions options;
  std::string json;
};
struct AttentionRequest {
  BenchAttentionOptions options;
  std::string peers, json;
};

// "--dtype" where activations may be bfloat16.
void add_dtype(CLI::App& app, DType& dtype) {
  app.add_option_function<std::string>(
         "--dtype", [&dtype](const std::string& name) { dtype = parse_dtype(name); },
         "float32, float64, or on CUDA bfloat16")
      ->type_name("NAME")
      ->default_str("float32");
}

Command train_part(CLI::App& bench) {
  CLI::App* app =
      bench.add_subcommand("train", "Measure training steps, and on CUDA what each op takes");
  app->footer(
      "Example:\n"
      "  vla bench train --task mqar --model vla-v3 --device cuda --graph");
  const auto request = std::make_shared<TrainRequest>();
  TrainOptions& options = request->options.train;
  const auto add = [app](const std::string& name, auto& value, const char* description) {
    add_setting(*app, name, value, description);
  };
  add("task", options.task, "what to learn; `vla tasks` lists them");
  visit_task_settings(options.data, add);
  visit_model_settings(options, add);
  visit_training_settings(options, [&](const std::string& name, auto& value, const char* text) {
    for (const char* used : {"seed", "device", "precision", "graph", "threads", "batch", "clip"})
      if (name == used) add(name, value, text);
  });
  add_setting(*app, "measured", request->options.measured, "steps to measure");
  app->add_option("--json", request->json, "write the result to this file too")->type_name("FILE");
  return {app, [request] {
            request->options.json = request->json;
            run_bench_train(request->options, std::cout);
            return 0;
          }};
}

Command ops_part(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand(
      "ops", "Measure ops that move numbers, against the speed of a copy in the same run");
  app->footer("Example:\n  vla bench ops --device cuda --dtype bfloat16");
  const auto request = std::make_shared<OpsRequest>();
  BenchOpsOptions& options = request->options;
  add_setting(*app, "device", options.device, kDeviceHelp);
  add_dtype(*app, options.dtype);
  add_setting(*app, "rows", options.rows, "rows of the tensors");
  add_setting(*app, "width", options.width, "their width");
  add_setting(*app, "repeats", options.repeats, "calls of which the median counts");
  app->add_option("--json", request->json, "write the rows to this file too")->type_name("FILE");
  return {app, [request] {
            request->options.json = request->json;
            run_bench_ops(request->options, std::cout);
            return 0;
          }};
}

Command attention_part(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand(
      "attention", "Measure the attention operators alone, beside times of other programs");
  app->footer(
      "Examples:\n"
      "  vla bench attention --device cuda --dtype bfloat16 --peers peers.json --json bench.json\n"
      "  vla bench attention --device cuda --dtype bfloat16 --decode --shapes 64x16x1x64\n"
      "Operators, from q, k, v and beta to o: vla (recursive_least_squares), deltanet and linear\n"
      "(delta_rule, from alpha = beta k, and without a key), softmax (causal). Operations "
      "counted:\n"
      "20, 10 and 6 d^2 a token and head, with backward 4 times as many; softmax 2 T d, with\n"
      "backward 3.5 times as many.\n"
      "PEERS is what another program measured in the same session, a JSON file\n"
      "  {\"device\": \"NVIDIA H100\", \"rows\": [\n"
      "    {\"name\": \"flash softmax (PyTorch 2.11)\", \"batch\": 8, \"heads\": 16, \"time\": "
      "1024,\n"
      "     \"width\": 64, \"forward_ms\": 0.1, \"both_ms\": 0.35}]}\n"
      "of which forward_ms or both_ms may be missing; rows of a shape that is measured stand "
      "below\n"
      "its table, and its last columns are the ratios of ours to theirs. With --decode forward_ms\n"
      "of a row with time 1 is its step.\n"
      "A step as graph is captured once and replayed; it copies what it carries on back to where\n"
      "it reads it, which the floor does not count.");
  const auto request = std::make_shared<AttentionRequest>();
  BenchAttentionOptions& options = request->options;
  add_setting(*app, "device", options.device, kDeviceHelp);
  add_dtype(*app, options.dtype);
  app->add_option("--shapes", options.shapes,
                  "BxHxTxd (sequences, heads, tokens, width) with commas between; none: some usual "
                  "of the device")
      ->type_name("SHAPES")
      ->take_last();
  add_setting(*app, "operators", options.operators, "names with commas between; all");
  add_setting(*app, "repeats", options.repeats, "calls of which the median counts");
  add_setting(*app, "decode", options.decode,
              "one token a sequence at a time, from what is carried on; microseconds on the wall");
  app->add_option("--peers", request->peers, "times of other programs to compare with")
      ->type_name("PEERS");
  app->add_option("--json", request->json, "write the rows to this file too")->type_name("FILE");
  return {app, [request] {
            request->options.peers = request->peers;
            request->options.json = request->json;
            run_bench_attention(request->options, std::cout);
            return 0;
          }};
}

}  // namespace

Command bench_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "bench", "Measure operators and layers, forward and with their backward pass");
  app->footer(
      "Example:\n"
      "  vla bench --time 4096 --operators vla-operators --layers vla,softmax --json bench.json");
  const auto request = std::make_shared<Request>();
  BenchOptions& options = request->options;
  add_setting(*app, "batch", options.shape.batch, "sequences");
  add_setting(*app, "time", options.shape.time, "tokens in a sequence");
  add_setting(*app, "heads", options.shape.heads, "heads");
  add_setting(*app, "width", options.shape.width, "width of a layer, all heads together");
  add_setting(*app, "dtype", options.shape.dtype, "float32 or float64");
  add_setting(*app, "operators", options.operators, "names with commas between; all, none");
  add_setting(*app, "layers", options.layers, "names with commas between; all, none");
  add_setting(*app, "repeats", options.repeats, "calls of which the median counts");
  add_setting(
      *app, "limit", options.limit,
      "seconds for the repeats of a row; one whose single call would take longer is left out");
  add_setting(*app, "threads", request->threads, "CPU threads; 0: one per core");
  add_setting(*app, "device", request->device, kDeviceHelp);
  CLI::Option* json = app->add_option("--json", request->json, "write the rows to this file too")
                          ->type_name("FILE")
                          ->take_last();
  const std::vector<Command> parts = {train_part(*app), ops_part(*app), attention_part(*app)};
  return {app, [request, json, parts] {
            for (const Command& part : parts)
              if (part.app->parsed()) return part.run();
            return run(*request, json->count() > 0);
          }};
}

}  // namespace vla
