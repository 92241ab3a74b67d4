// vla regression
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "framework/file.hpp"
#include "tools/command_line.hpp"
#include "tools/regression.hpp"

namespace vla {
namespace {

struct Request {
  RegressionRun run;
  std::string out;
};

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// At most so many places, evenly spread, the last one among them.
void print_table(const RegressionErrors& errors, const std::string& model) {
  constexpr std::size_t kRows = 24;
  const std::size_t points = errors.model.size(), every = (points + kRows - 1) / kRows;
  const auto print = [](const std::string& place, double first, double second, double third) {
    std::cout << fmt::format("{:>8}{:>14.6f}{:>14.6f}{:>14.6f}\n", place, first, second, third);
  };
  std::cout << fmt::format("{:>8}{:>14}{:>14}{:>14}\n", "place", model, "ridge", "kalman");
  for (std::size_t t = (points - 1) % every; t < points; t += every)
    print(std::to_string(t + 1), errors.model[t], errors.ridge[t], errors.kalman[t]);
  print("mean", mean_of(errors.model), mean_of(errors.ridge), mean_of(errors.kalman));
}

std::string csv(const RegressionErrors& errors) {
  std::string text = "place,model,ridge,kalman\n";
  for (std::size_t t = 0; t < errors.model.size(); ++t)
    text += fmt::format("{},{},{},{}\n", t + 1, errors.model[t], errors.ridge[t], errors.kalman[t]);
  return text;
}

int run_command(const CLI::App& app, Request& request) {
  if (!request.out.empty()) check_replaceable(request.out);
  TrainOptions& options = request.run.options;
  if (app.get_option("--warm-up")->count() == 0) options.warm_up = usual_warm_up(options.steps);
  RegressionErrors errors;
  {
    Progress progress(std::cout, isatty(STDOUT_FILENO) != 0);
    errors = run_regression(request.run, progress);
  }
  print_table(errors, options.model);
  if (!request.out.empty()) write_text(request.out, csv(errors));
  return 0;
}

}  // namespace

Command regression_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "regression", "Train a model on linear regression in context, beside ridge and Kalman");
  app->footer(
      "Example:\n  vla regression --dimensions 8 --points 24 --noise 0.1\n"
      "prints the mean squared error at each place, of the model, of ridge regression and of the\n"
      "Kalman filter, which is the best there is. It leaves no run to go on with.");
  const auto request = std::make_shared<Request>();
  auto& [task, options, examples] = request->run;
  add_setting(*app, "dimensions", task.dimensions, "of x")->group("Task");
  add_setting(*app, "points", task.points, "pairs in a sequence")->group("Task");
  add_setting(*app, "noise", task.noise, "standard deviation of the noise on y")->group("Task");
  add_setting(*app, "drift", task.drift, "share of the weights drawn anew at every point")
      ->group("Task");
  const auto adder = [app](const char* group) {
    return [app, group](const std::string& name, auto& value, const char* description) {
      if (is_for_regression(name)) add_setting(*app, name, value, description)->group(group);
    };
  };
  visit_model_settings(options, adder("Model"));
  visit_training_settings(options, adder("Training"));
  app->get_option("--warm-up")->default_str("a tenth of --steps, 300 at most");
  add_setting(*app, "examples", examples, "sequences to evaluate on")->group("Run");
  app->add_option("--out", request->out, "file for the numbers of every place, CSV")
      ->type_name("FILE")
      ->take_last()
      ->group("Run");
  return {app, [app, request] { return run_command(*app, *request); }};
}

}  // namespace vla
