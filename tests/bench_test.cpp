// `vla bench` at sizes that take no time: which rows it has, and what stands in them.
#include "tools/bench.hpp"

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "models/models.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

BenchOptions tiny() {
  BenchOptions options;
  options.shape = {.batch = 2, .time = 5, .heads = 2, .width = 8};
  options.repeats = 2;
  options.sgemm_size = 64;
  return options;
}

std::vector<BenchRow> measured(const BenchOptions& options) {
  std::ostringstream out;
  return run_bench(options, out);
}

std::vector<BenchRow> one_operator(const std::string& name, BenchOptions options = tiny()) {
  options.operators = name;
  options.layers = "none";
  return measured(options);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(bench)

BOOST_AUTO_TEST_CASE(every_case_has_a_row_for_each_form_and_pass) {
  std::ostringstream out;
  std::map<std::string, std::set<std::string>> passes;
  const std::vector<BenchRow> rows = run_bench(tiny(), out);
  for (const BenchRow& row : rows) {
    BOOST_TEST_CONTEXT(row.name << " " << row.form << " " << row.pass) {
      passes[row.name + " " + row.form].insert(row.pass);
      BOOST_TEST(row.skipped == "");
      BOOST_TEST(row.repeats == 2);
      BOOST_TEST(row.seconds > 0);
      BOOST_TEST(row.bytes > 0);
      // What comes out of one call lives beside the inputs; gradients of the inputs too.
      BOOST_TEST(row.peak_bytes >= row.bytes * 3 / 4);
      BOOST_TEST((out.str().find("\n" + row.name + " ") != std::string::npos));
    }
  }
  for (const char* name :
       {"inverse-penalty step", "inverse-penalty chunk", "inverse-penalty-two step",
        "inverse-penalty-two chunk", "delta-rule step", "vla-operators step", "vla-operators chunk",
        "vla step", "vla chunk", "vla-v3 step", "vla-v3-no-nudge step", "vla-v3-no-nudge chunk",
        "softmax whole"})
    BOOST_TEST(passes[name].size() == 2, name);
  BOOST_TEST(!passes.contains("vla-v3 chunk"));  // with the nudge it would not be exact
  for (const ModelKind& kind : model_kinds())
    BOOST_TEST(std::ranges::any_of(
        rows, [&](const BenchRow& row) { return row.kind == "layer" && row.name == kind.name; }));
}

BOOST_AUTO_TEST_CASE(operations_and_bytes_are_those_of_the_sizes) {
  const BenchOptions options = tiny();  // 2 x 5 x 2 vectors of width 4
  const double vectors = 20, d = 4, number = 4;
  const auto pair = one_operator("vla-operators"), penalty = one_operator("inverse-penalty"),
             memory = one_operator("delta-rule"), two = one_operator("inverse-penalty-two");
  BOOST_REQUIRE(pair[0].pass == "forward");
  BOOST_REQUIRE(pair[1].pass == "forward+backward");
  BOOST_TEST(pair[0].operations == 20 * d * d * vectors);
  BOOST_TEST(pair[1].operations == 80 * d * d * vectors);
  BOOST_TEST(penalty[0].operations == 10 * d * d * vectors);
  BOOST_TEST(memory[1].operations == 40 * d * d * vectors);
  BOOST_TEST(two[0].operations == 0);
  // q, k, v and o; beta, a number a vector; lambda0, a number a head.
  BOOST_TEST(pair[0].bytes == number * (vectors * (4 * d + 1) + 2));
  BOOST_TEST(pair[1].bytes == 2 * pair[0].bytes);
  BOOST_TEST(penalty[0].bytes == number * (vectors * (2 * d + 1) + 2));
  BOOST_TEST(memory[0].bytes == number * vectors * 5 * d);
  BOOST_TEST(two[0].bytes == number * (vectors * 5 * d + 2));
  BenchOptions wide = options;
  wide.shape.dtype = DType::float64;
  BOOST_TEST(one_operator("delta-rule", wide)[0].bytes == 2 * memory[0].bytes);
}

BOOST_AUTO_TEST_CASE(names_choose_the_rows) {
  BenchOptions options = tiny();
  options.operators = "delta-rule,vla-operators";
  options.layers = "softmax";
  std::set<std::string> names;
  for (const BenchRow& row : measured(options)) names.insert(row.name);
  BOOST_TEST((names == std::set<std::string>{"delta-rule", "vla-operators", "softmax"}));
}

BOOST_AUTO_TEST_CASE(the_rows_are_written_as_json) {
  const TemporaryDirectory directory;
  BenchOptions options = tiny();
  options.json = directory / "rows.json";
  options.operators = "vla-operators";
  options.layers = "softmax";
  const Tensor large = Tensor::full({10'000'000}, 1, DType::float64);
  std::ostringstream out;
  const std::vector<BenchRow> rows = run_bench(options, out);
  std::ifstream file(options.json);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  BOOST_REQUIRE(json.is_object());
  BOOST_TEST(json.at("time") == 5);
  BOOST_TEST(json.at("dtype") == "float32");
  BOOST_TEST(json.at("sgemm_operations_per_second") > 0);
  const double resident = json.at("peak_resident_bytes");
  BOOST_TEST((resident > double(large.bytes()) && resident < 1e12), resident);
  BOOST_TEST((out.str().find("\npeak resident memory of the process: ") != std::string::npos));
  BOOST_REQUIRE_EQUAL(json.at("rows").size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const nlohmann::json& row = json.at("rows")[i];
    BOOST_TEST(row.at("name") == rows[i].name);
    BOOST_TEST(row.at("seconds") == rows[i].seconds);
    BOOST_TEST(row.at("tokens_per_second") == 10 / rows[i].seconds);
    BOOST_TEST(row.at("peak_bytes") == rows[i].peak_bytes);
    BOOST_TEST(row.contains("operations") == (rows[i].kind == "operator"));
    if (row.contains("operations"))
      BOOST_TEST(row.at("operations_per_second") == rows[i].operations / rows[i].seconds);
  }
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_is_refused_before_anything_is_measured) {
  const TemporaryDirectory directory;
  BenchOptions options = tiny();
  options.json = directory / "nowhere/rows.json";
  std::ostringstream out;
  BOOST_CHECK_EXCEPTION(
      run_bench(options, out), Error,
      says("cannot write " + options.json.string() + ": No such file or directory"));
  BOOST_TEST(out.str() == "");
  options.json = directory / "rows.json";
  options.operators = "nothing";
  BOOST_CHECK_THROW(run_bench(options, out), Error);
  BOOST_TEST(std::filesystem::is_empty(directory.path()));
}

// 65 tokens are tried at 33 first.
BOOST_AUTO_TEST_CASE(a_call_that_would_take_too_long_is_not_begun) {
  BenchOptions options = tiny();
  options.shape.time = 65;
  BOOST_TEST(one_operator("delta-rule", options)[0].skipped == "");
  options.limit = 1e-9;
  for (const BenchRow& row : one_operator("delta-rule", options)) {
    BOOST_TEST(row.skipped.starts_with("a call would take "));
    BOOST_TEST(row.repeats == 0);
  }
  options.shape.time = 64;  // begun without a try, and then not repeated
  BOOST_TEST(one_operator("delta-rule", options)[0].repeats == 1);
}

BOOST_AUTO_TEST_CASE(what_cannot_fit_into_memory_is_not_begun) {
  for (const auto& [name, shape] :
       {std::pair<const char*, BenchShape>{"batch", {.batch = Index{1} << 40, .time = 5}},
        {"batch of long sequences", {.batch = Index{1} << 40}},
        {"width", {.batch = 1, .time = 1, .width = Index{1} << 22}}}) {
    BenchOptions options = tiny();
    options.shape = shape;
    BOOST_TEST_CONTEXT(name) {
      for (const BenchRow& row : measured(options)) {
        BOOST_TEST((row.skipped.starts_with("about ") &&
                    row.skipped.find(" GB at time ") != std::string::npos));
        BOOST_TEST(row.repeats == 0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(edges_are_measured) {
  BenchOptions options = tiny();
  options.shape = {.batch = 1, .time = 1, .heads = 1, .width = 1};
  for (const BenchRow& row : measured(options)) BOOST_TEST(row.seconds > 0, row.name);
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused) {
  const auto message = [](const std::function<void(BenchOptions&)>& change) -> std::string {
    BenchOptions options = tiny();
    change(options);
    return error_of([&] { measured(options); });
  };
  BOOST_TEST(message([](BenchOptions& o) { o.shape.batch = 0; }) ==
             "--batch 0 is not allowed; 1 or more");
  BOOST_TEST(message([](BenchOptions& o) { o.shape.time = -3; }) ==
             "--time -3 is not allowed; 1 or more");
  BOOST_TEST(message([](BenchOptions& o) { o.shape.width = 9; }) ==
             "--width 9 is not divisible by --heads 2");
  BOOST_TEST(message([](BenchOptions& o) { o.repeats = 0; }) ==
             "--repeats 0 is not allowed; 1 or more");
  BOOST_TEST(message([](BenchOptions& o) { o.limit = 0; }) == "--limit 0 is not allowed; above 0");
  BOOST_TEST(message([](BenchOptions& o) { o.operators = "delta"; }) ==
             "--operators 'delta' is not known; allowed: all, none, inverse-penalty, "
             "inverse-penalty-two, delta-rule, vla-operators");
  BOOST_TEST(message([](BenchOptions& o) {
               o.layers = "vla,";
             }).starts_with("--layers '' is not known; allowed: all, none, vla, "));
  BOOST_TEST(message([](BenchOptions& o) { o.operators = o.layers = "none"; }) ==
             "--operators none and --layers none leave nothing to measure");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
