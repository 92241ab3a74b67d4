// vla report: its table, and the page with the data of its figures beside it.
#include <regex>
#include <set>

#include "tests/compare.hpp"
#include "tests/optional.hpp"
#include "tests/report_files.hpp"
#include "tools/csv.hpp"

namespace vla {
namespace {

std::string page_of(const Place& place, const std::string& words) {
  const Outcome outcome = place.run("report " + words + " --out out");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  return read(place / "out/index.html");
}

// The file of the only figure whose name ends so.
std::string data_of(const Place& place, const std::string& ending) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(place / "out"))
    if (entry.path().string().ends_with(ending)) found.push_back(read(entry.path()));
  BOOST_REQUIRE_EQUAL(found.size(), 1u);
  return found.front();
}

// What the group of a pattern stands for, everywhere in a text.
std::vector<std::string> found_in(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), expression), end; i != end; ++i)
    found.push_back((*i)[1]);
  return found;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report)

BOOST_AUTO_TEST_CASE(without_a_page_it_is_a_table) {
  const Place place;
  write_runs(place);
  const Outcome outcome = place.run("report a c d");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.out ==
             "run  model     accuracy    loss      steps  tokens/s  chance\n"
             "a    vla         0.9500  0.0500         30      2000  0.2500\n"
             "c    vla         0.8000  1.0000  30 of 300      1000  0.2617\n"
             "d    deltanet    0.9500  0.0500         20      2000  0.2500\n");
  BOOST_TEST(!place.has("out"));
  write_experiment(place / "e", "pairs");
  BOOST_TEST(place.run("report e").out ==
             "setting  model     parameters  accuracy  seeds\n"
             "pairs-4  vla              100    0.5000  2, 1 failed\n"
             "pairs-8  vla              100    0.5000  1\n"
             "pairs-8  deltanet           -         -  not run\n"
             "pairs-8  linear             -         -  not run\n");
}

BOOST_AUTO_TEST_CASE(seeds_are_a_mean_and_a_band) {
  const Place place;
  write_runs(place);
  const std::string page = page_of(place, "a b c d");
  BOOST_TEST(data_of(place, "-loss-mqar-pairs-4.csv") ==
             "line,step,loss,lowest,highest\n"
             "vla,10,3,2,4\n"
             "vla,20,1.5,1,2\n"  // one seed has nothing at 30
             "vla (held out),30,0.05,,\n"
             "vla (held out),20,0.05,,\n"
             "deltanet,10,4,4,4\n"
             "deltanet,20,3,3,3\n"
             "deltanet (held out),20,0.05,,\n");
  const std::string accuracy = data_of(place, "-accuracy-mqar-pairs-4.csv");
  BOOST_TEST(has(accuracy, "vla,20,0.6,0.5,0.7\n"), accuracy);
  BOOST_TEST(has(accuracy, "chance,10,0.25,,\nchance,30,0.25,,\n"), accuracy);
  BOOST_TEST(has(page, "(deltanet: 1; vla: 3)"));
  BOOST_TEST(has(page, "<code>vla train --pairs 4 --steps 300 --warm-up 30</code>"));
}

BOOST_AUTO_TEST_CASE(settings_tell_runs_of_one_model_apart) {
  const Place place;
  TrainOptions other = report_options("vla", 1);
  other.rate = 0.5;
  other.threads = 3;
  write_run(place / "a", report_options("vla", 1), {{4, 0.1}});
  write_run(place / "b", other, {{2, 0.3}});
  page_of(place, "a b");
  const std::string loss = data_of(place, "-loss-mqar-pairs-4.csv");
  BOOST_TEST(has(loss, "\"vla, rate 0.001\",10,4,4,4\n"), loss);
  BOOST_TEST(has(loss, "\"vla, rate 0.5\",10,2,2,2\n"), loss);
}

BOOST_AUTO_TEST_CASE(many_curves_stand_in_several_figures) {
  const Place place;
  std::string words;
  for (int i = 10; i < 20; ++i) {
    TrainOptions options = report_options("vla", 1);
    options.rate = i;
    write_run(place / std::to_string(i), options, {{4, 0.1}});
    words += std::to_string(i) + " ";
  }
  page_of(place, words);
  BOOST_TEST(has(data_of(place, "-loss-mqar-pairs-4-1-of-2.csv"), "\"vla, rate 14\",10,4,4,4\n"));
  BOOST_TEST(has(data_of(place, "-loss-mqar-pairs-4-2-of-2.csv"), "\"vla, rate 15\",10,4,4,4\n"));
}

BOOST_AUTO_TEST_CASE(an_experiment_has_sizes_times_and_curves) {
  const Place place;
  write_experiment(place / "e", "pairs");
  const std::string page = page_of(place, "e");
  BOOST_TEST(data_of(place, "-pairs-n.csv") ==
             "line,pairs,accuracy,lowest,highest\n"
             "vla,4,0.5,0.25,0.75\nvla,8,0.5,0.5,0.5\nchance,4,0.25,,\nchance,8,0.25,,\n");
  BOOST_TEST(data_of(place, "-pairs-8-evaluated-at-t-n.csv") ==
             "line,T,accuracy,lowest,highest\n"
             "vla,64,0.5,0.5,0.5\nvla,1024,0.25,0.25,0.25\nchance,64,0.2,,\nchance,1024,0.1,,\n");
  BOOST_TEST(data_of(place, "-time-of-a-call-forward.csv") ==
             "line,T,ms\nvla,64,500\nvla,128,500\nsoftmax,64,250\nsoftmax,128,750\n");
  BOOST_TEST(has(data_of(place, "-loss-pairs-4.csv"), "vla,20,1,1,1\n"));
  for (const char* part :
       {"Faster than softmax: vla from T 128 on. Batch 2. <a",
        "not run: pairs-8 deltanet; pairs-8 linear.", "a &lt;test&gt;", "<code>vla x</code>",
        "<td>2, 1 failed</td>", "<code>vla report e</code>"})
    BOOST_TEST(has(page, part), part << " is not in the page");
  std::filesystem::remove_all(place / "e/pairs-4");  // only the results are left
  BOOST_TEST(has(page_of(place, "e"), "<td>pairs-4</td>"));
}

BOOST_AUTO_TEST_CASE(the_page_stands_alone) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out trained").errors, "");
  write_runs(place);
  write_experiment(place / "e", "pairs");
  std::string page = page_of(place, "trained a b c d e");
  BOOST_TEST(has(page, "<svg"));
  page = std::regex_replace(page, std::regex("xmlns(:xlink)?=\"[^\"]*\""), "");
  for (const char* part : {"<script", "<link", "<iframe", "http:", "https:", "url(", "@import"})
    BOOST_TEST(!has(page, part), part << " is in the page");
  std::set<std::string> ids;
  for (const std::string& id : found_in(page, "\\bid=['\"]([^'\"]*)"))
    BOOST_TEST(ids.insert(id).second, id << " is there twice");
  for (const std::string& to : found_in(page, "(?:href|src)=['\"]([^'\"]*)")) {
    const bool inside = (to.starts_with("#") && ids.contains(to.substr(1))) ||
                        to.starts_with("data:image/png;") || place.has("out/" + to);
    BOOST_TEST(inside, "the page needs " << to);
  }
  for (const auto& entry : std::filesystem::directory_iterator(place / "out")) {
    const std::filesystem::path file = entry.path();
    if (file.filename() == "index.html") continue;
    BOOST_TEST((file.extension() == ".csv" || file.extension() == ".svg"));
    for (const char* other : {".csv", ".svg"})
      BOOST_TEST(std::filesystem::exists(std::filesystem::path(file).replace_extension(other)));
  }
}

BOOST_AUTO_TEST_CASE(names_are_only_text) {
  const Place place;
  const std::string name = "a <b>&\"'`c", setting = "p'<i>&`id`@airs";
  write_run(place / name, report_options("vla", 1), {{4, 0.1}, {2, 0.5}});
  write_experiment(place / "e", setting);
  const std::string page = page_of(place, quoted(name) + " e --tensorboard");
  BOOST_TEST(has(page, "<td>a &lt;b&gt;&amp;&quot;&#39;`c</td>"));
  BOOST_TEST(has(page, ">p'&lt;i>&amp;`id`@airs</text>"));  // the axis
  BOOST_TEST(!has(page, "<b>"));
  BOOST_TEST(!has(page, "<i>"));
  BOOST_TEST(place.has("out/tensorboard/" + name + "/events.out.tfevents.vla"));
}

BOOST_AUTO_TEST_CASE(the_insides_are_those_of_inspect) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").errors, "");
  BOOST_REQUIRE_EQUAL(place.run("inspect memory run --head 1 --out inside").errors, "");
  const std::string page = page_of(place, "run --head 1");
  BOOST_TEST(has(page, "Inside vla"));
  for (const char* figure :
       {"penalty-inverse-at-the-end", "eigenvalues-of-the-penalty-inverse",
        "norm-of-the-penalty-inverse", "survival", "attention", "attention-entropy"})
    BOOST_TEST(data_of(place, concatenate("-", figure, "-vla.csv")).size() > 50);
  write_file(place / "drawn.csv", data_of(place, "-norm-of-the-memory-vla.csv"));
  const Table drawn = read_csv(place / "drawn.csv"), looked = read_csv(place / "inside/memory.csv");
  BOOST_REQUIRE_EQUAL(drawn.size(), looked.size());
  for (std::size_t row = 1; row < drawn.size(); ++row) {
    BOOST_TEST(drawn[row][1] == looked[row][0]);
    BOOST_TEST(drawn[row][2] == looked[row][3]);
  }
  write_file(place / "run/checkpoint.safetensors", "nothing");
  BOOST_TEST(has(page_of(place, "run"), "No look into run: run/checkpoint.safetensors"));
  check_refused(place, "report run --out out --layer 1", {"--layer 1", "layers 0 to 0"});
  check_refused(place, "report run --out out --head 2", {"--head 2", "heads 0 to 1"});
}

BOOST_AUTO_TEST_CASE(what_is_missing_or_damaged_is_named) {
  const Place place;
  write_run(place / "run", report_options("vla", 1), {{4, 0.1}, {2, 0.5}});
  check_refused(place, "report nothing --out out", {"nothing/config.json"});
  check_refused(place, "report run --tensorboard", {"--tensorboard needs --out"});
  check_refused(place, "report run --out run/config.json", {"run/config.json"});
  write_experiment(place / "e", "pairs");
  for (const char* text : {"{\"experiment\": 1", "{\"experiment\": 1}", "[]",
                           R"({"experiment":"x","description":"","made_with":"","rows":[{}]})"}) {
    write_file(place / "e/results.json", text);
    check_refused(place, "report e --out out", {"e/results.json"});
  }
  write_experiment(place / "e", "pairs");
  write_file(place / "e/T-64.json", "{}");
  check_refused(place, "report e --out out", {"e/T-64.json"});
  write_file(place / "e/table.csv", "a,b\n1\n");
  check_refused(place, "report e", {"e/table.csv, line 2: 1 words; the head has 2"});
  std::filesystem::remove(place / "e/table.csv");
  check_refused(place, "report e", {"e/table.csv"});
}

BOOST_AUTO_TEST_CASE(a_run_that_has_not_begun_is_a_row) {
  const Place place;
  write_run(place / "empty", report_options("vla", 1), {}, false);
  const std::string page = page_of(place, "empty --tensorboard");
  BOOST_TEST(has(page, "<td>empty</td>"));
  BOOST_TEST(has(page, "0 of 300"));
  BOOST_TEST(!has(page, "<svg"));
}

BOOST_AUTO_TEST_CASE(nothing_overlaps_in_chromium,
                     *boost::unit_test::precondition(has_program("chromium"))) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").errors, "");
  write_runs(place);
  write_experiment(place / "e", "pairs");
  page_of(place, "run a b c d e");
  const Outcome outcome = Place::run_in(
      place.path(), std::string(VLA_SOURCE_DIR) + "/tools/check-report", "out/index.html");
  BOOST_TEST(outcome.code == 0, outcome.out << outcome.errors);
  BOOST_TEST(has(outcome.out, "360 px wide, seen: "), outcome.out);
  BOOST_TEST(has(outcome.out, "1280 px wide, seen: "), outcome.out);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
