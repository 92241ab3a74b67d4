// ListOps: its expressions, their values and shares, and its files.
#include "tasks/listops.hpp"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/compare.hpp"
#include "tests/program.hpp"
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
  try {
    value_of(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
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

// A folder with three good files of small expressions.
struct Files : Place {
  std::string folder = (*this / "data").string();
  explicit Files(Index count = 300) {
    write_listops(folder, {.size_above = 5, .size_below = 50}, count, Rng(1));
  }
  void replace(const std::string& split, const std::string& text) const {
    std::ofstream(listops_path(folder, split), std::ios::binary) << text;
  }
  std::string text(const std::string& split) const { return read(listops_path(folder, split)); }
  std::string refused(const std::string& text) const {
    replace("val", text);
    const std::string message = refusal<ListOps, ListOpsOptions>({.length = 50, .data = folder});
    const std::string path = listops_path(folder, "val").string();
    return message.starts_with(path) ? message.substr(path.size()) : "elsewhere: " + message;
  }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
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

BOOST_AUTO_TEST_CASE(an_example_ends_with_its_expression_and_asks_for_the_value_there) {
  for (const ListOpsOptions& options : {ListOpsOptions{}, ListOpsOptions{.length = 40},
                                        ListOpsOptions{.length = 12, .size_above = 1}}) {
    const ListOps task(options);
    BOOST_TEST(task.vocabulary() == 16);
    for (const TaskExample& example : task_examples(task, 40)) {
      const auto start = std::ranges::find_if(example.tokens, [](Index t) { return t != 0; });
      const ListOpsExpression expression(start, example.tokens.end());
      const auto size = static_cast<Index>(expression.size());
      BOOST_TEST((size > task.options().size_above && size < options.length));
      BOOST_TEST(example.targets.back() == 1 + listops_value(expression));
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
        ++counts[example.targets.back()];
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

BOOST_AUTO_TEST_CASE(files_hold_different_expressions_in_the_original_form) {
  const Files files(300);
  std::set<std::string> sources;
  for (const auto& [split, count] :
       {std::pair("train", 288), std::pair("val", 6), std::pair("test", 6)}) {
    const std::vector<std::string> lines = lines_of(files.text(split));
    BOOST_TEST(lines.size() == static_cast<std::size_t>(count + 1));
    BOOST_TEST(lines[0] == "Source\tTarget");
    const ListOpsSet set = read_listops(listops_path(files.folder, split), 50);
    BOOST_REQUIRE(set.size() == count);
    for (Index i = 0; i < count; ++i) {
      const std::string source = listops_text(set[i]);
      BOOST_TEST(lines[static_cast<std::size_t>(i) + 1] ==
                 source + "\t" + std::to_string(listops_value(set[i])));
      sources.insert(source);
    }
    BOOST_CHECK_THROW(set[count], Error);
    BOOST_CHECK_THROW(set[-1], Error);
  }
  BOOST_TEST(sources.size() == 300);
  const Files again(300);
  for (const char* split : {"train", "val", "test"})
    BOOST_TEST((again.text(split) == files.text(split)));
  BOOST_CHECK_EXCEPTION(write_listops(files.folder, {}, 2, Rng(1)), Error,
                        says("listops: count 2 is not allowed; 3 or more, one for each file"));
  // [OP a b] has 4 * 100 forms.
  BOOST_CHECK_EXCEPTION(
      write_listops(files.folder, {.arguments = 2, .size_above = 3, .size_below = 5}, 500, Rng(1)),
      Error,
      says("listops: after 400 different expressions 10000 draws gave no other; a smaller "
           "--count or larger expressions are needed"));
  BOOST_TEST((again.text("train") == files.text("train")));  // nothing was written
  BOOST_TEST(!files.has("data/basic_train.tsv.part"));
  std::ofstream(files / "file") << "in the way";
  BOOST_CHECK_THROW(write_listops(files / "file", {}, 3, Rng(1)), Error);
}

BOOST_AUTO_TEST_CASE(examples_come_from_the_files) {
  const Files files;
  const auto texts_of = [&](const char* split) {
    std::set<std::string> texts;
    const ListOpsSet set = read_listops(listops_path(files.folder, split), 50);
    for (Index i = 0; i < set.size(); ++i) texts.insert(listops_text(set[i]));
    return texts;
  };
  const auto drawn = [](const Batch& batch) {
    std::set<std::string> texts;
    for (Index b = 0; b < batch.tokens.size(0); ++b) {
      ListOpsExpression expression;
      for (Index t = 0; t < batch.tokens.size(1); ++t)
        if (const Index token = batch.tokens.at<Index>({b, t}); token != 0)
          expression.push_back(static_cast<std::uint8_t>(token));
      texts.insert(listops_text(expression));
      BOOST_TEST(batch.targets.at<Index>({b, batch.targets.size(1) - 1}) ==
                 1 + listops_value(expression));
    }
    return texts;
  };
  for (const char* split : {"val", "test"}) {
    const ListOps task({.length = 50, .data = files.folder, .held_out = split});
    Rng rng(1);
    BOOST_TEST((drawn(task.sample(5000, rng)) == texts_of("train")));
    BOOST_TEST((drawn(task.sample_held_out(300, rng)) == texts_of(split)));
    BOOST_TEST(task.fingerprint().starts_with("288 expressions of "));
  }
}

BOOST_AUTO_TEST_CASE(chance_of_files_is_the_share_of_the_usual_value) {
  const Files files;
  files.replace("train", "Source\tTarget\n5\t5\n5\t5\n3\t3\n");
  files.replace("val", "Source\tTarget\n3\t3\n3\t3\n3\t3\n5\t5\n");
  BOOST_TEST(ListOps({.length = 50, .data = files.folder}).chance() == 0.25);
}

BOOST_AUTO_TEST_CASE(what_loaders_of_the_arena_bear_is_read) {
  const Files files;
  const ListOpsExpression expression = expression_of("[MAX 3 4 ]");
  for (const char* text :
       {"Source\tTarget\n( ( ( [MAX 3 ) 4 ) ] )\t4\n",
        "Source\tTarget\r\n( ( ( [MAX 3 ) 4 ) ] )\t4\r\n",
        "Source\tTarget\n( ( ( [MAX 3 ) 4 ) ] )\t4", "Source\tTarget\n[MAX 3 4 ]\t4",
        "Source\tTarget\n  [MAX  3 4 ] \t4\n"}) {
    files.replace("val", text);
    const ListOpsSet set = read_listops(listops_path(files.folder, "val"), 5);
    BOOST_REQUIRE(set.size() == 1);
    BOOST_TEST((std::ranges::equal(set[0], expression)), text);
  }
}

BOOST_AUTO_TEST_CASE(a_damaged_file_is_refused_with_the_line_and_what_was_expected) {
  const Files files;
  const std::string head = "Source\tTarget\n3\t3\n";
  BOOST_TEST(files.refused("") == " is empty; expected a first line 'Source<TAB>Target'");
  BOOST_TEST(files.refused("Source,Target\n3,3\n") ==
             ", line 1: begins with 'Source,Target'; expected 'Source<TAB>Target'");
  BOOST_TEST(files.refused("Source\tTarget\n") ==
             ", line 1: the last; expected expressions after it");
  BOOST_TEST(files.refused(head + "( ( ( [MAX 3 ) 4 ) ] )\n") ==
             ", line 3: no tab; expected an expression, a tab and its value");
  BOOST_TEST(files.refused(head + "\n") ==
             ", line 3: no tab; expected an expression, a tab and its value");
  BOOST_TEST(files.refused(head + "3\t\n") == ", line 3: target ''; expected a digit, 0 to 9");
  BOOST_TEST(files.refused(head + "3\t3\t3\n") ==
             ", line 3: target '3?3'; expected a digit, 0 to 9");
  BOOST_TEST(files.refused(head + "3\t" + std::string(1000, '9')) ==
             ", line 3: target '99999999999999999999..'; expected a digit, 0 to 9");
  BOOST_TEST(files.refused(head + "[MAX 3 4 ]\t3\n") ==
             ", line 3: target 3; expected 4, the value of the expression");
  BOOST_TEST(files.refused(head + "[MUL 3 4 ]\t2\n") ==
             ", line 3: unknown symbol '[MUL'; expected [MIN, [MAX, [MED, [SM, ], a digit, ( or )");
  BOOST_TEST(files.refused(head + std::string("3\0\t3\n", 5))
                 .starts_with(", line 3: unknown symbol '3?'; expected "));
  BOOST_TEST(files.refused(head + "[MAX 3 4\t4\n") ==
             ", line 3: listops: the expression ends with 1 operators still open; expected one "
             "whole expression");
  BOOST_TEST(files.refused(head + "\t4\n") ==
             ", line 3: listops: an expression without symbols; expected one whole expression");
  std::string large = "[MAX";
  for (int i = 0; i < 48; ++i) large += " 1";
  BOOST_TEST(
      files.refused(head + large + " ]\t1\n") ==
      ", line 3: the expression has 50 symbols or more; expected less than 50, the length of "
      "the sequence");
  BOOST_TEST(files.refused(head + std::string((1 << 24) + (1 << 21), ' ')) ==
             ", line 3: longer than 16777216 bytes; expected an expression, a tab and its value");
  // A good file cut anywhere is refused at its last line, or is a good file of fewer lines.
  const std::string whole = "Source\tTarget\n[MAX 3 4 ]\t4\n[SM 3 4 ]\t7\n";
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string message = files.refused(whole.substr(0, bytes));
    const bool good = bytes + 1 == whole.size() || (bytes > 0 && bytes + 12 == whole.size()) ||
                      bytes + 13 == whole.size();
    BOOST_TEST((message == "elsewhere: accepted") == good, bytes << ": " << message);
  }
  for (const char* split : {"train", "val"}) {
    std::filesystem::remove(listops_path(files.folder, split));
    const std::string message = refusal<ListOps, ListOpsOptions>({.data = files.folder});
    BOOST_TEST((message.find(listops_path(files.folder, split).string() +
                             ": No such file or directory") != std::string::npos),
               message);
    files.replace(split, "Source\tTarget\n3\t3\n");
  }
}

// Lines across the blocks in which a file is read.
BOOST_AUTO_TEST_CASE(a_file_of_many_blocks_is_read_whole) {
  const Files files;
  std::string text = "Source\tTarget\n";
  constexpr Index kLines = 250000;
  for (Index i = 0; i < kLines; ++i)
    text += std::string(static_cast<std::size_t>(i % 7), ' ') + "[SM " + std::to_string(i % 10) +
            " 1 ]\t" + std::to_string((i + 1) % 10) + "\n";
  files.replace("val", text);
  BOOST_TEST(text.size() > std::size_t{3} << 20);
  const ListOpsSet set = read_listops(listops_path(files.folder, "val"), 50);
  BOOST_REQUIRE(set.size() == kLines);
  bool right = true;
  for (Index i = 0; i < kLines; ++i) right &= listops_value(set[i]) == (i + 1) % 10;
  BOOST_TEST(right);
}

BOOST_AUTO_TEST_CASE(a_run_learns_from_files_and_finds_them_again) {
  const Place place;
  const std::string sizes = "--task listops --length 50 --size-above 5 ";
  const Outcome written = place.run("data " + sizes + "--out data --count 100 --seed 3");
  BOOST_TEST(written.errors == "");
  BOOST_TEST(written.out == "100 examples of listops in data\n");
  check_refused(place, "data " + sizes + "--out data --count 100",
                {"data is there and not empty; --force writes over its files"});
  check_refused(place, "data --task mqar --out other",
                {"task mqar has no files; allowed: listops"});
  check_refused(place, "data " + sizes + "--pairs 3 --out other", {"--pairs"});
  check_refused(place, "data " + sizes + "--count 2 --out other",
                {"count 2 is not allowed; 3 or more"});
  check_refused(place, "data --task listops", {"--out"});
  BOOST_TEST(!place.has("other"));
  const std::string before = read(place / "data/basic_train.tsv");
  BOOST_TEST(place.run("data " + sizes + "--out data --count 100 --seed 4 --force").errors == "");
  BOOST_TEST((read(place / "data/basic_train.tsv") != before));

  const std::string words =
      "train --task listops --data data --length 50 --width 16 --heads 2 --layers 1 --hidden 16 "
      "--batch 4 --steps 4 --warm-up 1 --report-every 2 --threads 1 --out run ";
  BOOST_REQUIRE_EQUAL(place.run(words + "--stop-at 2").errors, "");
  std::filesystem::create_directory(place / "elsewhere");
  BOOST_TEST(Place::run_in(place / "elsewhere", VLA_PROGRAM, "train --resume ../run").errors == "");
  for (const char* more : {"", " --held-out test", " --data ''"})
    BOOST_TEST(place.run(std::string("eval run --examples 20") + more).errors == "", more);
  BOOST_TEST(place.run("data " + sizes + "--out other --count 30").errors == "");
  BOOST_TEST(place.run("eval run --examples 20 --data other").errors == "");
  std::ofstream(place / "other/basic_val.tsv") << "Source\tTarget\n[MAX 3 4 ]\t3\n";
  check_refused(place, "eval run --data other",
                {"other/basic_val.tsv, line 2: target 3; expected 4, the value of the expression"});
  BOOST_TEST(place.run("data " + sizes + "--out data --count 50 --force").errors == "");
  check_refused(place, "eval run",
                {"run/checkpoint.safetensors was made from data of 96 expressions"});
  std::filesystem::remove_all(place / "data");
  check_refused(place, "eval run", {"/data/basic_train.tsv: No such file or directory"});
  BOOST_TEST(place.run("eval run --examples 20 --data ''").errors == "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
