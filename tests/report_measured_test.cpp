// vla report of experiments that measure: regression and stability, and figures as files.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <set>

#include "tests/program.hpp"
#include "tools/csv.hpp"
#include "tools/report/picture.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

// The file in the folder whose name has `part` in it.
fs::path file_with(const fs::path& folder, const std::string& part) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().find(part) != std::string::npos) return entry.path();
  fail("no file with '", part, "' in ", folder.string());
}

std::set<std::string> lines_in(const fs::path& file) {
  std::set<std::string> lines;
  const Table table = read_csv(file);
  for (std::size_t row = 1; row < table.size(); ++row) lines.insert(table[row].front());
  return lines;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report_measured)

BOOST_AUTO_TEST_CASE(regression_has_a_figure_for_each_setting) {
  const Place place;
  BOOST_TEST(place
                 .run("experiment regression --quick --steps 2 --settings plain,drifting "
                      "--models vla,linear --out .")
                 .code == 0);
  const std::string vla = "regression-quick/plain/vla/rate-0.008-seed-1.csv";
  fs::rename(place / vla, place / "kept");  // what is gone is left out
  BOOST_TEST(place.run("report regression-quick --out page").code == 0);
  BOOST_TEST((lines_in(file_with(place / "page", "of-plain-regression.csv")) ==
              std::set<std::string>{"Kalman", "ridge", "linear"}));
  fs::rename(place / "kept", place / vla);
  const Outcome outcome = place.run("report regression-quick --out page");
  BOOST_TEST(outcome.code == 0, outcome.errors);
  for (const char* setting : {"plain", "drifting"}) {
    const fs::path csv =
        file_with(place / "page", std::string("of-") + setting + "-regression.csv");
    BOOST_TEST((lines_in(csv) == std::set<std::string>{"Kalman", "ridge", "vla", "linear"}));
    BOOST_TEST(read_csv(csv).size() == 1 + 4 * 8);  // 8 places
  }
}

BOOST_AUTO_TEST_CASE(stability_has_norms_over_time_and_errors_of_streaming) {
  const Place place;
  BOOST_TEST(place
                 .run("experiment stability --quick --models vla,linear --settings "
                      "random-T-1000,streamed-random-T-40000 --out .")
                 .code == 0);
  BOOST_TEST(place.run("report stability-quick --out page").code == 0);
  const auto lines_of = [&](const char* part) { return lines_in(file_with(place / "page", part)); };
  const std::set<std::string> both = {"vla", "linear"};
  BOOST_TEST((lines_of("norm-of-the-memory-random-t-1000.csv") == both));
  BOOST_TEST((lines_of("inverse-random-t-1000.csv") == std::set<std::string>{"vla"}));
  BOOST_TEST((lines_of("error-of-float32-streamed-random-t-40000.csv") == both));

  const fs::path file = place / "stability-quick/random-T-1000/vla/seed-1.json";
  BOOST_REQUIRE(fs::exists(file));
  std::ofstream(file) << "{\"series\": {\"memory_norm\": [1]}}";
  const Outcome damaged = place.run("report stability-quick --out page");
  BOOST_TEST(damaged.code != 0);
  BOOST_TEST(
      (damaged.errors.find("seed-1.json: not as vla stability writes it") != std::string::npos),
      damaged.errors);
  fs::remove(file);
  BOOST_TEST(place.run("report stability-quick --out page").code == 0);
}

BOOST_AUTO_TEST_CASE(a_picture_stands_alone_with_its_legend) {
  const LineFigure figure{
      .title = "A & B",
      .x_label = "x",
      .y_label = "y",
      .lines = {{.label = "a < b", .x = {1}, .y = {2}},
                {.label = "chance", .x = {1}, .y = {2}, .kind = Line::Kind::guide},
                {.label = "dots", .x = {1}, .y = {2}, .kind = Line::Kind::points},
                {.label = "empty"}}};
  const std::vector<LineStyle> styles(4, {"#123456", 0});
  const std::vector<LegendEntry> legend = legend_of(figure, styles);
  BOOST_REQUIRE_EQUAL(legend.size(), 2);
  BOOST_TEST(legend[1].dashes == "6 4");
  const std::string picture = picture_of("<svg viewBox='0 0 480 330'></svg>", 330, "A & B", legend);
  for (const char* part : {"<svg xmlns='http://www.w3.org/2000/svg'", ">A &amp; B</text>",
                           ">a &lt; b</text>", ">chance</text>", "y='28' width='480' height='330'"})
    BOOST_TEST((picture.find(part) != std::string::npos), part);
  BOOST_TEST((picture.find("dots") == std::string::npos));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
