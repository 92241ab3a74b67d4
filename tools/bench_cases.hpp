// What `vla bench` measures: operators and layers, a row for each form they have.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/tape.hpp"

namespace vla {

/// The sizes that every case is made in.
struct BenchShape {
  Index batch = 8;
  Index time = 1024;
  Index heads = 4;
  Index width = 128;  ///< of a layer
  DType dtype = DType::float32;
  Device device = {};

  /// d and d_v of a head.
  Index head_width() const { return width / heads; }
};

/// A computation and what it reads. The inputs are parameters: a tape gives a gradient for each.
struct Workload {
  std::vector<Var> inputs;
  std::function<Var()> forward;
};

/// Operations of exact VLA's two operators together, forward, in d^2 per token and head: about 10
/// d^2 multiply-adds in chunks. Each alone counts as half of it, and a backward pass as three
/// times.
inline constexpr double kVlaOperations = 20;
inline constexpr double kOperationsWithBackward = 4;

struct BenchCase {
  std::string name;
  std::string form;       ///< step or chunk; whole: there is no choice
  double operations = 0;  ///< forward, in d^2 per token and head; 0: not counted
  std::function<Workload(const BenchShape&)> make;
};

/// Exact VLA's two operators (math of models/vla/README.md), each alone, with two vectors a token,
/// and both together as the layer has them.
std::vector<BenchCase> bench_operators();
/// Every mixer that can be asked for by name, with its projections, and vla-v3 without the nudge:
/// the published versions have a chunk form only where no stabiliser is on.
std::vector<BenchCase> bench_layers();

}  // namespace vla
