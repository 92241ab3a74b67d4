// Where a long command says how far it is.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>

namespace vla {

/// One line, rewritten in place on a terminal; elsewhere every report is a line of its own.
class Progress {
 public:
  Progress(std::ostream& out, bool terminal) : out_(out), terminal_(terminal) {}
  /// Ends the line that is being rewritten.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// For people who watch: shown on a terminal, ten times a second at most.
  void update(const std::string& line);
  /// Worth keeping: shown always.
  void report(const std::string& line);
  /// A line that stays, also on a terminal.
  void say(const std::string& line);

 private:
  void rewrite(const std::string& line);

  std::ostream& out_;
  bool terminal_;
  bool open_ = false;  // the cursor is on a line that is being rewritten
  std::chrono::steady_clock::time_point shown_{};
};

/// "0:07", "12:30", "1:02:03".
std::string clock_text(double seconds);

}  // namespace vla
