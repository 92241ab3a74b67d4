#include "tools/experiments/outcome.hpp"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>

#include "framework/file.hpp"
#include "tools/exit_code.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

fs::path failure_file(const fs::path& result) {
  if (fs::is_directory(result)) return result / "failure.txt";
  return fs::path(result) += ".failure.txt";
}

double number_in(const Metrics& line, const char* name, const fs::path& directory) {
  const auto found = line.more.find(name);
  check(found != line.more.end(), directory.string(), ": the final evaluation has no '", name,
        "'; remove the directory to run it anew");
  return found->second;
}

}  // namespace

std::optional<RunOutcome> run_outcome(const fs::path& directory) {
  if (const std::optional<std::string> failure = kept_failure(directory))
    return RunOutcome{.failure = *failure};
  const RunDirectory run(directory);
  const std::optional<Metrics> line = run.held_out();
  if (!line) return std::nullopt;
  const TrainOptions options = run.options();
  RunOutcome outcome{
      .accuracy = line->accuracy,
      .loss = line->loss,
      .chance = number_in(*line, "chance", directory),
      .steps = line->step,
      .reached = options.until > 0 && line->step < options.steps,
      .seconds = number_in(*line, "seconds", directory),
      .parameters = static_cast<Index>(number_in(*line, "parameters", directory)),
  };
  if (const auto bytes = line->more.find("state_bytes"); bytes != line->more.end())
    outcome.state_bytes = static_cast<Index>(bytes->second);
  return outcome;
}

bool better(const RunOutcome& a, const RunOutcome& b) {
  const auto merit = [](const RunOutcome& run) {
    const bool finished = run.failure.empty();
    const double first = run.reached ? -static_cast<double>(run.steps) : run.accuracy;
    return std::tuple(finished, run.reached, first, run.accuracy, -run.loss);
  };
  return merit(a) > merit(b);
}

std::optional<std::size_t> best_of(const std::vector<RunOutcome>& outcomes) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < outcomes.size(); ++i)
    if (outcomes[i].failure.empty() && (!best || better(outcomes[i], outcomes[*best]))) best = i;
  return best;
}

std::string failure_of(const Children::Ended& ended, const fs::path& log) {
  if (ended.signal != 0)
    return concatenate("ended by signal ", ended.signal, " (", ::strsignal(ended.signal), ")");
  const std::string mark = "vla: ";
  std::string found = concatenate("exit code ", ended.code, ", see ", log.string());
  std::istringstream lines(read_text(log));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(mark)) found = line.substr(mark.size());
  return found;
}

void keep_failure(const fs::path& result, const Children::Ended& ended,
                  const std::string& failure) {
  if (ended.code == kDiverged) write_text(failure_file(result), failure + "\n");
}

std::optional<std::string> kept_failure(const fs::path& result) {
  const fs::path file = failure_file(result);
  if (!fs::exists(file)) return std::nullopt;
  const std::string text = read_text(file);
  return text.substr(0, text.find('\n'));
}

EvaluationOutcome evaluation_outcome(const fs::path& file) {
  const nlohmann::json json = nlohmann::json::parse(read_text(file), nullptr, false);
  const auto number = [&](const char* name) {
    check(json.is_object() && json.contains(name) && json[name].is_number(), file.string(),
          ": no number '", name, "'; remove the file to have it made anew");
    return json[name].get<double>();
  };
  return {number("accuracy"), number("loss"), number("chance")};
}

}  // namespace vla
