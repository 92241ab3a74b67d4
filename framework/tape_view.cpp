#include "framework/tape_view.hpp"

#include "framework/tape.hpp"

namespace vla {
namespace {

std::size_t bytes_of(const std::vector<Tensor>& tensors) {
  std::size_t sum = 0;
  for (const Tensor& tensor : tensors) sum += tensor.defined() ? tensor.bytes() : 0;
  return sum;
}

}  // namespace

std::size_t Tape::saved_bytes() const {
  std::size_t sum = 0;
  for (const Node& node : nodes_) sum += bytes_of(node.saved);
  return sum;
}

TapeView Tape::view() const {
  check(!walked_, "view: this tape was walked; look at it before backward");
  TapeView view;
  for (const Slot& slot : slots_)
    view.values.push_back(
        {slot.kept.defined() && slot.kept.is_result() ? ValueView::Kind::outer
                                                      : ValueView::Kind::parameter,
         slot.kept.defined() ? slot.kept.name() : "", slot.shape, slot.dtype, slot.device});
  for (const Node& node : nodes_) {
    NodeView seen{node.name, node.site, node.inputs, {}, bytes_of(node.saved)};
    for (int i = 0; i < node.outputs; ++i) {
      seen.outputs.push_back(node.first_output + i);
      view.values[static_cast<std::size_t>(seen.outputs.back())].kind = ValueView::Kind::result;
    }
    view.nodes.push_back(std::move(seen));
  }
  for (const auto& [node, input, constant] : constants_) {
    view.nodes[node].inputs[input] = static_cast<int>(view.values.size());
    view.values.push_back(constant);
  }
  return view;
}

}  // namespace vla
