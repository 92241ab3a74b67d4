#include "tools/children.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <thread>

#include "framework/check.hpp"

namespace vla {
namespace {

constexpr std::array kCaught = {SIGINT, SIGTERM, SIGHUP};
// The first that came, and when which came first, in milliseconds, 0 if it did not.
std::atomic<int> first_signal = 0;
std::array<std::atomic<std::int64_t>, NSIG> came_at;
static_assert(std::atomic<std::int64_t>::is_always_lock_free);  // or a handler could not use it
// What comes twice in so short a time was one request: timeout(1) signals a program and its group.
constexpr std::int64_t kOneRequest = 200;
// What was done about them before, while they are caught.
std::array<struct sigaction, kCaught.size()> before;
bool catching = false;

std::int64_t milliseconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{1000} * now.tv_sec + now.tv_nsec / 1'000'000 + 1;
}

void note_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  std::int64_t first = 0;
  const std::int64_t now = milliseconds_now();
  if (came_at[static_cast<std::size_t>(signal)].compare_exchange_strong(first, now)) return;
  if (now - first < kOneRequest) return;
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void stop_catching() {
  if (!catching) return;
  for (std::size_t i = 0; i < kCaught.size(); ++i) ::sigaction(kCaught[i], &before[i], nullptr);
}

// Of the new process, until it is another program: nothing here may take memory or a lock, which
// another thread might hold for ever.
[[noreturn]] void become(char* const* words, const char* log, pid_t parent) {
  stop_catching();
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // the parent ended before that was set
  const int empty = ::open("/dev/null", O_RDONLY);
  const int file = ::open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (empty < 0 || file < 0 || ::dup2(empty, 0) < 0 || ::dup2(file, 1) < 0 || ::dup2(file, 2) < 0)
    ::_exit(127);
  ::execv(words[0], words);
  ::_exit(127);
}

Children::Ended ended(std::string name, int status) {
  if (WIFSIGNALED(status)) return {std::move(name), 0, WTERMSIG(status)};
  return {std::move(name), WEXITSTATUS(status), 0};
}

}  // namespace

std::filesystem::path this_program() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  check(!error, "cannot find the program itself (/proc/self/exe): ", error.message());
  return path;
}

CatchInterrupts::CatchInterrupts() {
  first_signal = 0;
  for (const int signal : kCaught) came_at[static_cast<std::size_t>(signal)] = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  for (std::size_t i = 0; i < kCaught.size(); ++i) {
    ::sigaction(kCaught[i], nullptr, &before[i]);
    // What is ignored stays so: nohup asks for that.
    if (before[i].sa_handler != SIG_IGN) ::sigaction(kCaught[i], &action, nullptr);
  }
  catching = true;
}

CatchInterrupts::~CatchInterrupts() {
  stop_catching();
  catching = false;
}

int CatchInterrupts::signal() { return first_signal; }

void Children::start(const std::string& name, const std::vector<std::string>& words,
                     const std::filesystem::path& log) {
  std::vector<std::string> copies = words;
  std::vector<char*> pointers;
  for (std::string& word : copies) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  check(child >= 0, "cannot start another process: ", std::strerror(errno));
  if (child == 0) become(pointers.data(), log.c_str(), parent);
  running_[child] = name;
}

std::optional<Children::Ended> Children::wait(std::chrono::milliseconds limit) {
  // Looked for again and again: a signal may go to any thread, so that it need not end a call that
  // waits here. Nobody minds some milliseconds beside a process that takes seconds.
  const auto until = std::chrono::steady_clock::now() + limit;
  do {
    for (auto it = running_.begin(); it != running_.end(); ++it) {
      int status = 0;
      if (::waitpid(it->first, &status, WNOHANG) != it->first) continue;
      Ended result = ended(it->second, status);
      running_.erase(it);
      return result;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  } while (std::chrono::steady_clock::now() < until);
  return std::nullopt;
}

void Children::stop() {
  for (const auto& [child, name] : running_) ::kill(child, SIGTERM);
  for (const auto& [child, name] : running_)
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  running_.clear();
}

bool Children::runs(const std::string& name) const {
  return std::ranges::any_of(running_, [&](const auto& child) { return child.second == name; });
}

ToolEnd run_tool(std::vector<std::string> words, const std::filesystem::path& log,
                 std::chrono::milliseconds limit) {
  constexpr int kNotFound = 127;  // of env
  words.insert(words.begin(), "/usr/bin/env");
  Children children;
  children.start("tool", words, log);
  const std::optional<Children::Ended> ended = children.wait(limit);
  if (!ended) return ToolEnd::late;
  if (ended->code == kNotFound) return ToolEnd::missing;
  return ended->code == 0 && ended->signal == 0 ? ToolEnd::done : ToolEnd::failed;
}

}  // namespace vla
