// vla bench
#include <iostream>
#include <memory>

#include "framework/parallel.hpp"
#include "tools/bench.hpp"
#include "tools/command_line.hpp"

namespace vla {
namespace {

struct Request {
  BenchOptions options;
  std::string json;
  Index threads = 0;
};

int run(Request& request, bool json_given) {
  check(request.threads >= 0 && request.threads <= 4096, "--threads ", request.threads,
        " is not allowed; 0 to 4096");
  check(!json_given || !request.json.empty(), "--json is empty; it needs a file");
  request.options.json = request.json;
  if (request.threads > 0) set_thread_count(static_cast<int>(request.threads));
  run_bench(request.options, std::cout);
  return 0;
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
  CLI::Option* json = app->add_option("--json", request->json, "write the rows to this file too")
                          ->type_name("FILE")
                          ->take_last();
  return {app, [request, json] { return run(*request, json->count() > 0); }};
}

}  // namespace vla
