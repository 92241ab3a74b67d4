// Language byte by byte: where its windows come from, and what it is measured against.
#include "tasks/text.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <set>

#include "tasks/compression.hpp"
#include "tests/compare.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

using Bytes = std::span<const std::uint8_t>;

// A file of these bytes.
struct Corpus : TemporaryDirectory {
  std::string file = (*this / "corpus").string();
  explicit Corpus(const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }
};

std::string random_bytes(Index count, std::uint64_t seed = 1) {
  Rng rng(seed);
  std::string bytes;
  for (Index i = 0; i < count; ++i) bytes += static_cast<char>(rng.below(256));
  return bytes;
}

// The bytes first, first + 1 .. first + count - 1.
std::string ascending(int first, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(first + i);
  return bytes;
}

// The held-out side of a task as a task.
struct HeldOut : Text {
  using Text::Text;
  Batch sample(Index size, Rng& rng) const override { return sample_held_out(size, rng); }
};

std::string refused(const TextOptions& options) { return refusal<Text, TextOptions>(options); }

}  // namespace

BOOST_AUTO_TEST_SUITE(text)

BOOST_AUTO_TEST_CASE(the_target_is_the_next_byte_of_the_file) {
  const std::string bytes = random_bytes(400);
  const Corpus corpus(bytes);
  for (Index length : {1, 2, 30, 199}) {  // the last is all that a part of 200 bytes has
    const Text task({.file = corpus.file, .length = length, .valid_share = 0.5});
    for (const TaskExample& example : task_examples(task, 30)) {
      std::string window;
      for (Index token : example.tokens) window += static_cast<char>(token);
      window += static_cast<char>(example.targets.back());
      BOOST_TEST((bytes.find(window) != std::string::npos), "length " << length);
      BOOST_TEST(
          std::equal(example.tokens.begin() + 1, example.tokens.end(), example.targets.begin()));
    }
  }
}

BOOST_AUTO_TEST_CASE(training_and_held_out_windows_come_from_their_own_part) {
  const Corpus corpus(ascending(0, 20) + ascending(100, 10));  // no byte comes twice
  const TextOptions options{.file = corpus.file, .length = 4, .valid_share = 1 / 3.0};
  const auto seen = [](const Task& task) {
    std::set<Index> bytes;
    for (const TaskExample& example : task_examples(task, 500)) {
      bytes.insert(example.tokens.begin(), example.tokens.end());
      bytes.insert(example.targets.begin(), example.targets.end());
    }
    return bytes;
  };
  // Every byte of the part, the first and the last too, and none of the other.
  const std::set<Index> training = seen(Text(options)), held_out = seen(HeldOut(options));
  BOOST_TEST(training.size() == 20);
  BOOST_TEST(*training.rbegin() == 19);
  BOOST_TEST(held_out.size() == 10);
  BOOST_TEST(*held_out.begin() == 100);
  BOOST_TEST(*held_out.rbegin() == 109);
}

// Shares as those of enwik8: 90 parts to learn from, 5 to choose by, 5 to report on.
BOOST_AUTO_TEST_CASE(what_is_held_out_is_halved_into_val_and_test) {
  const std::string bytes = ascending(0, 200);
  const Corpus corpus(bytes);
  const auto made = [&](const std::string& held_out, double share = 0.1) {
    return HeldOut({.file = corpus.file, .length = 4, .valid_share = share, .held_out = held_out});
  };
  const auto is = [&](Bytes part, std::size_t begin, std::size_t count) {
    return part.size() == count && part.front() == begin;
  };
  BOOST_TEST(is(made("").valid_part(), 180, 20));
  BOOST_TEST(is(made("val").valid_part(), 180, 10));
  BOOST_TEST(is(made("test").valid_part(), 190, 10));
  BOOST_TEST(is(made("val", 0.076).valid_part(), 185, 7));  // of an odd number test has one more
  BOOST_TEST(is(made("test", 0.076).valid_part(), 192, 8));
  for (const char* held_out : {"", "val", "test"})
    BOOST_TEST(is(made(held_out).training_part(), 0, 180));
  for (const TaskExample& example : task_examples(made("test"), 100))
    BOOST_TEST(example.tokens.front() >= 190);
  const auto with = [&](const std::string& held_out) {
    return refused({.file = corpus.file, .length = 10, .held_out = held_out});
  };
  BOOST_TEST(with("") == "accepted");
  BOOST_TEST(with("val") ==
             "text: " + corpus.file +
                 " has 200 bytes, 180 to learn from and 10 to evaluate on "
                 "(valid-share 0.1, held-out val); length 10 needs 11 or more of each");
  BOOST_TEST(with("all") == "text: held-out 'all' is not allowed; val or test");
}

// The evaluation of the program is on the valid part: a model is measured on what is there alone.
BOOST_AUTO_TEST_CASE(evaluation_sees_held_out_windows) {
  struct Held : Task {
    mutable Index trained = 0, held_out = 0;
    Index vocabulary() const override { return 4; }
    Index length() const override { return 3; }
    double chance() const override { return 0.25; }
    Batch empty(Index size) const {
      return write_batch("held", size, 3, [](auto, auto targets) { targets[0] = 1; });
    }
    Batch sample(Index size, Rng&) const override { return trained += size, empty(size); }
    Batch sample_held_out(Index size, Rng&) const override { return held_out += size, empty(size); }
  };
  TrainOptions options;
  options.mixer.attention.width = 4;
  options.mixer.attention.heads = 1;
  options.hidden = 4;
  const Held task;
  LanguageModel model = make_model(options, task);
  evaluate(model, task, 7, 4, Rng(1));
  BOOST_TEST(task.held_out == 7);
  BOOST_TEST(task.trained == 0);
}

BOOST_AUTO_TEST_CASE(every_byte_survives) {
  const Corpus corpus(ascending(0, 256) + ascending(0, 256));
  for (const Index length : {255, 1}) {
    const HeldOut task({.file = corpus.file, .length = length, .valid_share = 0.5});
    std::set<Index> bytes;
    for (const TaskExample& example : task_examples(task, 4000)) {
      bytes.insert(example.tokens.begin(), example.tokens.end());
      bytes.insert(example.targets.begin(), example.targets.end());
    }
    BOOST_TEST(bytes.size() == 256);
    BOOST_TEST(*bytes.begin() == 0x00);
    BOOST_TEST(*bytes.rbegin() == 0xFF);
  }
}

BOOST_AUTO_TEST_CASE(held_out_batches_follow_from_the_state_of_the_generator) {
  const Corpus corpus(random_bytes(1000));
  const HeldOut task({.file = corpus.file, .length = 5});
  const auto first = task_examples(task, 5, 3), again = task_examples(task, 5, 3),
             other = task_examples(task, 5, 4);
  for (std::size_t i = 0; i < 5; ++i) BOOST_TEST(first[i].tokens == again[i].tokens);
  BOOST_TEST(first[0].tokens != other[0].tokens);
}

BOOST_AUTO_TEST_CASE(chance_is_what_the_most_frequent_training_byte_reaches) {
  // 'a' is the most frequent to learn from, 'b' of what is held out.
  const Corpus corpus(
      "aaaabbccaa"
      "abbabbcbca");
  const HeldOut task({.file = corpus.file, .length = 1, .valid_share = 0.5});
  BOOST_TEST(task.chance() == 0.3);
  const auto guess = [](const TaskExample&, std::size_t) { return Index{'a'}; };
  // The first byte is never a target: 2 of the other 9 are 'a'.
  BOOST_TEST(guessed_accuracy(task_examples(task, 4000), guess) == 2 / 9.0,
             boost::test_tools::tolerance(0.1));
}

BOOST_AUTO_TEST_CASE(measures_are_in_bits_per_byte) {
  const std::string noise = random_bytes(4000);
  const Corpus again(noise + noise), other(noise + random_bytes(4000, 2));
  const Text repeated({.file = again.file, .valid_share = 0.5}),
      fresh({.file = other.file, .valid_share = 0.5});
  BOOST_REQUIRE_EQUAL(repeated.measures(1).size(), 1);
  BOOST_TEST(repeated.measures(1)[0].name == "bits_per_byte");
  BOOST_TEST(repeated.measures(3 * std::numbers::ln2)[0].value == 3,
             boost::test_tools::tolerance(1e-12));
  // Noise cannot be compressed, but repeated after the training part it is known.
  const auto alone = [](const Text& task) { return task.references().at(0).value; };
  const auto after = [](const Text& task) { return task.references().at(1).value; };
  BOOST_TEST((alone(repeated) >= 8 && alone(repeated) < 8.1));
  BOOST_TEST((after(repeated) > 0 && after(repeated) < 0.2));
  BOOST_TEST((after(fresh) > 7.9 && after(fresh) < 8.1));
}

// Zeros up to the end of the first MiB of the valid part, noise behind it.
BOOST_AUTO_TEST_CASE(the_compressor_sees_the_first_part_alone) {
  const std::string zeros(kReferenceValid, '\0');
  const Corpus corpus(std::string(2 * kReferenceValid, '\0') + zeros +
                      random_bytes(kReferenceValid));
  const Text task({.file = corpus.file, .valid_share = 0.5});
  BOOST_REQUIRE_EQUAL(task.valid_part().size(), 2 * kReferenceValid);
  for (const Measure& measure : task.references()) BOOST_TEST(measure.value < 0.01, measure.name);
}

BOOST_AUTO_TEST_CASE(compression_takes_any_size) {
  BOOST_TEST(compressed_bytes({}) <= 1);
  const std::string zeros(100000, '\0');
  const Bytes data(reinterpret_cast<const std::uint8_t*>(zeros.data()), zeros.size());
  BOOST_TEST(compressed_bytes(data.first(1)) < 10);
  BOOST_TEST(compressed_bytes(data) < 100);
}

BOOST_AUTO_TEST_CASE(files_that_do_not_do_are_refused) {
  const Corpus corpus(random_bytes(100)), empty("");
  const std::string& file = corpus.file;
  BOOST_TEST(refused({}) == "text: no file to learn from; --text FILE names it");
  BOOST_TEST(refused({.file = file + "?"}) ==
             "cannot read " + file + "?: No such file or directory");
  BOOST_TEST(refused({.file = corpus.path().string()}) ==
             "cannot read " + corpus.path().string() + ": it is not a regular file");
  BOOST_TEST(refused({.file = empty.file}) ==
             "text: " + empty.file +
                 " has 0 bytes, 0 to learn from and 0 to evaluate on "
                 "(valid-share 0.1); length 256 needs 257 or more of each");
  BOOST_TEST(refused({.file = file, .length = 10}) ==
             "text: " + file +
                 " has 100 bytes, 90 to learn from and 10 to evaluate on "
                 "(valid-share 0.1); length 10 needs 11 or more of each");
  BOOST_TEST(refused({.file = file, .length = 10, .valid_share = 0.9}).ends_with("of each"));
  BOOST_TEST(refused({.file = file, .length = 9}) == "accepted");
  BOOST_TEST(refused({.file = file, .length = 9, .valid_share = 0.9}) == "accepted");
  BOOST_TEST(refused({.file = file, .length = 0}).starts_with("text: length 0 is not allowed; 1 "));
  for (double share : {0.0, 1.0, -0.5, std::nan("")})
    BOOST_TEST(refused({.file = file, .valid_share = share}) ==
               concatenate("text: valid-share ", share, " is not allowed; between 0 and 1"));
}

BOOST_AUTO_TEST_CASE(repeated_text_is_learned) {
  std::string bytes;
  for (int i = 0; i < 60; ++i) bytes += "Say it once, and say it again.\n";
  const Corpus corpus(bytes);
  TrainOptions options;
  options.task = "text";
  options.data.text = corpus.file;
  options.data.length = 64;
  options.mixer.attention.width = 32;
  options.mixer.attention.heads = 2;
  options.layers = 1;
  options.hidden = 32;
  options.batch = 8;
  options.steps = 150;
  options.warm_up = 10;
  options.rate = 1e-2;
  Training training(options);
  while (training.steps() < options.steps) training.step();
  const Evaluation result = training.report_evaluation();
  BOOST_REQUIRE_EQUAL(result.measures.size(), 1);
  BOOST_TEST(result.measures[0].value < 0.5);
  BOOST_TEST(result.measures[0].value == result.loss / std::numbers::ln2);
}

BOOST_AUTO_TEST_CASE(a_run_finds_its_file_again_and_refuses_another) {
  const Place place;
  const auto write = [&](const std::string& name, std::uint64_t seed) {
    std::ofstream(place / name, std::ios::binary) << random_bytes(2000, seed);
  };
  write("corpus", 1);
  std::filesystem::create_directory(place / "elsewhere");
  const std::string words =
      "train --task text --text corpus --length 8 --width 16 --heads 2 --layers 1 --hidden 16 "
      "--batch 4 --steps 4 --warm-up 1 --report-every 2 --threads 1 --out run ";
  BOOST_REQUIRE_EQUAL(place.run(words + "--stop-at 2").errors, "");
  const std::string left = read(place / "run/checkpoint.safetensors");

  write("corpus", 2);
  for (const char* again : {"train --resume run", "eval run"})
    check_refused(place, again, {"run/checkpoint.safetensors was made from data of 2000 bytes"});
  std::filesystem::remove(place / "corpus");
  for (const char* again : {"train --resume run", "eval run"})
    check_refused(place, again, {"cannot read ", "/corpus: No such file or directory"});
  BOOST_TEST((read(place / "run/checkpoint.safetensors") == left));
  write("other", 1);
  BOOST_TEST(place.run("eval run --text other --examples 5").errors == "");
  check_refused(place, "eval run --text nothing", {"nothing: No such file or directory"});

  write("corpus", 1);
  const Outcome resumed =
      Place::run_in(place / "elsewhere", VLA_PROGRAM, "train --resume ../run --text ../corpus");
  BOOST_REQUIRE_EQUAL(resumed.errors, "");
  for (const char* part : {", bits per byte 8.", ", xz bits per byte 8.", "chance 0.0",
                           " (xz -9 of the first 1 MiB), xz after training bits per byte ",
                           " (xz -9 of the first 1 MiB after the last 8))"})
    BOOST_TEST((resumed.out.find(part) != std::string::npos), part << " in " << resumed.out);
  const std::vector<Metrics> metrics = RunDirectory(place / "run").metrics();
  for (const Metrics& line : metrics) BOOST_TEST(line.more.at("bits_per_byte") > 7);
  BOOST_TEST(metrics.back().more.at("xz_bits_per_byte") > 8);
  const Outcome evaluated = place.run("eval run");
  BOOST_TEST((evaluated.out.find(", bits per byte 8.") != std::string::npos), evaluated.out);

  BOOST_TEST(place.run("eval run --valid-share 0.05 --examples 5").errors == "");
  const Outcome of_test = place.run("eval run --held-out test");
  BOOST_TEST(of_test.errors == "");
  BOOST_TEST(of_test.out != evaluated.out);
  check_refused(place, "eval run --valid-share 0.2", {"--valid-share 0.2", "0.1 or less"});
  BOOST_TEST(place.run("eval run --valid-share 0.9 --text other --examples 5").errors == "");

  std::filesystem::remove(place / "corpus");  // a finished run can still be told of
  const Outcome report = place.run("report run");
  BOOST_TEST(report.errors == "");
  BOOST_TEST((report.out.find("bits/byte") != std::string::npos));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
