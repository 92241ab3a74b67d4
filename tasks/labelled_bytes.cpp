#include "tasks/labelled_bytes.hpp"

#include <algorithm>

#include "framework/checksum.hpp"
#include "tasks/chance.hpp"
#include "tasks/epochs.hpp"

namespace vla {

void write_bytes(Bytes bytes, std::span<Index> tokens) {
  std::ranges::transform(bytes, tokens.last(bytes.size()).begin(),
                         [](std::uint8_t byte) { return Index{byte} + 1; });
}

Bytes LabelledBytes::part(Index example, Index part) const {
  check(example >= 0 && example < size() && part >= 0 && part < parts_,
        "labelled bytes: there is no part ", part, " of example ", example, "; ", parts_,
        " parts of ", size());
  const auto place = static_cast<std::size_t>(example * parts_ + part);
  const std::size_t start = place == 0 ? 0 : ends_[place - 1];
  return Bytes(bytes_).subspan(start, ends_[place] - start);
}

Index LabelledBytes::label(Index example) const {
  check(example >= 0 && example < size(), "labelled bytes: there is no example ", example, " of ",
        size());
  return labels_[static_cast<std::size_t>(example)];
}

void LabelledBytes::add(std::initializer_list<Bytes> parts, Index label) {
  check(static_cast<Index>(parts.size()) == parts_ && label >= 0 && label < 256,
        "labelled bytes: ", parts.size(), " parts of class ", label, "; expected ", parts_,
        " and a class of 0 to 255");
  for (const Bytes part : parts) {
    bytes_.insert(bytes_.end(), part.begin(), part.end());
    ends_.push_back(bytes_.size());
  }
  labels_.push_back(static_cast<std::uint8_t>(label));
}

std::string LabelledBytes::fingerprint() const {
  const auto of = [](const auto& values) { return checksum(std::as_bytes(std::span(values))); };
  return concatenate(size(), " examples of ", bytes_.size(), " bytes, checksum ",
                     of(bytes_) ^ of(labels_) ^ of(ends_));
}

LabelledBytesTask::LabelledBytesTask(std::string name, Index classes, Index length,
                                     LabelledSets sets)
    : name_(std::move(name)),
      classes_(classes),
      length_(length),
      sets_(std::move(sets)),
      fingerprint_(sets_.training.fingerprint()) {}

double LabelledBytesTask::chance() const {
  std::vector<Index> training(static_cast<std::size_t>(classes_)), held_out(training);
  const auto count = [](const LabelledBytes& set, std::vector<Index>& counts) {
    for (Index i = 0; i < set.size(); ++i) ++counts[static_cast<std::size_t>(set.label(i))];
  };
  count(sets_.training, training);
  count(sets_.held_out, held_out);
  return guess_share(training, held_out);
}

Batch LabelledBytesTask::draw(const LabelledBytes& set, Index size, Rng& rng) const {
  return write_batch(name_, size, length_, [&](auto tokens, auto targets) {
    const Index example = next_of_epoch(set.size(), rng);
    const std::size_t stretch = tokens.size() / static_cast<std::size_t>(set.parts());
    for (Index p = 0; p < set.parts(); ++p)
      write_bytes(set.part(example, p),
                  tokens.subspan(static_cast<std::size_t>(p) * stretch, stretch));
    targets.back() = kByteTokens + set.label(example);
  });
}

}  // namespace vla
