// vla report
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

using Row = std::vector<std::string>;

Row row_of(const RunDirectory& run) {
  const TrainOptions options = run.options();
  const double chance = make_task(options.task, options.data)->chance();
  Row row = {run.path().string(), options.model};
  const std::vector<Metrics> lines = run.metrics();
  if (lines.empty()) {
    row.insert(row.end(), {"-", "-", fmt::format("0 of {}", options.steps), "-"});
  } else {
    const Metrics& last = lines.back();
    row.insert(row.end(), {fmt::format("{:.4f}", last.accuracy), fmt::format("{:.4f}", last.loss),
                           last.held_out() ? fmt::format("{}", last.step)
                                           : fmt::format("{} of {}", last.step, options.steps),
                           fmt::format("{:.0f}", last.tokens_per_second)});
  }
  row.push_back(fmt::format("{:.4f}", chance));
  return row;
}

// Columns as wide as their widest entry; words to the left, numbers to the right.
void print_table(const std::vector<Row>& rows, std::size_t word_columns) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i < word_columns ? fmt::format("{:<{}}  ", row[i], widths[i])
                               : fmt::format("{:>{}}  ", row[i], widths[i]);
    std::cout << line.substr(0, line.find_last_not_of(' ') + 1) << "\n";
  }
}

}  // namespace

Command report_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("report", "Compare runs in a table");
  app->footer(
      "Example:\n  vla report runs/first runs/second\n"
      "Accuracy and loss are the held-out ones of a finished run; of another, those of its last\n"
      "report, and steps then says how far it is.");
  const auto runs = std::make_shared<std::vector<std::string>>();
  app->add_option("runs", *runs, "directories of runs")->type_name("RUN")->required();
  return {app, [runs] {
            std::vector<Row> rows = {
                {"run", "model", "accuracy", "loss", "steps", "tokens/s", "chance"}};
            for (const std::string& run : *runs) rows.push_back(row_of(RunDirectory(run)));
            print_table(rows, 2);
            return 0;
          }};
}

}  // namespace vla
