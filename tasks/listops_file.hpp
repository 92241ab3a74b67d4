// ListOps on disk, as LRA has it: basic_train.tsv, basic_val.tsv and basic_test.tsv in a folder.
#pragma once

#include <filesystem>
#include <vector>

#include "tasks/listops_expression.hpp"

namespace vla {

/// Expressions, one after the other in one block of memory.
class ListOpsSet {
 public:
  /// How many expressions there are.
  Index size() const { return static_cast<Index>(ends_.size()); }
  /// The symbols of one.
  std::span<const std::uint8_t> operator[](Index i) const;
  /// Appends one.
  void add(std::span<const std::uint8_t> expression);
  /// The symbols of all, which say where each expression ends.
  std::span<const std::uint8_t> symbols() const { return symbols_; }

 private:
  std::vector<std::uint8_t> symbols_;
  std::vector<std::size_t> ends_;
};

/// folder/basic_`split`.tsv; the splits are train, val and test.
std::filesystem::path listops_path(const std::filesystem::path& folder, std::string_view split);

/// Reads a file: a first line "Source<TAB>Target", then an expression as listops_text writes it
/// and its value on each line, which ends with a line feed that a carriage return may precede.
/// Parentheses count for nothing and may be missing. Throws Error, with the file, the line and what
/// was expected, for anything else, for a target that is not the value of the expression, for an
/// expression of `size_below` symbols or more, and for a file without expressions.
ListOpsSet read_listops(const std::filesystem::path& path, Index size_below);

/// Draws `count` different expressions and writes them to the three files: a fiftieth, but at
/// least one, to val and as many to test, the others to train. Makes the folder. Each file takes
/// the place of another as a whole. Throws Error with the system's reason if that fails, for a
/// count below 3, and where the grammar does not have so many.
void write_listops(const std::filesystem::path& folder, const ListOpsGrammar& grammar, Index count,
                   Rng rng);

}  // namespace vla
