// What figures of a report are made of: tables, lines, ticks, styles, families of settings.
#include <cmath>

#include "tests/compare.hpp"
#include "tests/report_files.hpp"
#include "tools/report/drawing.hpp"
#include "tools/report/gnuplot.hpp"
#include "tools/report/page.hpp"
#include "tools/report/sizes.hpp"
#include "tools/report/ticks.hpp"
#include "tools/report/times.hpp"

namespace vla {
namespace {

using Numbers = std::vector<double>;

void check_numbers(const Numbers& found, const Numbers& expected) {
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report_figures)

BOOST_AUTO_TEST_CASE(csv_keeps_every_word) {
  const Place place;
  const Table table = {{"a", "b,c", "d\"e"}, {"", "f\ng", "h i"}, {"\"", ",", "'"}};
  write_file(place / "x.csv", csv_text(table));
  BOOST_TEST((read_csv(place / "x.csv") == table));
  write_file(place / "x.csv", "a,b\n1,2");
  BOOST_TEST((read_csv(place / "x.csv") == Table{{"a", "b"}, {"1", "2"}}));
  write_file(place / "x.csv", "");
  BOOST_CHECK_THROW(read_csv(place / "x.csv"), Error);
}

BOOST_AUTO_TEST_CASE(columns_of_a_csv_are_lines) {
  const Place place;
  write_file(place / "x.csv", "noise,vla,ridge\n0.1,1,\n1,2,4.5\n");
  const LineFigure figure = figure_of_csv(place / "x.csv", "noise", {"ridge", "vla"},
                                          {.title = "t", .x_label = "noise", .y_label = "error"});
  BOOST_REQUIRE_EQUAL(figure.lines.size(), 2u);
  BOOST_TEST(figure.lines[0].label == "ridge");
  check_numbers(figure.lines[0].x, {1});
  check_numbers(figure.lines[0].y, {4.5});
  check_numbers(figure.lines[1].x, {0.1, 1});
  check_numbers(figure.lines[1].y, {1, 2});
  for (const auto& [x, y, message] :
       {std::tuple{"time", "vla", "no column 'time'; there are: noise, vla, ridge"},
        {"noise", "word", "no column 'word'"}})
    BOOST_CHECK_EXCEPTION(figure_of_csv(place / "x.csv", x, {y}, {}), Error, [&](const Error& e) {
      return std::string(e.what()).find(message) != std::string::npos;
    });
  write_file(place / "x.csv", "a,b\n1,2x\n");
  BOOST_CHECK_EXCEPTION(figure_of_csv(place / "x.csv", "a", {"b"}, {}), Error, [](const Error& e) {
    return std::string(e.what()).ends_with("x.csv, line 2: '2x' is not a number");
  });
}

BOOST_AUTO_TEST_CASE(ticks_are_round_and_apart) {
  std::string shares;
  for (const double tick : round_ticks({.low = 0, .high = 1.02, .pixels = 260}))
    shares += tick_text(tick) + " ";
  BOOST_TEST(shares == "0 0.2 0.4 0.6 0.8 1 ");
  check_numbers(round_ticks({.low = -3, .high = 3, .pixels = 60}), {-3, 0, 3});
  const Numbers decades =
      round_ticks({.low = 2e-3, .high = 300, .logarithmic = true, .pixels = 260});
  BOOST_REQUIRE_EQUAL(decades.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i)
    BOOST_TEST(std::abs(std::log10(decades[i]) - (static_cast<double>(i) - 2)) < 1e-9);
  const Axis wide{.low = 4, .high = 64, .logarithmic = true, .pixels = 380, .horizontal = true};
  check_numbers(ticks_with_room({4, 8, 16, 24, 32, 48, 64}, wide), {4, 8, 16, 24, 32, 48, 64});
  const Axis narrow{.low = 4, .high = 64, .logarithmic = true, .pixels = 60, .horizontal = true};
  check_numbers(ticks_with_room({4, 8, 16, 24, 32, 48, 64}, narrow), {4, 16, 64});
  for (const auto& [number, text] : {std::pair{0.1 + 0.2, "0.3"},
                                     {4096.0, "4096"},
                                     {0.0, "0"},
                                     {20000.0, "20k"},
                                     {1.5e6, "1.5M"},
                                     {65536.0, "65536"},
                                     {-0.001, "-0.001"},
                                     {2e9, "2G"}})
    BOOST_TEST(tick_text(number) == text);
}

BOOST_AUTO_TEST_CASE(a_name_has_a_number_for_each_of_its_words) {
  const std::vector<NumberedName> names = numbered_names("T-64-pairs-8-plain");
  BOOST_REQUIRE_EQUAL(names.size(), 2u);
  BOOST_TEST(names[0].number == 64);
  BOOST_TEST(names[0].family() == "T-N-pairs-8-plain");
  BOOST_TEST(names[0].counted() == "T");
  BOOST_TEST(names[1].number == 8);
  BOOST_TEST(names[1].family() == "T-64-pairs-N-plain");
  BOOST_TEST(names[1].counted() == "pairs");
  BOOST_TEST(numbered_names("short-pairs-16")[0].counted() == "pairs");
  BOOST_TEST(numbered_names("lambda-0.1").empty());
  BOOST_TEST(numbered_names("2x").empty());
  BOOST_TEST(numbered_names("").empty());
}

BOOST_AUTO_TEST_CASE(a_model_looks_the_same_everywhere) {
  Palette palette;
  const LineStyle vla = palette.style("vla");
  const LineStyle wide = palette.style("deltanet-2x"), other = palette.style("other");
  BOOST_TEST((palette.style("vla") == vla));
  BOOST_TEST((palette.style("other") == other));
  BOOST_TEST(wide.color == palette.style("deltanet").color);
  BOOST_TEST(wide.dash == 1);
  BOOST_TEST(palette.style("vla-v1").color != vla.color);
  const LineFigure figure{.title = "",
                          .x_label = "",
                          .y_label = "",
                          .lines = {{.label = "vla, rate 1", .model = "vla"},
                                    {.label = "", .model = "vla", .kind = Line::Kind::points},
                                    {.label = "vla, rate 2", .model = "vla"}}};
  const std::vector<LineStyle> styles = styles_of(figure, palette);
  BOOST_TEST((styles[0] == vla));
  BOOST_TEST((styles[1] == vla));
  BOOST_TEST(styles[2].color == vla.color);
  BOOST_TEST(styles[2].dash == 1);
}

BOOST_AUTO_TEST_CASE(too_many_lines_are_named) {
  LineFigure figure{.title = "", .x_label = "", .y_label = ""};
  for (int i = 0; i < 10; ++i) {
    figure.lines.push_back({.label = concatenate("l", i)});
    figure.lines.push_back({.label = "p", .kind = Line::Kind::points});
  }
  figure.lines.push_back({.label = "chance", .kind = Line::Kind::guide});
  limit_lines(figure);
  BOOST_TEST(figure.lines.size() == 17u);
  BOOST_TEST(figure.lines.back().label == "chance");
  BOOST_TEST(figure.caption.ends_with("Left out, to keep it readable: l8, l9."));
}

BOOST_AUTO_TEST_CASE(a_layer_is_faster_from_where_it_stays_so) {
  const auto time = [](const char* layer, double length, double milliseconds) {
    return LayerTime{.layer = layer, .pass = "", .length = length, .milliseconds = milliseconds};
  };
  BOOST_TEST(
      crossovers({time("vla", 64, 2), time("linear", 64, 0.5), time("softmax", 64, 1),
                  time("vla", 128, 3), time("slow", 128, 9), time("softmax", 128, 4)}) ==
      "Faster than softmax: vla from T 128 on, linear from T 64 on. Not faster: slow (to T 128).");
  // Faster once and then not again is not faster from there on.
  BOOST_TEST(crossovers({time("vla", 64, 0.5), time("softmax", 64, 1), time("vla", 128, 9),
                         time("softmax", 128, 4), time("vla", 256, 9)}) ==
             "Not faster: vla (to T 128).");
  BOOST_TEST(crossovers({time("vla", 64, 2)}) == "");
}

// Numbers that are the same, missing, negative, or but one.
BOOST_AUTO_TEST_CASE(odd_figures_are_drawn) {
  const Place place;
  Page page(place / "out");
  const double nan = std::nan("");
  for (const Numbers& y : {Numbers{1}, {2, 2, 2}, {nan, 1, nan}, {-1, 0, 1}, {1e-300, 1, 1e300}})
    for (const Scale scale : {Scale::linear, Scale::by_span, Scale::logarithmic}) {
      Line line{.label = "a"};
      for (const double number : y) {
        line.x.push_back(static_cast<double>(line.x.size()));
        line.y.push_back(number);
      }
      page.figure(LineFigure{
          .title = "odd", .x_label = "x", .y_label = "y", .y_scale = scale, .lines = {line}});
    }
  page.figure(LineFigure{.title = "none", .x_label = "x", .y_label = "y"});
  for (const Numbers& values : {Numbers{0, 0, 0, 0}, {nan, nan, nan, nan}, {1, -2, nan, 1e-9}})
    page.figure(HeatMap{
        .title = "map", .x_label = "x", .y_label = "y", .rows = 2, .columns = 2, .values = values});
  page.write();
  const std::string text = read(page.file());
  // A name of an axis that has no room is left out by gnuplot.
  for (const std::string part : {"role='img'", ">x</text>", ">y</text>"}) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++count;
    BOOST_TEST(count == 18u, count << " times " << part);
  }
}

BOOST_AUTO_TEST_CASE(a_figure_that_gnuplot_refuses_is_an_error) {
  const Place place;
  const Gnuplot gnuplot(place.path());
  BOOST_CHECK_EXCEPTION(gnuplot.svg("plot nonsense(x)", "name", 100, 100), Error,
                        [](const Error& error) {
                          const std::string text = error.what();
                          return text.find("gnuplot failed: ") != std::string::npos &&
                                 text.find("undefined function: nonsense") != std::string::npos;
                        });
  BOOST_TEST(gnuplot_text("it's\n\"x\"") == "'it''s \"x\"'");
}

BOOST_AUTO_TEST_CASE(without_gnuplot_there_is_no_page) {
  const Place place;
  write_run(place / "run", report_options("vla", 1), {{4, 0.1}, {2, 0.5}});
  write_file(place / "broken/gnuplot", "#!/bin/sh\necho 'no terminal' >&2\nexit 1\n");
  std::filesystem::permissions(place / "broken/gnuplot", std::filesystem::perms::owner_all);
  for (const auto& [path, reason] :
       {std::pair{"/nowhere", "gnuplot, which draws, is missing; tools/setup installs it"},
        {"broken", "gnuplot failed: no terminal; tools/setup installs it"}}) {
    const Outcome outcome = Place::run_in(
        place.path(), "env",
        concatenate("PATH=", path, " ", quoted(VLA_PROGRAM), " report run --out out"));
    BOOST_TEST(outcome.code == 2);
    BOOST_TEST(outcome.out == "");
    BOOST_TEST(std::ranges::count(outcome.errors, '\n') == 1);
    BOOST_TEST(has(outcome.errors, reason), outcome.errors);
    BOOST_TEST(std::filesystem::is_empty(place / "out"));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
