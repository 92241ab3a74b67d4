// The published primitives of VLA one by one, for teaching and for tests: small, dense, one
// sequence. The layers use the fused operators instead.
#pragma once

#include "framework/tape.hpp"

namespace vla {

/// s = K q / sqrt(d): the scores of a query (d) against keys (n, d) -> (n).
Var inner_product_score(const Var& keys, const Var& query, CallSite site = CallSite::here());

/// (M + u u^T)^-1 from A = M^-1: A - z z^T / (1 + u.z), z = A u. A (d, d) symmetric, u (d). O(d^2),
/// with the analytic gradient; the gradient of A is symmetric. Throws Error for shapes that do not
/// fit, and where 1 + u.z is 0.
Var sherman_morrison(const Var& inverse, const Var& u, CallSite site = CallSite::here());

/// The same for each row of U (r, d), one after the other.
Var sherman_morrison_updates(const Var& inverse, const Var& directions,
                             CallSite site = CallSite::here());

/// alpha = A s: A (n, n), scores s (n) -> (n).
Var recover_alpha(const Var& inverse, const Var& scores, CallSite site = CallSite::here());

/// What alpha multiplies in a memory update: all of v k^T (one number), its rows (d_v numbers) or
/// its columns (d numbers).
enum class AlphaScales { all, rows, columns };

/// S + alpha (x) (v k^T): S (d_v, d), v (d_v), k (d). Throws Error unless alpha has the size that
/// `scales` asks for.
Var memory_update(const Var& memory, const Var& alpha, const Var& value, const Var& key,
                  AlphaScales scales = AlphaScales::all, CallSite site = CallSite::here());

}  // namespace vla
