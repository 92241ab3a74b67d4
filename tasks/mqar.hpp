// Multi-query associative recall: key value pairs first, then keys to be answered with their value.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tasks/task.hpp"

namespace vla {

/// Which published variant of the task.
///
/// notebook (notebook 07 of the public reference of VLA): k1 v1 .. kn vn, a separator, then
/// queries. Keys are distinct, values drawn with replacement, both from 0 .. vocabulary-2; the
/// separator is vocabulary-1, at position 2n. Every place after it holds a key drawn with
/// replacement, whose value is the target there.
///
/// zoology (Arora et al., "Zoology: Measuring and improving recall in efficient language models",
/// ICLR 2024, `multiquery_ar`): keys from 1 .. vocabulary/2-1, values from vocabulary/2 ..
/// vocabulary-1, both distinct; the context k1 v1 .. kn vn is shown `passes` times. What follows is
/// a grid of places two apart; every key is asked once, at a place drawn without replacement, the
/// i-th of the grid with weight i^(power-1). All other places hold filler.
///
/// zoology_mix: examples of the zoology form in the five sizes of kZoologySizes, which are
/// Zoology's training set; shorter ones end in token 0.
enum class MqarForm { notebook, zoology, zoology_mix };

/// A size of examples and how many of them there are, in thousands.
struct ZoologySize {
  Index length, pairs, share;
};
/// Source: figure 2 of Arora et al., "Simple linear attention language models balance the
/// recall-throughput tradeoff", 2024, and Zoology's repository.
inline constexpr ZoologySize kZoologySizes[] = {
    {64, 4, 100}, {128, 8, 20}, {256, 16, 20}, {256, 32, 20}, {256, 64, 20}};

/// "notebook", "zoology" or "zoology-mix"; Error for another name.
MqarForm parse_mqar_form(std::string_view name);

/// Settings of Mqar.
struct MqarOptions {
  MqarForm form = MqarForm::notebook;
  Index pairs = 8;  ///< n; zoology_mix: no matter
  Index vocabulary = 128;
  /// T; 0: 3n+1 (notebook), the context and 6n more (zoology), or 256 (zoology_mix)
  Index length = 0;
  double power = 0.01;  ///< zoology: 1 spreads the queries evenly, 0.01 puts most of them early
  Index passes = 1;     ///< zoology: how often the context is shown; zoology_mix: 1
  bool random_filler = true;  ///< zoology: filler is any token; otherwise token 0
};

/// Multi-query associative recall (see MqarForm).
class Mqar : public Task {
 public:
  /// Throws Error for settings that leave no room for the keys, the values or the queries.
  explicit Mqar(const MqarOptions& options = {});

  Index vocabulary() const override { return options_.vocabulary; }
  Index length() const override { return options_.length; }
  /// The expected accuracy of the best guess that sees which values are in the context, but not
  /// which key each belongs to. notebook: the most frequent value of the context, so the expected
  /// count of the most frequent of n draws out of vocabulary-1, over n (a little above 1/n).
  /// zoology: any of the n distinct values, 1/n. zoology_mix: the same, over all targets.
  double chance() const override;
  Batch sample(Index size, Rng& rng) const override;

  /// The settings, with the length that was chosen.
  const MqarOptions& options() const { return options_; }

 private:
  void check_notebook() const;
  void check_zoology(Index pairs, Index length) const;
  void sample_notebook(std::span<Index> tokens, std::span<Index> targets, Rng& rng) const;
  void sample_zoology(Index pairs, std::span<Index> tokens, std::span<Index> targets,
                      Rng& rng) const;
  void sample_mix(std::span<Index> tokens, std::span<Index> targets, Rng& rng) const;

  MqarOptions options_;
};

}  // namespace vla
