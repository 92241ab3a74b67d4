// vla report
#include "tools/report/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/report/run_table.hpp"
#include "tools/tensorboard.hpp"

namespace vla {
namespace {

struct Request {
  std::vector<std::string> directories;
  std::string out;
  bool tensorboard = false;
  InsidesOptions insides;
};

void print_tables(const ReportSources& sources) {
  if (!sources.runs.empty()) {
    const Table table = run_table(sources.runs);
    std::vector<bool> to_the_right(table.front().size(), true);
    std::fill_n(to_the_right.begin(), kWordColumns, false);
    std::cout << aligned(table, to_the_right);
  }
  for (const ResultsFile& experiment : sources.experiments) std::cout << aligned(experiment.table);
}

int run_report(const Request& request) {
  check(!request.tensorboard || !request.out.empty(), "--tensorboard needs --out");
  const ReportSources sources = read_sources(request.directories);
  const std::filesystem::path folder = request.out;
  std::string written;
  if (!request.out.empty())
    written = "wrote " + write_report(sources, folder, request.insides).string() + "\n";
  if (request.tensorboard) {
    const std::filesystem::path events = folder / "tensorboard";
    for (const RunDirectory& run : sources.all_runs()) write_tensorboard(run, events);
    written += "wrote " + events.string() + "\n";
  }
  print_tables(sources);
  std::cout << written;
  return 0;
}

}  // namespace

Command report_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("report", "Compare runs and experiments, in a table and in pictures");
  app->footer(
      "Example:\n  vla report runs/first runs/second\n"
      "  vla report runs/first runs/second runs/experiments/copy --out report\n"
      "Accuracy and loss are the held-out ones of a finished run; of another, those of its last\n"
      "report, and steps then says how far it is. The loss of a report is that of the training;\n"
      "bits/byte, of the task text, are always held out.\n"
      "With --out also the page DIR/index.html, which needs no network and no script, and the\n"
      "data of each of its figures as CSV. What it shows: tasks/README.md, Pictures. The program\n"
      "gnuplot draws it, which tools/setup installs.");
  const auto request = std::make_shared<Request>();
  app->add_option("runs", request->directories, "directories of runs or of experiments")
      ->type_name("RUN")
      ->required();
  add_setting(*app, "out", request->out, "directory for the page; none: the table alone");
  add_setting(*app, "layer", request->insides.layer, "of the page, which layer to look into");
  add_setting(*app, "head", request->insides.head,
              "of the page, only this head, from 0; -1: all, and the maps of the first");
  add_setting(*app, "tensorboard", request->tensorboard,
              "with --out, write the runs' numbers for TensorBoard too");
  return {app, [request] { return run_report(*request); }};
}

}  // namespace vla
