// The directory of a training run: config.json, metrics.jsonl, checkpoint.safetensors, and where
// they are kept checkpoint-STEP.safetensors and best.safetensors.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/settings.hpp"

namespace vla {

/// A line of metrics.jsonl. A report during training (split "train") has the mean training loss
/// since the report before, and the accuracy on a fixed held-out set. The last line of a finished
/// run (split "held-out") has both from fresh examples.
struct Metrics {
  std::string split = "train";
  Index step = 0;  ///< steps taken so far
  double loss = 0;
  double accuracy = 0;
  double tokens_per_second = 0;  ///< of training alone: since the last report, or in this session
  std::map<std::string, double> more;  ///< further numbers by name

  bool held_out() const { return split == "held-out"; }
};

/// A run's files. Every function throws Error, naming the file, when reading or writing fails.
class RunDirectory {
 public:
  /// The directory itself, or a checkpoint in it, FOLDER/NAME.safetensors.
  explicit RunDirectory(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  /// The checkpoint to read: the one that was named, or else the last.
  const std::filesystem::path& checkpoint() const { return checkpoint_; }
  /// Whether one was named.
  bool names_checkpoint() const { return checkpoint_ != last_checkpoint(); }
  /// The checkpoint to write.
  std::filesystem::path last_checkpoint() const { return path_ / "checkpoint.safetensors"; }
  std::filesystem::path best_checkpoint() const { return path_ / "best.safetensors"; }
  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }

  /// Throws Error if something is there that a new run would overwrite. With `force` only what is
  /// not a directory is in the way.
  void check_free(bool force) const;
  /// Gives the last checkpoint a second name, that of its step, and removes all such names but
  /// those of the last `count` saves.
  void keep_last(Index step, Index count) const;
  /// Makes a checkpoint of the run the best one too.
  void keep_best(const std::filesystem::path& checkpoint) const;
  /// The checkpoints with a step in their name, the latest save first.
  std::vector<std::filesystem::path> kept() const;

  /// Makes the directory, removes the files of an earlier run and writes config.json.
  void create(const TrainOptions& options) const;

  TrainOptions options() const;
  std::vector<Metrics> metrics() const;
  /// The line of the final evaluation, once there is one.
  std::optional<Metrics> held_out() const;
  void append(const Metrics& line) const;
  /// Waits until the lines are safely on disk, so that no checkpoint is there without those before
  /// it.
  void sync_metrics() const;
  /// Keeps the reports up to `step`: a run that goes on from there makes the others again.
  void keep_metrics_until(Index step) const;

 private:
  std::filesystem::path config_path() const { return path_ / "config.json"; }

  std::filesystem::path path_, checkpoint_;
};

}  // namespace vla
