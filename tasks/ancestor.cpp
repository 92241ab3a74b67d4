#include "tasks/ancestor.hpp"

#include <algorithm>
#include <vector>

namespace vla {
namespace {

constexpr Index kFactTokens = 6;

// Appends tokens to a sequence.
class Writer {
 public:
  explicit Writer(std::span<Index> rest) : rest_(rest) {}
  void write(std::initializer_list<Index> tokens) {
    std::ranges::copy(tokens, rest_.begin());
    rest_ = rest_.subspan(tokens.size());
  }

 private:
  std::span<Index> rest_;
};

}  // namespace

Ancestor::Ancestor(const AncestorOptions& options) : options_(options) {
  auto& [vocabulary, chain, shortest_chain, held_out_chain] = options_;
  check_task_setting("ancestor", "vocabulary", vocabulary, kFirstEntity + 2, kLargestVocabulary);
  const Index most = vocabulary - kFirstEntity - 1;  // a chain has one entity more than facts
  check_task_setting("ancestor", "chain", chain, 1, most);
  if (shortest_chain == 0) shortest_chain = chain;
  check_task_setting("ancestor", "shortest-chain", shortest_chain, 1, chain);
  check_task_setting("ancestor", "held-out-chain", held_out_chain, 0, most);
}

Index Ancestor::length() const {
  return kFactTokens * (std::max(options_.chain, options_.held_out_chain) + 1);
}

Batch Ancestor::sample(Index size, Rng& rng) const {
  return sample_chains(options_.shortest_chain, options_.chain, size, rng);
}

Batch Ancestor::sample_held_out(Index size, Rng& rng) const {
  const Index facts = options_.held_out_chain;
  return sample_chains(facts == 0 ? options_.shortest_chain : facts,
                       facts == 0 ? options_.chain : facts, size, rng);
}

Batch Ancestor::sample_chains(Index shortest, Index longest, Index size, Rng& rng) const {
  return write_batch("ancestor", size, length(), [&](auto tokens, auto targets) {
    const Index facts = shortest + rng.below(longest - shortest + 1);
    std::vector<Index> chain = rng.distinct(facts + 1, options_.vocabulary - kFirstEntity);
    for (Index& entity : chain) entity += kFirstEntity;
    const auto at = [&](Index place) { return chain[static_cast<std::size_t>(place)]; };
    Writer writer(tokens.last(static_cast<std::size_t>(kFactTokens * (facts + 1))));
    for (const Index fact : rng.distinct(facts, facts))
      writer.write({at(fact), kIs, kAncestor, kOf, at(fact + 1), kSeparator});
    std::vector<Index> asked = rng.distinct(2, facts + 1);
    writer.write({kQuery, at(asked[0]), kIs, kAncestor, kOf, at(asked[1])});
    targets.back() = asked[0] < asked[1] ? kTrue : kFalse;
  });
}

Tensor Ancestor::relations(const Tensor& tokens, DType dtype) const {
  check(tokens.rank() == 2, "ancestor: tokens have shape ", tokens.shape(), "; (B, T) is needed");
  const Index batch = tokens.size(0), time = tokens.size(1);
  const Index* token = tokens.values<Index>().data();
  Tensor result = Tensor::zeros({batch, time, time}, dtype);
  dispatch_floating(dtype, "ancestor", [&](auto zero) {
    auto* related = result.mutable_data<decltype(zero)>();
    for (Index i = 0; i < batch * time; ++i)
      for (Index j = 0; j < time; ++j)
        if (token[i] >= kFirstEntity && token[i] == token[i / time * time + j])
          related[i * time + j] = 1;
  });
  return result;
}

}  // namespace vla
