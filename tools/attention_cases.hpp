// What `vla bench attention` measures: the operators alone, from queries, keys and values to
// outputs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/bench_cases.hpp"

namespace vla {

/// B sequences, H heads, T tokens, width d of keys and values.
struct AttentionShape {
  Index batch = 1, heads = 1, time = 1, width = 1;

  double token_heads() const { return static_cast<double>(batch * heads * time); }
  friend bool operator==(const AttentionShape&, const AttentionShape&) = default;
};

/// "8x16x1024x64": B, H, T, d.
std::string to_text(const AttentionShape& shape);
/// Shapes from such texts with commas between. Throws Error, beginning with `name`, for others.
std::vector<AttentionShape> parse_attention_shapes(const std::string& name,
                                                   const std::string& text);

/// Random numbers (., ., H, d) for inputs of a shape. Drawn for kDrawnTokens tokens of one sequence
/// at most and repeated on the device: to draw them all would take longer than to measure.
class AttentionNumbers {
 public:
  static constexpr Index kDrawnTokens = 1024;

  AttentionNumbers(const AttentionShape& shape, DType dtype, Device device);

  const AttentionShape& shape() const { return shape_; }
  Device device() const { return device_; }
  /// (1, T, H, d), normal, and (1, T, H), uniform in (0, 1); T at most kDrawnTokens, float32 or
  /// float64.
  Var query, key, value, upstream, weight;
  /// (H), in the type of those above.
  Var lambda0;

  /// What was made of them along all tokens of all sequences, as a parameter in the type asked for.
  Var spread(const Var& x) const;

 private:
  AttentionShape shape_;
  DType dtype_;
  Device device_;
};

/// One token after another: what is carried on from what was carried, which is empty at the start
/// of a sequence, after `tokens` tokens.
struct AttentionStep {
  std::vector<Var> inputs;
  std::function<std::vector<Tensor>(const std::vector<Tensor>& carried, Index tokens)> advance;
};

struct AttentionOperator {
  std::string name;
  double (*operations)(const AttentionShape& shape);  ///< forward; a multiply-add counts as two
  double with_backward;  ///< operations of forward and backward together, in those of forward
  Workload (*make)(const AttentionNumbers& numbers);
  AttentionStep (*make_step)(const AttentionNumbers& numbers);  ///< null: what it keeps grows
};

/// vla, deltanet, linear, softmax.
const std::vector<AttentionOperator>& attention_operators();

}  // namespace vla
