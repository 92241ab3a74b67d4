#include "tasks/listops_expression.hpp"

#include <algorithm>
#include <numeric>

#include "tasks/task.hpp"

namespace vla {
namespace {

constexpr Index kOneOperatorIn = 4;  // draws that may become one
constexpr Index kOperators = kListOpsSum - kListOpsMin + 1;
// A grammar must give this many expressions in so many draws.
constexpr Index kProbes = 10000, kExpressionsOfProbes = 10;
constexpr std::string_view kWords[] = {"",  "0", "1", "2",    "3",    "4",    "5",   "6",
                                       "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"};
static_assert(std::size(kWords) == kListOpsVocabulary);

bool is_digit(std::uint8_t symbol) { return symbol >= kListOpsZero && symbol < kListOpsMin; }
bool is_operator(std::uint8_t symbol) { return symbol >= kListOpsMin && symbol < kListOpsClose; }

// Appends an expression that may be `depth` deep; false once there are too many symbols.
bool append_draw(const ListOpsGrammar& grammar, Index depth, Rng& rng, ListOpsExpression& symbols) {
  if (static_cast<Index>(symbols.size()) >= grammar.size_below) return false;
  if (depth == 1 || rng.below(kOneOperatorIn) != 0) {
    symbols.push_back(static_cast<std::uint8_t>(kListOpsZero + rng.below(10)));
    return true;
  }
  symbols.push_back(static_cast<std::uint8_t>(kListOpsMin + rng.below(kOperators)));
  for (Index left = 2 + rng.below(grammar.arguments - 1); left > 0; --left)
    if (!append_draw(grammar, depth - 1, rng, symbols)) return false;
  symbols.push_back(kListOpsClose);
  return true;
}

int apply(std::uint8_t operation, std::span<int> arguments) {
  if (operation == kListOpsMin) return *std::ranges::min_element(arguments);
  if (operation == kListOpsMax) return *std::ranges::max_element(arguments);
  if (operation == kListOpsSum) return std::reduce(arguments.begin(), arguments.end()) % 10;
  std::ranges::sort(arguments);
  return (arguments[(arguments.size() - 1) / 2] + arguments[arguments.size() / 2]) / 2;
}

// How many arguments each operator has, in the order of the operators.
std::vector<Index> argument_counts(std::span<const std::uint8_t> expression) {
  std::vector<Index> counts;
  std::vector<std::size_t> open;
  for (const std::uint8_t symbol : expression) {
    if (symbol == kListOpsClose) {
      open.pop_back();
      continue;
    }
    if (!open.empty()) ++counts[open.back()];
    if (!is_operator(symbol)) continue;
    open.push_back(counts.size());
    counts.push_back(0);
  }
  return counts;
}

}  // namespace

void check_listops_grammar(const ListOpsGrammar& grammar) {
  const auto& [depth, arguments, size_above, size_below] = grammar;
  check_task_setting("listops", "depth", depth, 2, 1000);
  check_task_setting("listops", "arguments", arguments, 2, 1000);
  check_task_setting("listops", "length", size_below, 5, kLongestSequence);
  check_task_setting("listops", "size-above", size_above, 1, size_below - 2);
  Rng rng(0);
  Index draws = 0, found = 0;
  for (; draws < kProbes && found < kExpressionsOfProbes; ++draws)
    found += draw_listops(grammar, rng).has_value();
  check(found == kExpressionsOfProbes, "listops: ", found, " of ", draws, " draws with depth ",
        depth, " and arguments ", arguments, " are above ", size_above, " and below ", size_below,
        " symbols; ", kExpressionsOfProbes, " or more are needed: choose other sizes");
}

std::optional<ListOpsExpression> draw_listops(const ListOpsGrammar& grammar, Rng& rng) {
  ListOpsExpression symbols;
  if (!append_draw(grammar, grammar.depth, rng, symbols)) return {};
  const auto size = static_cast<Index>(symbols.size());
  if (size <= grammar.size_above || size >= grammar.size_below) return {};
  return symbols;
}

ListOpsExpression next_listops(const ListOpsGrammar& grammar, Rng& rng) {
  for (;;)
    if (std::optional<ListOpsExpression> drawn = draw_listops(grammar, rng)) return *drawn;
}

int listops_value(std::span<const std::uint8_t> expression) {
  struct Open {
    std::uint8_t operation;
    std::size_t first;  // of its arguments, in values
  };
  std::vector<Open> open;
  std::vector<int> values;
  for (const std::uint8_t symbol : expression) {
    check(!open.empty() || values.empty(), "listops: symbols after the end of the expression");
    if (is_digit(symbol)) {
      values.push_back(symbol - kListOpsZero);
    } else if (is_operator(symbol)) {
      open.push_back({symbol, values.size()});
    } else {
      check(symbol == kListOpsClose, "listops: ", int{symbol}, " is not a symbol; 1 to ",
            int{kListOpsClose});
      check(!open.empty(), "listops: a ] without an operator before it");
      const auto [operation, first] = open.back();
      check(values.size() > first, "listops: ", kWords[operation], " has no arguments");
      const int value = apply(operation, std::span(values).subspan(first));
      values.resize(first);
      values.push_back(value);
      open.pop_back();
    }
  }
  check(open.empty(), "listops: the expression ends with ", open.size(), " operators still open");
  check(!values.empty(), "listops: an expression without symbols");
  return values.front();
}

std::string listops_text(std::span<const std::uint8_t> expression) {
  const std::vector<Index> counts = argument_counts(expression);
  auto count = counts.begin();
  std::string text;
  Index open = 0;
  for (const std::uint8_t symbol : expression) {
    if (!text.empty()) text += ' ';
    if (is_operator(symbol)) {
      // A pair for the operator with each argument, and one for the bracket that closes.
      for (Index i = 0; i <= *count; ++i) text += "( ";
      ++count;
      ++open;
      text += kWords[symbol];
      continue;
    }
    text += kWords[symbol];
    if (symbol == kListOpsClose) {
      text += " )";
      --open;
    }
    if (open > 0) text += " )";
  }
  return text;
}

std::optional<std::uint8_t> listops_symbol(std::string_view word) {
  const auto found = std::find(std::begin(kWords) + 1, std::end(kWords), word);
  if (found == std::end(kWords)) return {};
  return static_cast<std::uint8_t>(found - std::begin(kWords));
}

}  // namespace vla
