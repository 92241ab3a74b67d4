// Runs and an experiment as vla train and vla experiment leave them, with known numbers.
#pragma once

#include "tests/program.hpp"
#include "tools/run.hpp"

namespace vla {

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline TrainOptions report_options(const std::string& model, std::uint64_t seed) {
  TrainOptions options;
  options.model = model;
  options.seed = seed;
  options.data.pairs = 4;
  options.steps = 300;
  options.warm_up = usual_warm_up(options.steps);
  return options;
}

// Reports at 10, 20, ...: loss and accuracy; then, if it is finished, 0.05 and 0.95 held out.
inline void write_run(const std::filesystem::path& path, const TrainOptions& options,
                      const std::vector<std::pair<double, double>>& reports, bool finished = true) {
  const RunDirectory run(path);
  run.create(options);
  Index step = 0;
  for (const auto& [loss, accuracy] : reports)
    run.append({.step = step += 10,
                .loss = loss,
                .accuracy = accuracy,
                .tokens_per_second = 1000,
                .more = {{"seconds", static_cast<double>(step)}, {"rate", 0.5}}});
  if (finished)
    run.append({.split = "held-out",
                .step = step,
                .loss = 0.05,
                .accuracy = 0.95,
                .tokens_per_second = 2000,
                .more = {{"chance", 0.25}, {"seconds", static_cast<double>(step)}}});
}

// Three seeds of VLA, two of them finished, and one of DeltaNet.
inline void write_runs(const Place& place) {
  write_run(place / "a", report_options("vla", 1), {{4, 0.1}, {2, 0.5}, {1, 0.9}});
  write_run(place / "b", report_options("vla", 2), {{2, 0.3}, {1, 0.7}});
  write_run(place / "c", report_options("vla", 3), {{3, 0.2}, {1.5, 0.6}, {1, 0.8}}, false);
  write_run(place / "d", report_options("deltanet", 1), {{4, 0.1}, {3, 0.2}});
}

inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

inline std::string bench_rows(int time, double vla, double softmax) {
  const auto row = [](const char* name, const char* form, double seconds) {
    return concatenate(R"({"kind":"layer","name":")", name, R"(","form":")", form,
                       R"(","pass":"forward","seconds":)", seconds,
                       R"(,"tokens_per_second":1e5,"peak_bytes":2e6})");
  };
  return concatenate(R"({"time":)", time, R"(,"batch":2,"rows":[)", row("vla", "step", 1), ",",
                     row("vla", "chunk", vla), ",", row("softmax", "whole", softmax),
                     R"(,{"kind":"layer","name":"vla-v1","form":"step","pass":"forward",)",
                     R"("skipped":"a call would take 9 s"}]})");
}

// Settings PREFIX-4 and PREFIX-8, the second evaluated at T-64 and T-1024; its directory was
// another when it was written.
inline void write_experiment(const std::filesystem::path& path, const std::string& prefix) {
  const auto seed = [&](int pairs, int number, double accuracy, const std::string& more) {
    const std::string run = concatenate(prefix, "-", pairs, "/vla/rate-0.01-seed-", number);
    write_run(path / run, report_options("vla", static_cast<std::uint64_t>(number)),
              {{2, 0.2}, {1, 0.6}});
    return concatenate(R"({"directory":"elsewhere/)", run, R"(","settings":"","accuracy":)",
                       accuracy, R"(,"loss":1,"chance":0.25)", more, "}");
  };
  const std::string evaluations =
      R"(,"evaluations":{"T-64":{"accuracy":0.5,"loss":1,"chance":0.2},)"
      R"("T-1024":{"accuracy":0.25,"loss":1,"chance":0.1}})";
  write_file(path / "results.json",
             concatenate(R"({"experiment":"tiny","description":"a <test>","made_with":"`vla x`",)",
                         R"("rows":[{"setting":")", prefix, R"(-4","model":"vla","seeds":[)",
                         seed(4, 1, 0.75, ""), ",", seed(4, 2, 0.25, ""),
                         R"(,{"directory":"elsewhere/x","settings":"","failure":"nan"}]},)",
                         R"({"setting":")", prefix, R"(-8","model":"vla","seeds":[)",
                         seed(8, 1, 0.5, evaluations), "]}]}"));
  write_file(path / "table.csv",
             "setting,model,parameters,accuracy,seeds\n" + prefix +
                 "-4,vla,100,0.5000,\"2, 1 failed\"\n" + prefix + "-8,vla,100,0.5000,1\n" + prefix +
                 "-8,deltanet,-,-,not run\n" + prefix + "-8,linear,-,-,not run\n");
  write_file(path / "T-64.json", bench_rows(64, 0.5, 0.25));
  write_file(path / "T-128.json", bench_rows(128, 0.5, 0.75));
}

}  // namespace vla
