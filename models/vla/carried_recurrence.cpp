#include "models/vla/carried_recurrence.hpp"

#include "models/carried.hpp"

namespace vla {

StabilizedResult carried_recurrence(StabilizedInputs in, const StabilizedOptions& options,
                                    OperatorForm form, const Carry& carry) {
  const Shape &q = in.query.shape(), &v = in.value.shape();
  if (carry.tokens() > 0) {
    const Index batch = q[0], heads = q[2];
    const DType dtype = state_dtype(in.query.dtype());
    const Device device = in.query.device();
    in.initial_inverse = carry.take("inverse", {batch, heads, q[-1], q[-1]}, dtype, device);
    in.initial_memory = carry.take("memory", {batch, heads, v[-1], q[-1]}, dtype, device);
    // Without symbolic directions every token is one update.
    in.initial_updates =
        Tensor::full({batch}, static_cast<double>(carry.tokens()), DType::int64, device);
    form = OperatorForm::step;  // the chunk form starts from A = I / lambda0
  }
  const StabilizedResult result = stabilized_recurrence(in, options, form);
  carry.leave("inverse", result.inverse);
  carry.leave("memory", result.memory);
  return result;
}

}  // namespace vla
