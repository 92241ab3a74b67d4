#include "tools/experiments/driver.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <map>
#include <ostream>

#include "framework/file.hpp"
#include "tools/experiments/table.hpp"
#include "tools/progress.hpp"
#include "tools/stopwatch.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

constexpr double kSecondsBetweenTables = 30;

// One child process.
struct Job {
  std::string label;
  fs::path result;     // what it makes: the directory of a run, or a file
  fs::path directory;  // where its log is
  std::function<Words()> command;
  bool trains = false;
};

// So that two programs do not work in one directory; the system ends the lock with the program.
class Lock {
 public:
  explicit Lock(const fs::path& directory) {
    make_folder(directory);
    const fs::path path = directory / "lock";
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    check(descriptor_ >= 0, "cannot write ", path.string());
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      fail("another vla experiment is at work in ", directory.string());
    }
  }
  ~Lock() { ::close(descriptor_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_ = -1;
};

using OutcomeOf = std::function<std::optional<RunOutcome>(const ExperimentRun&)>;

// What is missing of a row: the search of a rate, then the seeds at the best one, then evaluations.
// It follows from what is there, so that an experiment that goes on needs no memory of its own.
// With `later` also what must wait for the search or for a training, at the rate BEST if it is not
// known yet; without, what can be begun now.
void add_jobs(const ExperimentPlan& plan, const ExperimentCell& cell, const OutcomeOf& outcome_of,
              bool later, std::vector<Job>& jobs) {
  const auto train = [&](const ExperimentRun& run) {
    jobs.push_back({run.label, run.directory, run.directory,
                    [&plan, run] { return plan.train_command(run); }, true});
  };
  std::vector<RunOutcome> outcomes;
  for (const ExperimentRun& run : plan.search(cell))
    if (const std::optional<RunOutcome> outcome = outcome_of(run))
      outcomes.push_back(*outcome);
    else
      train(run);
  const bool searched = outcomes.size() == cell.group->rates.size();
  const std::optional<std::size_t> best = best_of(outcomes);
  if (searched ? !best : !later) return;
  const std::vector<ExperimentRun> repeats =
      plan.repeats(cell, searched ? rate_text(cell.group->rates[*best]) : "BEST");
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    const ExperimentRun& run = repeats[i];
    const std::optional<RunOutcome> outcome = outcome_of(run);
    if (!outcome && i > 0) train(run);  // the first is one of the search
    if (outcome ? !outcome->failure.empty() : !later) continue;
    for (const NamedWords& evaluation : cell.group->evaluations)
      if (const fs::path file = plan.evaluation_file(run, evaluation);
          !fs::exists(file) && !kept_failure(file))
        jobs.push_back(
            {run.label + ", at " + evaluation.name, file, run.directory,
             [&plan, run, evaluation] { return plan.evaluation_command(run, evaluation); }});
  }
}

void add_measurements(const ExperimentPlan& plan, std::vector<Job>& jobs) {
  for (const Measurement& one : plan.measurements()) {
    const fs::path file = plan.measurement_file(one);
    if (fs::exists(file) || kept_failure(file)) continue;
    std::string label = one.setting;
    for (const std::string& word : {one.model, one.variant})
      if (!word.empty()) label += " " + word;
    jobs.push_back(
        {label, file, file.parent_path(), [&plan, one] { return plan.measurement_command(one); }});
  }
}

class Driver {
 public:
  Driver(const ExperimentPlan& plan, std::ostream& out) : plan_(plan), out_(out) {}

  bool run();

 private:
  /// The first thing that can be begun now.
  std::optional<Job> next();
  std::optional<RunOutcome> outcome(const ExperimentRun& run);
  void start(const Job& job);
  void ended(const Children::Ended& child);

  const ExperimentPlan& plan_;
  std::ostream& out_;
  std::size_t remaining_ = 0, ended_ = 0;  // of the commands at the start
  Children children_;
  std::map<std::string, Job> running_;           // by their result
  std::map<std::string, RunOutcome> outcomes_;   // of runs at their end, by directory
  std::map<std::string, std::string> failures_;  // of this call, by result
};

// Outcomes do not change, so each is read once.
std::optional<RunOutcome> Driver::outcome(const ExperimentRun& run) {
  const std::string key = run.directory.string();
  if (const auto known = outcomes_.find(key); known != outcomes_.end()) return known->second;
  if (running_.contains(key)) return std::nullopt;
  std::optional<RunOutcome> found;
  if (const auto failed = failures_.find(key); failed != failures_.end())
    found = RunOutcome{.failure = failed->second};
  else
    found = plan_.outcome(run);
  if (found) outcomes_.emplace(key, *found);
  return found;
}

std::optional<Job> Driver::next() {
  const auto first_of = [&](const std::vector<Job>& jobs) -> std::optional<Job> {
    for (const Job& job : jobs) {
      const std::string key = job.result.string();
      if (!running_.contains(key) && !failures_.contains(key)) return job;
    }
    return std::nullopt;
  };
  std::vector<Job> jobs;
  for (const ExperimentCell& cell : plan_.cells()) {
    jobs.clear();
    add_jobs(
        plan_, cell, [this](const ExperimentRun& run) { return outcome(run); }, false, jobs);
    if (const std::optional<Job> job = first_of(jobs)) return job;
  }
  jobs.clear();
  add_measurements(plan_, jobs);
  return first_of(jobs);
}

void Driver::start(const Job& job) {
  make_folder(job.directory);
  const std::string key = job.result.string();
  children_.start(key, job.command(), job.directory / "log.txt");
  running_.emplace(key, job);
}

void Driver::ended(const Children::Ended& child) {
  const Job job = running_.extract(child.name).mapped();
  std::string came = "done";
  if (child.code != 0 || child.signal != 0) {
    const std::string failure = failure_of(child, job.directory / "log.txt");
    failures_[child.name] = failure;
    keep_failure(job.result, child, failure);
    came = "failed: " + failure;
  } else if (job.trains) {
    const std::optional<RunOutcome> outcome = run_outcome(job.directory);
    check(outcome.has_value(), job.directory.string(), " has no result, though its run ended well");
    came = fmt::format("accuracy {:.4f} after {} steps in {}", outcome->accuracy, outcome->steps,
                       clock_text(outcome->seconds));
  } else {
    fs::rename(unfinished(job.result), job.result);
    if (plan_.measurements().empty())
      came = fmt::format("accuracy {:.4f}", evaluation_outcome(job.result).accuracy);
  }
  out_ << fmt::format("[{}/{}] {}: {}", ++ended_, remaining_, job.label, came) << std::endl;
}

bool Driver::run() {
  const Lock lock(plan_.directory());
  remaining_ = remaining_commands(plan_).size();
  const CatchInterrupts catching;
  Stopwatch since_written;
  double unwritten = 0;
  while (!CatchInterrupts::interrupted()) {
    while (static_cast<Index>(children_.count()) < plan_.jobs()) {
      const std::optional<Job> job = next();
      if (!job) break;
      start(*job);
    }
    if (children_.count() == 0) break;
    if (const auto child = children_.wait(std::chrono::milliseconds(200))) {
      if (CatchInterrupts::interrupted()) break;  // Ctrl-C reaches the children too
      ended(*child);
    }
    // For those who look before the end.
    if (unwritten += since_written.lap(); unwritten > kSecondsBetweenTables) {
      write_results(plan_, failures_);
      unwritten = 0;
    }
  }
  children_.stop();
  out_ << write_results(plan_, failures_);
  if (CatchInterrupts::interrupted())
    out_ << "interrupted; the same command goes on from here" << std::endl;
  bool final = true;
  for (const auto& [result, failure] : failures_) final = final && kept_failure(result);
  return final && !CatchInterrupts::interrupted();
}

}  // namespace

std::vector<Words> remaining_commands(const ExperimentPlan& plan) {
  std::vector<Job> jobs;
  for (const ExperimentCell& cell : plan.cells())
    add_jobs(
        plan, cell, [&](const ExperimentRun& run) { return plan.outcome(run); }, true, jobs);
  add_measurements(plan, jobs);
  std::vector<Words> commands;
  for (const Job& job : jobs) commands.push_back(job.command());
  return commands;
}

bool run_experiment(const ExperimentPlan& plan, std::ostream& out) {
  return Driver(plan, out).run();
}

}  // namespace vla
