// ListOps: its expressions, their values, sizes and shares, and its examples.
#include "tasks/listops.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

using Words = std::vector<std::string>;

Words words_of(const std::string& text) {
  std::istringstream stream(text);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The symbols of words, without parentheses.
ListOpsExpression expression_of(const std::string& text) {
  ListOpsExpression result;
  for (const std::string& word : words_of(text))
    if (word != "(" && word != ")") result.push_back(listops_symbol(word).value());
  return result;
}

int value_of(const std::string& text) { return listops_value(expression_of(text)); }

std::string value_refused(const std::string& text) {
  return error_of([&] { value_of(text); });
}

// What LRA's own code does with the pairs that parentheses make: a leaf is a value; a pair of an
// operator and a value begins a list, a pair of a list and a value goes on with it, and a pair of a
// list and "]" is its value. Written down from the description of the format, without the stack of
// listops_value.
struct Pair {
  std::string operation;  // of a list that is still open; empty: a value
  std::vector<int> values;
};

Pair read_pair(const Words& words, std::size_t& place) {
  BOOST_REQUIRE(place < words.size());
  const std::string word = words[place++];
  if (word != "(") {
    if (word.size() == 1 && std::isdigit(word[0])) return {"", {word[0] - '0'}};
    return {word, {}};
  }
  Pair left = read_pair(words, place);
  const Pair right = read_pair(words, place);
  BOOST_REQUIRE(words.at(place++) == ")");
  BOOST_REQUIRE(!left.operation.empty());
  if (right.operation != "]") {
    BOOST_REQUIRE((right.operation.empty() && right.values.size() == 1));
    left.values.push_back(right.values[0]);
    return left;
  }
  std::vector<int>& values = left.values;
  std::ranges::sort(values);
  const std::size_t n = values.size();
  int sum = 0;
  for (int value : values) sum += value;
  const double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2.0;
  return {"",
          {left.operation == "[MIN"   ? values.front()
           : left.operation == "[MAX" ? values.back()
           : left.operation == "[MED" ? static_cast<int>(median)
                                      : sum % 10}};
}

// The deepest nesting, and the arguments of every operator.
struct Form {
  Index depth = 0;
  std::vector<Index> arguments;
};

Form form_of(const ListOpsExpression& expression) {
  Form form;
  std::vector<Index> open;
  for (const std::uint8_t symbol : expression) {
    if (symbol == kListOpsClose) {
      form.arguments.push_back(open.back());
      open.pop_back();
      continue;
    }
    if (!open.empty()) ++open.back();
    form.depth = std::max(form.depth, static_cast<Index>(open.size()) + 1);
    if (symbol >= kListOpsMin) open.push_back(0);
  }
  return form;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(listops)

BOOST_AUTO_TEST_CASE(the_value_of_an_expression) {
  const std::map<std::string, int> values = {
      {"7", 7},
      {"[MIN 4 2 9 ]", 2},
      {"[MAX 4 2 9 ]", 9},
      {"[MED 4 2 9 ]", 4},
      {"[MED 4 7 ]", 5},  // 5.5
      {"[MED 1 9 8 2 ]", 5},
      {"[MED 0 1 ]", 0},
      {"[SM 4 2 9 ]", 5},
      {"[MAX [MIN 3 8 ] 2 [SM 5 6 7 ] ]", 8},
      {"( ( ( [MAX 3 ) 4 ) ] )", 4},
  };
  for (const auto& [text, value] : values) BOOST_TEST(value_of(text) == value, text);
}

BOOST_AUTO_TEST_CASE(what_is_no_expression_has_no_value) {
  BOOST_TEST(value_refused("") == "listops: an expression without symbols");
  BOOST_TEST(value_refused("3 4") == "listops: symbols after the end of the expression");
  BOOST_TEST(value_refused("[MAX 3 4 ] ]") == "listops: symbols after the end of the expression");
  BOOST_TEST(value_refused("]") == "listops: a ] without an operator before it");
  BOOST_TEST(value_refused("[MAX ]") == "listops: [MAX has no arguments");
  BOOST_TEST(value_refused("[MAX [SM 3 ]") ==
             "listops: the expression ends with 1 operators still open");
  BOOST_CHECK_EXCEPTION(listops_value(ListOpsExpression{kListOpsPad}), Error,
                        says("listops: 0 is not a symbol; 1 to 15"));
  BOOST_CHECK_EXCEPTION(listops_value(ListOpsExpression{200}), Error,
                        says("listops: 200 is not a symbol; 1 to 15"));
}

BOOST_AUTO_TEST_CASE(the_text_nests_an_operator_with_its_arguments_one_by_one) {
  BOOST_TEST(listops_text(expression_of("7")) == "7");
  BOOST_TEST(listops_text(expression_of("[MAX 3 4 ]")) == "( ( ( [MAX 3 ) 4 ) ] )");
  BOOST_TEST(listops_text(expression_of("[SM [MIN 1 2 ] 3 ]")) ==
             "( ( ( [SM ( ( ( [MIN 1 ) 2 ) ] ) ) 3 ) ] )");
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    const ListOpsExpression drawn = next_listops({.size_above = 3, .size_below = 300}, rng);
    const std::string text = listops_text(drawn);
    BOOST_TEST((expression_of(text) == drawn));
    const Words words = words_of(text);
    std::size_t place = 0;
    const Pair whole = read_pair(words, place);
    BOOST_TEST(place == words.size());
    BOOST_TEST(whole.operation == "");
    BOOST_TEST(whole.values.at(0) == listops_value(drawn));
  }
}

BOOST_AUTO_TEST_CASE(words_are_symbols) {
  std::set<int> symbols;
  for (const char* word : {"0", "9", "[MIN", "[MAX", "[MED", "[SM", "]"})
    symbols.insert(listops_symbol(word).value());
  BOOST_TEST(symbols == (std::set<int>{1, 10, 11, 12, 13, 14, 15}),
             boost::test_tools::per_element());
  for (const char* word : {"", "(", ")", "10", "[FIRST", "[MIN ", "MIN", "x"})
    BOOST_TEST(!listops_symbol(word).has_value(), word);
}

// Figures of 6000 trees of the published rule, in the design's tasks document.
BOOST_AUTO_TEST_CASE(sizes_and_shares_are_those_of_the_long_range_arena) {
  const ListOpsGrammar grammar;
  Rng rng(1);
  std::vector<std::size_t> sizes;
  std::array<double, 10> shares{};
  constexpr Index kExpressions = 6000;
  Index draws = 0;
  for (; sizes.size() < kExpressions; ++draws) {
    const auto drawn = draw_listops(grammar, rng);
    if (!drawn) continue;
    sizes.push_back(drawn->size());
    shares[static_cast<std::size_t>(listops_value(*drawn))] += 1.0 / kExpressions;
  }
  BOOST_TEST(static_cast<double>(kExpressions) / static_cast<double>(draws) == 0.083,
             boost::test_tools::tolerance(0.06));
  std::ranges::sort(sizes);
  BOOST_TEST((sizes.front() > 500 && sizes.back() < 2000));
  BOOST_TEST(static_cast<double>(sizes[kExpressions / 2]) == 965,
             boost::test_tools::tolerance(0.04));
  BOOST_TEST(static_cast<double>(sizes[kExpressions * 9 / 10]) == 1644,
             boost::test_tools::tolerance(0.03));
  BOOST_TEST(std::abs(shares[0] - 0.172) < 0.02);
  BOOST_TEST(std::abs(shares[9] - 0.167) < 0.02);
  for (std::size_t value = 1; value < 9; ++value)
    BOOST_TEST((shares[value] > 0.055 && shares[value] < 0.105), value << ": " << shares[value]);
}

BOOST_AUTO_TEST_CASE(expressions_follow_the_grammar) {
  for (const ListOpsGrammar& grammar :
       {ListOpsGrammar{},
        ListOpsGrammar{.depth = 3, .arguments = 4, .size_above = 3, .size_below = 20},
        ListOpsGrammar{.arguments = 2, .size_above = 3, .size_below = 100}}) {
    Rng rng(5);
    Index deepest = 0, operators = 0;
    std::map<Index, int> arguments;
    std::map<int, int> kinds, digits;
    for (int i = 0; i < 300; ++i) {
      const ListOpsExpression drawn = next_listops(grammar, rng);
      const auto size = static_cast<Index>(drawn.size());
      BOOST_TEST((size > grammar.size_above && size < grammar.size_below));
      const Form form = form_of(drawn);
      deepest = std::max(deepest, form.depth);
      for (const Index count : form.arguments) ++arguments[count];
      for (const std::uint8_t symbol : drawn) {
        if (symbol < kListOpsMin)
          ++digits[symbol];
        else if (symbol < kListOpsClose)
          ++kinds[symbol], ++operators;
      }
    }
    BOOST_TEST(deepest <= grammar.depth);
    BOOST_TEST((grammar.arguments == 2 || deepest == grammar.depth));
    BOOST_TEST(arguments.begin()->first == 2);
    BOOST_TEST(arguments.rbegin()->first == grammar.arguments);
    BOOST_TEST(arguments.size() == static_cast<std::size_t>(grammar.arguments - 1));
    BOOST_TEST(kinds.size() == 4);
    for (const auto& [kind, count] : kinds)
      BOOST_TEST(4.0 * count == operators, boost::test_tools::tolerance(0.3));
    BOOST_TEST(digits.size() == 10);
  }
}

BOOST_AUTO_TEST_CASE(an_example_begins_with_its_expression_and_asks_for_the_value_at_its_end) {
  for (const ListOpsOptions& options : {ListOpsOptions{}, ListOpsOptions{.length = 40},
                                        ListOpsOptions{.length = 12, .size_above = 1}}) {
    const ListOps task(options);
    BOOST_TEST(task.vocabulary() == 16);
    for (const TaskExample& example : task_examples(task, 40)) {
      const auto end = std::ranges::find(example.tokens, 0);
      const ListOpsExpression expression(example.tokens.begin(), end);
      const auto size = static_cast<Index>(expression.size());
      BOOST_TEST((size > task.options().size_above && size < options.length));
      BOOST_TEST(std::all_of(end, example.tokens.end(), [](Index t) { return t == kListOpsPad; }));
      BOOST_TEST(example.targets.at(expression.size() - 1) == 1 + listops_value(expression));
      BOOST_TEST(std::count(example.targets.begin(), example.targets.end(), kIgnoredTarget) ==
                 options.length - 1);
    }
  }
  BOOST_TEST(ListOps().options().size_above == 500);
}

BOOST_AUTO_TEST_CASE(chance_is_what_the_best_constant_guess_reaches) {
  for (Index length : {60, 2000}) {
    const ListOps task({.length = length});
    std::map<Index, double> counts;
    constexpr Index kExamples = 1000;
    for (int part = 0; part < 4; ++part)
      for (const TaskExample& example : task_examples(task, kExamples / 4, 10 + part))
        ++counts[*std::ranges::max_element(example.targets)];
    const double best = std::ranges::max_element(counts, {}, [](const auto& entry) {
                          return entry.second;
                        })->second;
    BOOST_TEST(std::abs(task.chance() - best / kExamples) < 0.045);
    BOOST_TEST(task.chance() == ListOps({.length = length}).chance());
  }
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const auto message = refusal<ListOps, ListOpsOptions>;
  BOOST_TEST(message({.depth = 1}) == "listops: depth 1 is not allowed; 2 to 1000");
  BOOST_TEST(message({.arguments = 1}) == "listops: arguments 1 is not allowed; 2 to 1000");
  BOOST_TEST(message({.length = 4}).starts_with("listops: length 4 is not allowed; 5 to "));
  BOOST_TEST(message({.length = Index{1} << 62}).starts_with("listops: length 46"));
  BOOST_TEST(message({.length = 100, .size_above = 99}) ==
             "listops: size-above 99 is not allowed; 1 to 98");
  BOOST_TEST(message({.size_above = -1}).starts_with("listops: size-above -1 is not allowed"));
  // Two arguments each make sizes 1, 4, 7 ..
  BOOST_TEST(message({.arguments = 2, .length = 7, .size_above = 4}) ==
             "listops: 0 of 10000 draws with depth 10 and arguments 2 are above 4 and below 7 "
             "symbols; 10 or more are needed: choose other sizes");
  BOOST_TEST(message({.held_out = "train"}) ==
             "listops: held-out 'train' is not allowed; val or test");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
