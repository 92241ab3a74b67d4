// Expressions of ListOps: how they are drawn, what they are worth, and how they are written.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/random.hpp"

namespace vla {

/// The symbols of an expression, as tokens: the digits 0 .. 9, [MIN [MAX [MED [SM and ]. Token 0 is
/// the padding around it.
inline constexpr std::uint8_t kListOpsPad = 0, kListOpsZero = 1, kListOpsMin = 11, kListOpsMax = 12,
                              kListOpsMed = 13, kListOpsSum = 14, kListOpsClose = 15;
inline constexpr Index kListOpsVocabulary = 16;

/// A digit, or an operator, its arguments and "]". Its size is the number of symbols.
using ListOpsExpression = std::vector<std::uint8_t>;

/// What is drawn. Source: listops.py of google-research/long-range-arena, whose sizes these are.
struct ListOpsGrammar {
  Index depth = 10;         ///< of an expression, at most; a digit alone has depth 1
  Index arguments = 10;     ///< of an operator, at most
  Index size_above = 500;   ///< a draw counts if it is larger than this
  Index size_below = 2000;  ///< and smaller than this
};

/// Throws Error for a grammar of which next to no draw counts, or whose sizes are not allowed.
void check_listops_grammar(const ListOpsGrammar& grammar);

/// One draw: below the greatest depth, with probability 1/4, one of the four operators on 2 to
/// `arguments` expressions drawn likewise, their number uniform; otherwise a digit. None if its
/// size does not count.
std::optional<ListOpsExpression> draw_listops(const ListOpsGrammar& grammar, Rng& rng);
/// Draws until one counts, which check_listops_grammar sees to.
ListOpsExpression next_listops(const ListOpsGrammar& grammar, Rng& rng);

/// The value, 0 .. 9: minimum, maximum, median (of an even number of arguments the mean of the two
/// in the middle, rounded down) or sum modulo 10 of the arguments. Throws Error, saying what is
/// wrong, for symbols that are not one whole expression.
int listops_value(std::span<const std::uint8_t> expression);

/// As LRA writes it, every operator with one argument after the other in a pair of parentheses:
/// "( ( ( [MAX 3 ) 4 ) ] )".
std::string listops_text(std::span<const std::uint8_t> expression);

/// The symbol of a word such as "7", "[MED" or "]"; none for any other word.
std::optional<std::uint8_t> listops_symbol(std::string_view word);

}  // namespace vla
