#include "models/mixer.hpp"

#include "models/diagnostics.hpp"

namespace vla {

Diagnostics Mixer::diagnose(const Var&, const Tensor&, const DiagnosticsOptions&) {
  fail("diagnose: this mixer has no diagnostics; override Mixer::diagnose");
}

}  // namespace vla
