// Writes down what the passes over the two kinds of memory see, in one form.
#pragma once

#include <vector>

#include "models/diagnostics.hpp"

namespace vla {

struct DiagnosticsSizes {
  Index batch, time, heads, key, value;
};

/// One token of one sequence and head.
struct DiagnosticsPlace {
  Index b, t, h;
};

/// How S moved at a token: S <- keep (S + e coefficient^T) with e = v - S key.
struct MemoryStep {
  const double* key;          // null: e = v
  const double* coefficient;  // (d), what is left of e by a clip included
  double keep = 1;
  double error_length = 0;  // before a clip
};

/// query (B, T, H, d) over denominator (B, T, H, 1; undefined: 1), both float64. Throws Error for
/// another shape.
Tensor read_vectors(const Var& query, const Var& denominator);

/// A tensor that several threads fill; a default one is not defined and stays so.
struct FilledTensor {
  Tensor tensor;
  double* data = nullptr;  // opening a tensor for writing is not for several threads

  FilledTensor() = default;
  explicit FilledTensor(const Shape& shape)
      : tensor(Tensor::zeros(shape, DType::float64)), data(tensor.mutable_data<double>()) {}
};

/// The tensors of a Diagnostics while they are filled, by several threads for different heads.
class DiagnosticsRecorder {
 public:
  /// Throws Error for options that are not allowed.
  DiagnosticsRecorder(const DiagnosticsSizes& sizes, bool has_penalty,
                      const DiagnosticsOptions& options);

  /// `inverse` is A_t (d, d).
  void penalty(DiagnosticsPlace at, double strength, const std::vector<double>& inverse);
  /// `memory` is S_t (d_v, d), `read` the vector (d) with o_t = S_t read.
  void memory(DiagnosticsPlace at, const MemoryStep& step, const std::vector<double>& memory,
              const double* read);
  /// Everything, with the maps if they were asked for. key (B, T, H, d), undefined: none.
  Diagnostics finish(const Tensor& key) const;

 private:
  Index place(DiagnosticsPlace at) const { return (at.b * n_.time + at.t) * n_.heads + at.h; }
  Tensor times() const;
  Tensor attention(const Tensor& key) const;
  Tensor survival() const;

  DiagnosticsSizes n_;
  DiagnosticsOptions options_;
  FilledTensor eigenvalues_, condition_, inverse_norm_, inverse_, strength_;
  FilledTensor error_norm_, memory_norm_, transition_norm_, transition_radius_;
  FilledTensor read_, coefficient_;  // keep alpha (B, T, H, d): for the maps
  FilledTensor keep_;                // (B, T, H)
};

}  // namespace vla
