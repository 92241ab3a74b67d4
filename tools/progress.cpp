#include "tools/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace vla {

Progress::~Progress() {
  if (open_) out_ << std::endl;
}

void Progress::update(const std::string& line) {
  using namespace std::chrono_literals;
  if (terminal_ && std::chrono::steady_clock::now() - shown_ >= 100ms) rewrite(line);
}

void Progress::report(const std::string& line) {
  if (terminal_)
    rewrite(line);
  else
    out_ << line << std::endl;
}

void Progress::say(const std::string& line) {
  if (open_) out_ << '\n';
  open_ = false;
  out_ << line << std::endl;
}

void Progress::rewrite(const std::string& line) {
  out_ << '\r' << line << "\x1b[K" << std::flush;  // the sequence clears the rest of the line
  open_ = true;
  shown_ = std::chrono::steady_clock::now();
}

std::string clock_text(double seconds) {
  const long total = std::lround(std::clamp(seconds, 0.0, 1e9));
  const long hours = total / 3600, minutes = total / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60)
                   : fmt::format("{}:{:02}", minutes, total % 60);
}

}  // namespace vla
