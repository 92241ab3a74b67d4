// The files of ListOps: what is written, what is read, and what is refused.
#include "tasks/listops_file.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "tasks/listops.hpp"
#include "tests/compare.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

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

BOOST_AUTO_TEST_SUITE(listops_file)

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
      BOOST_TEST(batch.targets.at<Index>({b, std::ssize(expression) - 1}) ==
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
  const ListOpsExpression expression = {kListOpsMax, kListOpsZero + 3, kListOpsZero + 4,
                                        kListOpsClose};
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
                {"task mqar has no files; allowed: listops, pathfinder"});
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
