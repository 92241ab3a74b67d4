// AAN: what is read of its files, and what is refused.
#include "tasks/aan.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/compare.hpp"
#include "tests/loader_files.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

struct Files : TemporaryDirectory {
  Files() { write_aan_files(path(), 20, Rng(1)); }
  std::string refused(const std::string& train) const {
    make_file(*this / "new_aan_pairs.train.tsv", train);
    const std::string message = refusal<Aan, AanOptions>({.data = path().string(), .length = 100});
    const std::string file = (*this / "new_aan_pairs.train.tsv").string();
    return message.starts_with(file) ? message.substr(file.size()) : "elsewhere: " + message;
  }
};

std::string text(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

BOOST_AUTO_TEST_SUITE(aan)

BOOST_AUTO_TEST_CASE(a_line_is_a_label_and_two_texts) {
  const TemporaryDirectory files;
  make_file(files / "pairs.tsv",
            "1.0\tP1\tP2\tfirst \"text\tsecond\r\n0\t\t\t\t\n1\ta\tb\t\xC3\xA4\tlong text\n"
            "0.0\ta\tb\tx\ty");
  const LabelledBytes set = read_aan(files / "pairs.tsv", 8);
  BOOST_REQUIRE(set.size() == 4);
  BOOST_TEST(text(set.part(0, 0)) == "first \"t");
  BOOST_TEST(text(set.part(0, 1)) == "second");
  BOOST_TEST(text(set.part(1, 0)) == "");
  BOOST_TEST(text(set.part(2, 0)) == "\xC3\xA4");
  BOOST_TEST(text(set.part(2, 1)) == "long tex");
  BOOST_TEST(text(set.part(3, 1)) == "y");
  for (Index i = 0; i < 4; ++i) BOOST_TEST(set.label(i) == (i % 2 == 0));
  BOOST_CHECK_THROW(set.part(4, 0), Error);
  BOOST_CHECK_THROW(set.part(0, 2), Error);
  BOOST_CHECK_THROW(set.label(-1), Error);
}

BOOST_AUTO_TEST_CASE(each_document_ends_one_half_of_the_sequence) {
  const Files files;
  for (const std::string held_out : {"val", "test"}) {
    const Aan task({.data = files.path().string(), .length = 200, .held_out = held_out});
    BOOST_TEST(task.length() == 200);
    BOOST_TEST(task.vocabulary() == 259);
    const LabelledBytes& set = task.sets().held_out;
    const LabelledBytes file = read_aan(
        files / (held_out == "val" ? "new_aan_pairs.eval.tsv" : "new_aan_pairs.test.tsv"), 99);
    BOOST_TEST(set.fingerprint() == file.fingerprint());
    Rng rng(1);
    const Batch batch = task.sample_held_out(20, rng);
    std::vector<int> seen(20);
    for (Index b = 0; b < 20; ++b) {
      std::string halves[2];
      for (Index t = 0; t < 200; ++t) {
        const Index token = batch.tokens.at<Index>({b, t});
        std::string& half = halves[t / 100];
        BOOST_TEST((token != 0 || half.empty()));  // padding stands before the bytes alone
        if (token != 0) half += static_cast<char>(token - 1);
        BOOST_TEST((t % 100 != 0 || token == 0));
        if (t < 199) BOOST_TEST(batch.targets.at<Index>({b, t}) == kIgnoredTarget);
      }
      for (Index i = 0; i < 20; ++i)
        if (text(set.part(i, 0)) == halves[0] && text(set.part(i, 1)) == halves[1]) {
          ++seen[static_cast<std::size_t>(i)];
          BOOST_TEST(batch.targets.at<Index>({b, 199}) == 257 + set.label(i));
        }
    }
    for (int times : seen) BOOST_TEST(times == 1);
  }
}

BOOST_AUTO_TEST_CASE(a_damaged_file_is_refused_with_the_line_and_what_was_expected) {
  const Files files;
  const std::string good = "1.0\tP1\tP2\tone\ttwo\n";
  const std::string fields =
      "; expected 5: a label, two names and two texts, with tabs between them";
  BOOST_TEST(files.refused(good) == "elsewhere: accepted");
  BOOST_TEST(files.refused("") ==
             " is empty; expected lines of a label, two names and two texts, with tabs between "
             "them");
  BOOST_TEST(files.refused(good + "\n") == ", line 2: 1 field" + fields);
  BOOST_TEST(files.refused(good + "1.0\tP1\tP2\tone\n") == ", line 2: 4 fields" + fields);
  BOOST_TEST(files.refused(good + good + "1.0\tP1\tP2\tone\ttwo\tthree\n") ==
             ", line 3: 6 fields" + fields);
  for (const std::string label : {"", "2.0", "yes", "-1", "1.00", "1e400", "nan"})
    BOOST_TEST(files.refused(label + "\tP1\tP2\tone\ttwo\n") ==
               ", line 1: label '" + label + "'; expected 0, 1, 0.0 or 1.0");
  BOOST_TEST(files.refused(std::string((1 << 24) + (1 << 21), 'x')) ==
             ", line 1: longer than 16777216 bytes; expected a label, two names and two texts, "
             "with tabs between them");
  // Cut anywhere, a file is refused at its last line unless a whole line is left.
  const std::string two = good + "0.0\tP3\tP4\tthree\tfour\n";
  for (std::size_t bytes = 0; bytes <= two.size(); ++bytes) {
    const std::string cut = two.substr(0, bytes);
    const std::string message = files.refused(cut);
    const std::size_t last = cut.find('\n') == std::string::npos ? 0 : cut.find('\n') + 1;
    const bool whole =
        bytes > 0 && (last == bytes || std::ranges::count(cut.substr(last), '\t') == 4);
    BOOST_TEST((message == "elsewhere: accepted") == whole, bytes << ": " << message);
  }
  std::filesystem::remove(files / "new_aan_pairs.eval.tsv");
  BOOST_TEST(files.refused(good) == "elsewhere: cannot read " +
                                        (files / "new_aan_pairs.eval.tsv").string() +
                                        ": No such file or directory");
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  BOOST_TEST(
      (refusal<Aan, AanOptions>({}) == "aan: no folder to learn from; --data DIRECTORY names it"));
  BOOST_TEST((refusal<Aan, AanOptions>({.data = "here", .length = 101}) ==
              "aan: length 101 is not allowed; an even number, half for each document"));
  BOOST_TEST((refusal<Aan, AanOptions>({.data = "here", .held_out = "eval"}) ==
              "aan: held-out 'eval' is not allowed; val or test"));
  BOOST_TEST((refusal<Aan, AanOptions>({.data = "here", .length = 2}))
                 .starts_with("aan: length 2 is not allowed; 4 to "));
}

// The program learns from such files, finds them again, and evaluates on others.
BOOST_AUTO_TEST_CASE(a_run_learns_from_files) {
  const Place place;
  write_aan_files(place / "data", 20, Rng(1));
  write_aan_files(place / "other", 20, Rng(2));
  check_refused(place, "train --task aan --out run",
                {"aan: no folder to learn from; --data DIRECTORY names it"});
  const Outcome trained = place.run(
      "train --task aan --data data --length 64 --width 16 --heads 2 --layers 1 --hidden 16 "
      "--batch 4 --steps 4 --warm-up 1 --report-every 2 --threads 1 --out run");
  BOOST_TEST(trained.errors == "");
  for (const char* more : {"", " --held-out test", " --data other"})
    BOOST_TEST(place.run(std::string("eval run --examples 20") + more).errors == "", more);
  make_file(place / "data/new_aan_pairs.train.tsv", "1\ta\tb\tc\td\n");
  check_refused(place, "eval run",
                {"run/checkpoint.safetensors was made from data of 20 examples"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
