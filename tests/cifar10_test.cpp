// CIFAR-10: what is read of its files, and what is refused.
#include "tasks/cifar10.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/compare.hpp"
#include "tests/loader_files.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

struct Files : TemporaryDirectory {
  explicit Files(Index records = 4) { write_cifar10_files(path(), records, Rng(1)); }
  std::string refused(const std::string& held_out = "val") const {
    return refusal<Cifar10, Cifar10Options>({.data = path().string(), .held_out = held_out});
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(cifar10)

BOOST_AUTO_TEST_CASE(an_image_is_its_grey_pixels_and_its_class) {
  const Files files(4);
  for (const std::string held_out : {"val", "test"}) {
    const Cifar10 task({.data = files.path().string(), .held_out = held_out});
    BOOST_TEST(task.length() == 1024);
    BOOST_TEST(task.vocabulary() == 267);
    BOOST_REQUIRE(task.sets().training.size() == 18);
    BOOST_REQUIRE(task.sets().held_out.size() == (held_out == "val" ? 2 : 4));
    for (Index i = 0; i < task.sets().training.size(); ++i) {
      const std::string file = read(files / ("data_batch_" + std::to_string(1 + i / 4) + ".bin"))
                                   .substr(static_cast<std::size_t>(3073 * (i % 4)), 3073);
      BOOST_TEST(task.sets().training.label(i) == file[0]);
      const Bytes grey = task.sets().training.part(i, 0);
      BOOST_REQUIRE(grey.size() == 1024u);
      const auto byte = [&](std::size_t at) {
        return double(static_cast<unsigned char>(file[at]));
      };
      bool right = true;
      for (std::size_t p = 0; p < 1024; ++p)
        right &= std::abs(0.299 * byte(1 + p) + 0.587 * byte(1025 + p) + 0.114 * byte(2049 + p) -
                          grey[p]) <= 0.5 + 1e-9;
      BOOST_TEST(right);
    }
    // The file of the held-out ones.
    const std::string last =
        read(files / (held_out == "val" ? "data_batch_5.bin" : "test_batch.bin"));
    BOOST_TEST(task.sets().held_out.label(held_out == "val" ? 1 : 3) == last[3 * 3073]);
  }
}

BOOST_AUTO_TEST_CASE(grey_keeps_black_white_and_grey) {
  const Files files(2);
  std::string record(3073, '\0');
  for (std::size_t p = 0; p < 256; ++p)
    for (std::size_t channel = 0; channel < 3; ++channel)
      record[1 + channel * 1024 + p] = static_cast<char>(p);
  make_file(files / "one.bin", record);
  LabelledBytes set;
  read_cifar10(files / "one.bin", set);
  for (std::size_t p = 0; p < 256; ++p) BOOST_TEST(set.part(0, 0)[p] == p);
}

BOOST_AUTO_TEST_CASE(an_epoch_shows_every_image_with_its_class_at_the_end) {
  const Files files(4);
  const Cifar10 task({.data = files.path().string()});
  std::vector<int> seen(18);
  for (const TaskExample& example : task_examples(task, 36)) {
    Index found = -1;
    for (Index i = 0; i < 18; ++i)
      if (std::ranges::equal(task.sets().training.part(i, 0), example.tokens, {},
                             [](std::uint8_t byte) { return Index{byte} + 1; }))
        found = i;
    BOOST_REQUIRE(found >= 0);
    ++seen[static_cast<std::size_t>(found)];
    BOOST_TEST(example.targets.back() == 257 + task.sets().training.label(found));
    BOOST_TEST(std::ranges::count(example.targets, kIgnoredTarget) == 1023);
  }
  for (int times : seen) BOOST_TEST(times == 2);
  BOOST_TEST(task.fingerprint().starts_with("18 examples of 18432 bytes, checksum "));
}

BOOST_AUTO_TEST_CASE(chance_is_the_share_of_the_usual_class) {
  const Files files(2);
  Rng rng(5);
  for (int batch = 1; batch <= 5; ++batch)
    make_file(files / ("data_batch_" + std::to_string(batch) + ".bin"),
              cifar10_record(3, rng) + cifar10_record(3, rng) + cifar10_record(batch, rng));
  make_file(files / "test_batch.bin", cifar10_record(3, rng) + cifar10_record(4, rng) +
                                          cifar10_record(4, rng) + cifar10_record(4, rng));
  BOOST_TEST(Cifar10({.data = files.path().string(), .held_out = "test"}).chance() == 0.25);
}

BOOST_AUTO_TEST_CASE(a_damaged_file_is_refused_with_the_record_and_what_was_expected) {
  const Files files(4);
  const std::filesystem::path path = files / "data_batch_3.bin";
  const std::string whole = read(path);
  // Cut anywhere but between records.
  const std::string two = whole.substr(0, 2 * 3073);
  for (std::size_t bytes = 0; bytes <= two.size(); ++bytes) {
    make_file(path, two.substr(0, bytes));
    const std::string message = files.refused();
    const bool good = bytes > 0 && bytes % 3073 == 0;
    if ((message == "accepted") != good) BOOST_ERROR(bytes << ": " << message);
  }
  make_file(path, two.substr(0, 5000));
  BOOST_TEST(files.refused() == path.string() +
                                    " has 5000 bytes: 1 records and 1927 bytes more; expected "
                                    "whole records of 3073, one or more");
  for (int label : {10, 127, 255}) {
    std::string wrong = whole;
    wrong[3073 * 2] = static_cast<char>(label);
    make_file(path, wrong);
    BOOST_TEST(files.refused() ==
               path.string() + ", record 2: label " + std::to_string(label) + "; expected 0 to 9");
  }
  std::filesystem::remove(path);
  BOOST_TEST(files.refused() == "cannot read " + path.string() + ": No such file or directory");
  std::filesystem::create_directory(path);
  BOOST_TEST(files.refused() == "cannot read " + path.string() + ": it is not a regular file");
  std::filesystem::remove(path);
  make_file(path, whole);
  std::filesystem::remove(files / "test_batch.bin");
  BOOST_TEST(files.refused() == "accepted");
  BOOST_TEST(files.refused("test") ==
             "cannot read " + (files / "test_batch.bin").string() + ": No such file or directory");
}

BOOST_AUTO_TEST_CASE(settings_that_are_not_allowed_are_refused) {
  const Files files(1);
  BOOST_TEST(files.refused("train") == "cifar10: held-out 'train' is not allowed; val or test");
  BOOST_TEST(files.refused() == files.path().string() +
                                    " has 5 records to learn from; a tenth of them for val needs "
                                    "10 or more");
  BOOST_TEST((refusal<Cifar10, Cifar10Options>({}) ==
              "cifar10: no folder to learn from; --data DIRECTORY names it"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
