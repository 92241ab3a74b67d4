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

constexpr std::size_t kBitsColumn = 4;

std::optional<double> number_of(const Metrics& line, const std::string& name) {
  const auto found = line.more.find(name);
  return found == line.more.end() ? std::nullopt : std::optional(found->second);
}

Row row_of(const RunDirectory& run) {
  const TrainOptions options = run.options();
  Row row = {run.path().string(), options.model};
  const std::vector<Metrics> lines = run.metrics();
  // A finished run knows its chance, also when the data it learned from are gone.
  std::optional<double> chance;
  if (lines.empty()) {
    row.insert(row.end(), {"-", "-", "-", fmt::format("0 of {}", options.steps), "-"});
  } else {
    const Metrics& last = lines.back();
    const std::optional<double> bits = number_of(last, "bits_per_byte");
    chance = number_of(last, "chance");
    row.insert(row.end(), {fmt::format("{:.4f}", last.accuracy), fmt::format("{:.4f}", last.loss),
                           bits ? fmt::format("{:.4f}", *bits) : "-",
                           last.held_out() ? fmt::format("{}", last.step)
                                           : fmt::format("{} of {}", last.step, options.steps),
                           fmt::format("{:.0f}", last.tokens_per_second)});
  }
  if (!chance) chance = make_task(options.task, options.data)->chance();
  row.push_back(fmt::format("{:.4f}", *chance));
  return row;
}

// Most tasks have no bits per byte.
void drop_bits_unless_used(std::vector<Row>& rows) {
  const auto has_bits = [](const Row& row) { return row[kBitsColumn] != "-"; };
  if (std::any_of(rows.begin() + 1, rows.end(), has_bits)) return;
  for (Row& row : rows) row.erase(row.begin() + kBitsColumn);
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
      "report, and steps then says how far it is. The loss of a report is that of the training;\n"
      "bits/byte, of the task text, are always held out.");
  const auto runs = std::make_shared<std::vector<std::string>>();
  app->add_option("runs", *runs, "directories of runs")->type_name("RUN")->required();
  return {app, [runs] {
            std::vector<Row> rows = {
                {"run", "model", "accuracy", "loss", "bits/byte", "steps", "tokens/s", "chance"}};
            for (const std::string& run : *runs) rows.push_back(row_of(RunDirectory(run)));
            drop_bits_unless_used(rows);
            print_table(rows, 2);
            return 0;
          }};
}

}  // namespace vla
