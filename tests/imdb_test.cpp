// IMDB: what is read of its folders, and what is refused.
#include "tasks/imdb.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/compare.hpp"
#include "tests/loader_files.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

struct Files : TemporaryDirectory {
  explicit Files(Index reviews = 3) { write_imdb_files(path(), reviews, Rng(1)); }
  std::string refused() const {
    return refusal<Imdb, ImdbOptions>({.data = path().string(), .length = 100});
  }
};

std::string text(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

BOOST_AUTO_TEST_SUITE(imdb)

BOOST_AUTO_TEST_CASE(the_reviews_of_a_folder_are_read_in_the_order_of_their_names) {
  const TemporaryDirectory files;
  make_file(files / "pos/2_10.txt", "great");
  make_file(files / "pos/10_7.txt", std::string("g\0\xFFod", 5));
  make_file(files / "neg/7_1.txt", "bad\n");
  const LabelledBytes set = read_imdb(files.path(), 4);
  BOOST_REQUIRE(set.size() == 3);
  BOOST_TEST(text(set.part(0, 0)) == "bad\n");
  BOOST_TEST((text(set.part(1, 0)) == std::string("g\0\xFFo", 4)));
  BOOST_TEST(text(set.part(2, 0)) == "grea");
  BOOST_TEST(set.label(0) == 0);
  BOOST_TEST(set.label(1) == 1);
  BOOST_TEST(set.label(2) == 1);
}

BOOST_AUTO_TEST_CASE(a_review_stands_at_the_end_and_its_class_is_asked_for_there) {
  const Files files(5);
  const Imdb task({.data = files.path().string(), .length = 150});
  BOOST_TEST(task.length() == 150);
  BOOST_TEST(task.vocabulary() == 259);
  BOOST_TEST(task.chance() == 0.5);
  const LabelledSets& sets = task.sets();
  BOOST_TEST(sets.training.size() == 10);
  BOOST_TEST(sets.held_out.size() == 10);
  std::vector<int> seen(10);
  for (const TaskExample& example : task_examples(task, 20)) {
    const auto start = std::ranges::find_if(example.tokens, [](Index token) { return token != 0; });
    std::string review;
    for (auto token = start; token != example.tokens.end(); ++token)
      review += static_cast<char>(*token - 1);
    for (Index i = 0; i < 10; ++i)
      if (text(sets.training.part(i, 0)) == review) {
        ++seen[static_cast<std::size_t>(i)];
        BOOST_TEST(example.targets.back() == 257 + sets.training.label(i));
      }
    BOOST_TEST(std::ranges::count(example.targets, kIgnoredTarget) == 149);
  }
  for (int times : seen) BOOST_TEST(times == 2);
}

BOOST_AUTO_TEST_CASE(a_damaged_folder_is_refused_with_the_file_and_what_was_expected) {
  const Files files;
  BOOST_TEST(files.refused() == "accepted");
  const auto refused_with = [&](const std::string& name, const std::string& contents) {
    make_file(files / name, contents);
    const std::string message = files.refused();
    std::filesystem::remove(files / name);
    const std::string path = (files / name).string();
    return message.starts_with(path) ? message.substr(path.size()) : "elsewhere: " + message;
  };
  const std::string neg =
                        ": expected a name NUMBER_RATING.txt with a rating of 1 to 4, which neg "
                        "has",
                    pos =
                        ": expected a name NUMBER_RATING.txt with a rating of 7 to 10, which pos "
                        "has";
  BOOST_TEST(refused_with("train/neg/9_9.txt", "bad") == neg);
  BOOST_TEST(refused_with("train/neg/9_0.txt", "bad") == neg);
  BOOST_TEST(refused_with("train/neg/9_99999999999999999999.txt", "bad") == neg);
  BOOST_TEST(refused_with("test/pos/9_4.txt", "bad") == pos);
  BOOST_TEST(refused_with("test/pos/urls_pos.txt", "bad") == pos);
  BOOST_TEST(refused_with("train/pos/9_8.txt", "") == " is empty; expected a review");
  BOOST_TEST(refused_with("train/pos/9_8.txt", "good") == "elsewhere: accepted");
  std::filesystem::create_directory(files / "train/pos/9_8.txt");
  BOOST_TEST(files.refused() == "cannot read " + (files / "train/pos/9_8.txt").string() +
                                    ": it is not a regular file");
  std::filesystem::remove(files / "train/pos/9_8.txt");

  const std::filesystem::path folder = files / "test/neg";
  std::filesystem::remove_all(folder);
  BOOST_TEST(files.refused() == "cannot read " + folder.string() + ": No such file or directory");
  std::filesystem::create_directory(folder);
  BOOST_TEST(files.refused() == folder.string() + " is empty; expected files NUMBER_RATING.txt");
  BOOST_TEST((refusal<Imdb, ImdbOptions>({}) ==
              "imdb: no folder to learn from; --data DIRECTORY names it"));
  BOOST_TEST((refusal<Imdb, ImdbOptions>({.data = "here", .length = 0}))
                 .starts_with("imdb: length 0 is not allowed; 1 to "));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
