// Pathfinder on disk: what is written, what is read, and what is refused.
#include "tasks/pathfinder_file.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <sstream>

#include "tasks/pathfinder.hpp"
#include "tasks/png.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/loader_files.hpp"
#include "tests/program.hpp"
#include "tests/task_examples.hpp"

namespace vla {
namespace {

struct Files : Place {
  std::filesystem::path folder = *this / "data";
  explicit Files(Index count = 30) { write_pathfinder(folder, pathfinder_rule(32), count, Rng(1)); }
  std::string refused(const std::string& metadata) const {
    make_file(folder / "metadata/0.npy", metadata);
    const std::string message = refusal<Pathfinder, PathfinderOptions>({.data = folder.string()});
    const std::string path = (folder / "metadata/0.npy").string();
    return message.starts_with(path) ? message.substr(path.size()) : "elsewhere: " + message;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(pathfinder_file)

BOOST_AUTO_TEST_CASE(files_are_those_of_the_arena) {
  const Files files(1003);
  std::istringstream rows(read(files.folder / "metadata/0.npy") +
                          read(files.folder / "metadata/1.npy"));
  const PathfinderSet set = read_pathfinder(files.folder);
  BOOST_REQUIRE(set.size() == 1003);
  for (Index i = 0; i < 1003; ++i) {
    std::string folder, file;
    Index number = 0, label = 0;
    double continuity = 0, contour = 0, distractor = 0;
    std::string row;
    BOOST_REQUIRE(std::getline(rows, row));
    std::istringstream(row) >> folder >> file >> number >> label >> continuity >> contour >>
        distractor;
    BOOST_TEST(folder == (i < 1000 ? "imgs/0" : "imgs/1"));
    BOOST_TEST(number == i % 1000);
    BOOST_TEST(file == "sample_" + std::to_string(number) + ".png");
    BOOST_TEST(continuity == 1);
    BOOST_TEST(contour == 14);
    BOOST_TEST(distractor == 4);
    const auto place = static_cast<std::size_t>(i);
    BOOST_TEST(set.paths[place] == folder + "/" + file);
    BOOST_TEST(set.labels[place] == label);
    if (i % 50 != 2) continue;
    Rng own = Rng(1).fork(static_cast<std::uint64_t>(i));
    const PathfinderImage image = draw_pathfinder(pathfinder_rule(32), own);
    BOOST_TEST(image.connected == (label == 1));
    BOOST_TEST((read_png(files.folder / folder / file, 32, 32) == image.pixels));
  }
  // Fewer images leave nothing of those before.
  write_pathfinder(files.folder, pathfinder_rule(32), 12, Rng(1));
  BOOST_TEST(read_pathfinder(files.folder).size() == 12);
  BOOST_CHECK_THROW(write_pathfinder(files.folder, pathfinder_rule(32), 0, Rng(1)), Error);
  make_file(files / "file", "in the way");
  BOOST_CHECK_THROW(write_pathfinder(files / "file", pathfinder_rule(32), 3, Rng(1)), Error);
}

BOOST_AUTO_TEST_CASE(the_parts_are_eight_one_and_one_tenths) {
  const Files files(30);
  const PathfinderSet set = read_pathfinder(files.folder);
  for (const std::string held_out : {"val", "test"}) {
    const Pathfinder task({.data = files.folder.string(), .held_out = held_out});
    std::vector<int> seen(30);
    const auto see = [&](const Batch& batch) {
      for (Index b = 0; b < batch.tokens.size(0); ++b)
        for (std::size_t i = 0; i < 30; ++i) {
          const auto image = read_png(files.folder / set.paths[i], 32, 32);
          if (std::ranges::equal(
                  batch.tokens.values<Index>().subspan(static_cast<std::size_t>(b * 1024), 1024),
                  image, {}, {}, [](std::uint8_t byte) { return Index{byte} + 1; })) {
            ++seen[i];
            BOOST_TEST(batch.targets.at<Index>({b, 1023}) == 257 + set.labels[i]);
          }
        }
    };
    Rng rng(1), other(2);
    see(task.sample(48, rng));
    see(task.sample_held_out(3, other));
    for (int i = 0; i < 30; ++i) {
      const bool held = held_out == "val" ? i >= 24 && i < 27 : i >= 27;
      BOOST_TEST(seen[static_cast<std::size_t>(i)] == (i < 24 ? 2 : held ? 1 : 0), i);
    }
  }
}

// The order of files is that of their numbers: 10 comes after 9.
BOOST_AUTO_TEST_CASE(metadata_come_in_the_order_of_their_numbers) {
  const Files files(2);
  const std::string row = "imgs/0 sample_0.png 0 ";
  std::filesystem::remove(files.folder / "metadata/0.npy");
  make_file(files.folder / "metadata/10.npy", row + "1\n");
  make_file(files.folder / "metadata/9.npy", row + "0\n" + row + "0");
  make_file(files.folder / "metadata/notes.txt", "not metadata");
  make_file(files.folder / "metadata/x1.npy", "not metadata");
  BOOST_TEST((read_pathfinder(files.folder).labels == std::vector<std::uint8_t>{0, 0, 1}));
}

BOOST_AUTO_TEST_CASE(an_empty_image_is_left_out) {
  const Files files(30);
  make_file(files.folder / "imgs/0/sample_4.png", "");
  const PathfinderSet set = read_pathfinder(files.folder);
  BOOST_TEST(set.size() == 29);
  BOOST_TEST(std::ranges::count(set.paths, "imgs/0/sample_4.png") == 0);
}

BOOST_AUTO_TEST_CASE(damaged_metadata_are_refused_with_the_line_and_what_was_expected) {
  const Files files(30);
  const std::string good = read(files.folder / "metadata/0.npy");
  const std::string fields =
      "; expected 4 or more: a folder, a file, a number and a label, with blanks between them";
  BOOST_TEST(files.refused(good) == "elsewhere: accepted");
  BOOST_TEST(files.refused(good + "\n") == ", line 31: 0 fields" + fields);
  BOOST_TEST(files.refused(good + "imgs/0\n") == ", line 31: 1 field" + fields);
  BOOST_TEST(files.refused("imgs/0 sample_0.png 0\n") == ", line 1: 3 fields" + fields);
  BOOST_TEST(files.refused("imgs/0 sample_0.png 0 2\n") == ", line 1: label '2'; expected 0 or 1");
  BOOST_TEST(files.refused("imgs/0 sample_99.png 0 1\n") ==
             ", line 1: image " + (files.folder / "imgs/0/sample_99.png").string() +
                 ": No such file or directory");
  for (const char* outside : {"../data/imgs/0 sample_0.png 0 1\n", "/ sample_0.png 0 1\n"})
    BOOST_TEST(files.refused(outside).ends_with("; expected one in the folder of the data"));
  const std::string unnamed = "; expected a name of 255 bytes or less without control characters";
  BOOST_TEST(files.refused("imgs/0 sample_0.png\t 0 1\n") ==
             ", line 1: image 'sample_0.png?'" + unnamed);
  BOOST_TEST(files.refused(std::string("imgs/0 sample_0.png\0.png 0 1", 28)) ==
             ", line 1: image 'sample_0.png?.png'" + unnamed);
  std::string deep;
  for (int i = 0; i < 4'000'000; ++i) deep += "a/";
  BOOST_TEST(files.refused(deep + " sample_0.png 0 1\n") ==
             ", line 1: image 'a/a/a/a/a/a/a/a/a/a/..'" + unnamed);
  BOOST_TEST(files.refused("\x93NUMPY\x01 binary").starts_with(", line 1: 2 fields; expected"));
  BOOST_TEST(files.refused("").starts_with("elsewhere: " + (files.folder / "metadata").string() +
                                           " names no images; expected files"));
  std::size_t nine = 0;
  for (int i = 0; i < 9; ++i) nine = good.find('\n', nine) + 1;
  BOOST_TEST(
      files.refused(good.substr(0, nine)) ==
      "elsewhere: " + files.folder.string() +
          " has 9 images; 10 or more are needed, the last two tenths of them to evaluate on");
  std::filesystem::remove_all(files.folder / "metadata");
  BOOST_TEST(
      (refusal<Pathfinder, PathfinderOptions>({.data = files.folder.string()}) ==
       "cannot read " + (files.folder / "metadata").string() + ": No such file or directory"));
}

BOOST_AUTO_TEST_CASE(a_damaged_image_is_refused_when_it_is_drawn) {
  const Files files(30);
  const Pathfinder task({.data = files.folder.string()});
  const std::filesystem::path path = files.folder / "imgs/0/sample_3.png";
  const std::string whole = read(path);
  const auto drawn = [&] {
    Rng rng(1);
    return error_of([&] { task.sample(24, rng); });
  };
  BOOST_TEST(drawn() == "accepted");
  make_file(path, whole.substr(0, whole.size() / 2));
  BOOST_TEST(drawn().starts_with(path.string() + ": "));
  const std::vector<std::uint8_t> large = encode_png(std::vector<std::uint8_t>(64 * 64), 64, 64);
  make_file(path, {large.begin(), large.end()});
  BOOST_TEST(drawn() == path.string() + " is an image of 64 x 64; expected 32 x 32");
  std::filesystem::remove(path);
  BOOST_TEST(drawn() == "cannot read " + path.string() + ": No such file or directory");
}

BOOST_AUTO_TEST_CASE(a_run_learns_from_files) {
  const Place place;
  BOOST_TEST(place.run("data --task pathfinder --contour 6 --out data --count 40").out ==
             "40 examples of pathfinder in data\n");
  const Outcome trained = place.run(
      "train --task pathfinder --data data --width 16 --heads 2 --layers 1 --hidden 16 --batch 2 "
      "--steps 2 --warm-up 1 --report-every 2 --threads 1 --out run");
  BOOST_TEST(trained.errors == "");
  BOOST_TEST(place.run("eval run --examples 4 --held-out test").errors == "");
  BOOST_TEST(place.run("eval run --examples 4 --data ''").errors == "");
  BOOST_TEST(place.run("data --task pathfinder --out data --count 41 --force").errors == "");
  check_refused(place, "eval run", {"was made from data of 40 images", "now 41 images"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
