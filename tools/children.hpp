// Programs that run beside this one, several at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vla {

/// The path of the program that is running.
std::filesystem::path this_program();

/// While it lives, Ctrl-C and requests to end (SIGINT, SIGTERM, SIGHUP) do not end the program, but
/// can be asked for; a second of the same ends it at once. One at a time.
class CatchInterrupts {
 public:
  CatchInterrupts();
  ~CatchInterrupts();
  CatchInterrupts(const CatchInterrupts&) = delete;
  CatchInterrupts& operator=(const CatchInterrupts&) = delete;

  /// The first signal that the last of them caught, 0 if none.
  static int signal();
  static bool interrupted() { return signal() != 0; }
};

/// Child processes. They end with this program, however it ends.
class Children {
 public:
  Children() = default;
  /// Stops those that still run.
  ~Children() { stop(); }
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  /// Starts the program words[0] with what it prints appended to the file `log`. Throws Error if
  /// there can be no further process.
  void start(const std::string& name, const std::vector<std::string>& words,
             const std::filesystem::path& log);

  struct Ended {
    std::string name;
    int code = 0;    ///< its exit code, if it ended by itself
    int signal = 0;  ///< otherwise what ended it
  };
  /// The next that ends, or nothing once so much time has passed.
  std::optional<Ended> wait(std::chrono::milliseconds limit);
  /// Asks all to end, and waits until they have.
  void stop();

  std::size_t count() const { return running_.size(); }
  bool runs(const std::string& name) const;

 private:
  std::map<pid_t, std::string> running_;
};

/// How a program came out that was run to its end.
enum class ToolEnd {
  done,
  failed,   ///< with a code or by a signal; what it printed may say why
  missing,  ///< it is not on the PATH
  late      ///< it took longer than it may, and was stopped
};
/// Runs the program words[0], as found on the PATH, with what it prints appended to the file `log`.
ToolEnd run_tool(std::vector<std::string> words, const std::filesystem::path& log,
                 std::chrono::milliseconds limit);

}  // namespace vla
