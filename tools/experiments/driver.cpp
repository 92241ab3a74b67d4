#include "tools/experiments/driver.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <ostream>

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
  Words words;
  bool trains = false;
};

// So that two programs do not work in one directory; the system ends the lock with the program.
class Lock {
 public:
  explicit Lock(const fs::path& directory) {
    std::error_code error;
    fs::create_directories(directory, error);
    check(!error, "cannot make the directory ", directory.string(), ": ", error.message());
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

class Driver {
 public:
  Driver(const ExperimentPlan& plan, std::ostream& out) : plan_(plan), out_(out) {}

  bool run();

 private:
  /// The first thing that can be begun now.
  std::optional<Job> next();
  void add_jobs_of(const ExperimentCell& cell, std::vector<Job>& jobs);
  bool add_run(const ExperimentRun& run, std::vector<Job>& jobs);
  void add_evaluation(const ExperimentRun& run, const NamedWords& evaluation,
                      std::vector<Job>& jobs);
  const RunOutcome* outcome(const ExperimentRun& run);
  void start(const Job& job);
  void ended(const Children::Ended& child);
  bool begun_or_failed(const fs::path& result) const;

  const ExperimentPlan& plan_;
  std::ostream& out_;
  std::size_t remaining_ = 0, ended_ = 0;  // of the commands at the start
  Children children_;
  std::map<std::string, Job> running_;           // by their result
  std::map<std::string, RunOutcome> outcomes_;   // of runs at their end, by directory
  std::map<std::string, std::string> failures_;  // of this call, by result
};

// Outcomes do not change, so each is read once.
const RunOutcome* Driver::outcome(const ExperimentRun& run) {
  const std::string key = run.directory.string();
  const auto known = outcomes_.find(key);
  if (known != outcomes_.end()) return &known->second;
  if (const auto failed = failures_.find(key); failed != failures_.end())
    return &outcomes_.emplace(key, RunOutcome{.failure = failed->second}).first->second;
  if (running_.contains(key)) return nullptr;
  const std::optional<RunOutcome> found = plan_.outcome(run);
  return found ? &outcomes_.emplace(key, *found).first->second : nullptr;
}

bool Driver::begun_or_failed(const fs::path& result) const {
  return running_.contains(result.string()) || failures_.contains(result.string());
}

// Returns whether the run is at its end.
bool Driver::add_run(const ExperimentRun& run, std::vector<Job>& jobs) {
  if (outcome(run) != nullptr) return true;
  if (!begun_or_failed(run.directory))
    jobs.push_back({run.label, run.directory, run.directory, plan_.train_command(run), true});
  return false;
}

void Driver::add_evaluation(const ExperimentRun& run, const NamedWords& evaluation,
                            std::vector<Job>& jobs) {
  const fs::path file = plan_.evaluation_file(run, evaluation);
  if (!fs::exists(file) && !kept_failure(file) && !begun_or_failed(file))
    jobs.push_back({run.label + ", at " + evaluation.name, file, run.directory,
                    plan_.evaluation_command(run, evaluation)});
}

// The search of a rate, then the seeds at the best one, then evaluations: what can be begun follows
// from what is there, so that an experiment that goes on needs no memory of its own.
void Driver::add_jobs_of(const ExperimentCell& cell, std::vector<Job>& jobs) {
  std::vector<RunOutcome> outcomes;
  for (const ExperimentRun& run : plan_.search(cell))
    if (add_run(run, jobs)) outcomes.push_back(*outcome(run));
  if (outcomes.size() < cell.group->rates.size()) return;
  const std::optional<std::size_t> best = best_of(outcomes);
  if (!best) return;
  for (const ExperimentRun& run : plan_.repeats(cell, rate_text(cell.group->rates[*best])))
    if (add_run(run, jobs) && outcome(run)->failure.empty())
      for (const NamedWords& evaluation : cell.group->evaluations)
        add_evaluation(run, evaluation, jobs);
}

std::optional<Job> Driver::next() {
  for (const ExperimentCell& cell : plan_.cells()) {
    std::vector<Job> jobs;
    add_jobs_of(cell, jobs);
    if (!jobs.empty()) return jobs.front();
  }
  for (const NamedWords& bench : plan_.benches())
    if (const fs::path file = plan_.bench_file(bench); !fs::exists(file) && !begun_or_failed(file))
      return Job{bench.name, file, plan_.directory(), plan_.bench_command(bench)};
  return std::nullopt;
}

void Driver::start(const Job& job) {
  std::error_code error;
  fs::create_directories(job.directory, error);
  check(!error, "cannot make the directory ", job.directory.string(), ": ", error.message());
  const std::string key = job.result.string();
  children_.start(key, job.words, job.directory / "log.txt");
  running_.emplace(key, job);
}

void Driver::ended(const Children::Ended& child) {
  const Job job = running_.extract(child.name).mapped();
  std::string came = "done";
  if (child.code != 0 || child.signal != 0) {
    const std::string failure = failure_of(child, job.directory / "log.txt");
    failures_[child.name] = failure;
    keep_failure(job.result, failure);
    came = "failed: " + failure;
  } else if (job.trains) {
    const std::optional<RunOutcome> outcome = run_outcome(job.directory);
    check(outcome.has_value(), job.directory.string(), " has no result, though its run ended well");
    came = fmt::format("accuracy {:.4f} after {} steps in {}", outcome->accuracy, outcome->steps,
                       clock_text(outcome->seconds));
  } else {
    fs::rename(unfinished(job.result), job.result);
    if (plan_.benches().empty())
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
  std::vector<Words> commands;
  for (const ExperimentCell& cell : plan.cells()) {
    std::vector<RunOutcome> outcomes;
    for (const ExperimentRun& run : plan.search(cell)) {
      if (const std::optional<RunOutcome> outcome = plan.outcome(run))
        outcomes.push_back(*outcome);
      else
        commands.push_back(plan.train_command(run));
    }
    const bool searched = outcomes.size() == cell.group->rates.size();
    const std::optional<std::size_t> best = best_of(outcomes);
    if (searched && !best) continue;
    const std::string rate = searched ? rate_text(cell.group->rates[*best]) : "BEST";
    const std::vector<ExperimentRun> repeats = plan.repeats(cell, rate);
    for (std::size_t i = 1; i < repeats.size(); ++i)  // the first is one of the search
      if (!plan.outcome(repeats[i])) commands.push_back(plan.train_command(repeats[i]));
    for (const ExperimentRun& run : repeats) {
      if (kept_failure(run.directory)) continue;
      for (const NamedWords& evaluation : cell.group->evaluations)
        if (const fs::path file = plan.evaluation_file(run, evaluation);
            !fs::exists(file) && !kept_failure(file))
          commands.push_back(plan.evaluation_command(run, evaluation));
    }
  }
  for (const NamedWords& bench : plan.benches())
    if (!fs::exists(plan.bench_file(bench))) commands.push_back(plan.bench_command(bench));
  return commands;
}

bool run_experiment(const ExperimentPlan& plan, std::ostream& out) {
  return Driver(plan, out).run();
}

}  // namespace vla
