// The program gnuplot, which draws.
#pragma once

#include <filesystem>
#include <string>

namespace vla {

/// Draws in a temporary folder of its own.
class Gnuplot {
 public:
  /// Makes that folder in `folder`. Throws Error if gnuplot cannot be run.
  explicit Gnuplot(const std::filesystem::path& folder);
  ~Gnuplot();
  Gnuplot(const Gnuplot&) = delete;
  Gnuplot& operator=(const Gnuplot&) = delete;

  /// What a script without terminal and output draws: an <svg> element whose ids begin with `name`.
  /// Throws Error with gnuplot's reason if it fails.
  std::string svg(const std::string& script, const std::string& name, int width, int height) const;

 private:
  void run(const std::string& script) const;

  std::filesystem::path folder_;
};

/// A text as a word of a gnuplot script.
std::string gnuplot_text(const std::string& text);

}  // namespace vla
