// `vla bench attention` at sizes that take no time.
#include "tools/bench_attention.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/file.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"
#include "tools/bench_peers.hpp"

namespace vla {
namespace {

BenchAttentionOptions tiny() { return {.shapes = "2x2x20x8", .repeats = 2, .copy_bytes = 1 << 16}; }

BenchAttentionOptions tiny_decode() {
  BenchAttentionOptions options = tiny();
  options.shapes = "2x2x1x8";
  options.decode = true;
  return options;
}

struct Run {
  std::vector<BenchAttentionRow> rows;
  std::string text;

  const BenchAttentionRow& row(const std::string& op, const std::string& pass) const {
    const auto found = std::ranges::find_if(
        rows, [&](const BenchAttentionRow& row) { return row.op == op && row.pass == pass; });
    BOOST_REQUIRE((found != rows.end()));
    return *found;
  }
};

Run run(const BenchAttentionOptions& options) {
  std::ostringstream out;
  Run result{run_bench_attention(options, out), {}};
  result.text = out.str();
  return result;
}

std::string message_of(const BenchAttentionOptions& options) {
  return error_of([&] { run(options); });
}

nlohmann::json json_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, false);
}

const char* const kPeers = R"({"device": "some GPU", "measured": "today", "rows": [
  {"name": "other", "batch": 2, "heads": 2, "time": 20, "width": 8, "forward_ms": 2, "both_ms": 5},
  {"name": "half", "batch": 2, "heads": 2, "time": 20, "width": 8, "both_ms": 7},
  {"name": "elsewhere", "batch": 2, "heads": 2, "time": 21, "width": 8, "forward_ms": 1},
  {"name": "decoder", "batch": 2, "heads": 2, "time": 1, "width": 8, "forward_ms": 4}]})";

}  // namespace

BOOST_AUTO_TEST_SUITE(bench_attention)

BOOST_AUTO_TEST_CASE(every_operator_has_a_row_for_each_shape_and_pass) {
  BenchAttentionOptions options = tiny();
  options.shapes = "2x2x20x8,1x3x1x4";
  const Run result = run(options);
  BOOST_REQUIRE_EQUAL(result.rows.size(), 2 * 2 * attention_operators().size());
  for (const BenchAttentionRow& row : result.rows) {
    BOOST_TEST_CONTEXT(row.op << " " << row.pass << " " << to_text(row.shape)) {
      BOOST_TEST(row.skipped == "");
      BOOST_TEST((row.pass == "forward" || row.pass == "forward+backward"));
      BOOST_TEST(row.seconds > 0);
      BOOST_TEST((result.text.find(concatenate("\n", row.op, " ")) != std::string::npos));
      BOOST_TEST(
          (result.text.find(concatenate("\n", to_text(row.shape), "\n")) != std::string::npos));
    }
  }
}

BOOST_AUTO_TEST_CASE(operations_and_bytes_are_those_of_the_sizes) {
  const Run result = run(tiny());
  const double tokens = 2 * 2 * 20, d = 8, time = 20, number = 4, vector = tokens * d;
  const auto operations = [&](const char* op, const char* pass) {
    return result.row(op, pass).operations;
  };
  const auto bytes = [&](const char* op, const char* pass) { return result.row(op, pass).bytes; };
  BOOST_TEST(operations("vla", "forward") == 20 * tokens * d * d);
  BOOST_TEST(operations("deltanet", "forward") == 10 * tokens * d * d);
  BOOST_TEST(operations("linear", "forward") == 6 * tokens * d * d);
  BOOST_TEST(operations("vla", "forward+backward") == 80 * tokens * d * d);
  BOOST_TEST(operations("softmax", "forward") == 2 * tokens * time * d);
  BOOST_TEST(operations("softmax", "forward+backward") == 7 * tokens * time * d);
  // q, k, v and o; beta, a number a vector; lambda0, a number a head; alpha.
  BOOST_TEST(bytes("vla", "forward") == number * (4 * vector + tokens + 2));
  BOOST_TEST(bytes("vla", "forward+backward") == number * (11 * vector + 3 * (tokens + 2)));
  BOOST_TEST(bytes("deltanet", "forward") == number * 5 * vector);
  BOOST_TEST(bytes("linear", "forward") == number * 4 * vector);
  BOOST_TEST(bytes("softmax", "forward+backward") == number * 11 * vector);
}

BOOST_AUTO_TEST_CASE(inputs_are_drawn_for_some_tokens_and_repeated) {
  const Index drawn = AttentionNumbers::kDrawnTokens;
  const AttentionNumbers numbers({2, 1, drawn + 3, 2}, DType::float64, {});
  BOOST_TEST(numbers.key.shape() == Shape({1, drawn, 1, 2}));
  const Tensor key = numbers.spread(numbers.key).value();
  BOOST_TEST(key.shape() == Shape({2, drawn + 3, 1, 2}));
  for (Index t : {Index{0}, Index{5}, drawn, drawn + 2})
    for (Index b : {0, 1})
      BOOST_TEST(key.at<double>({b, t, 0, 1}) ==
                 numbers.key.value().at<double>({0, t % drawn, 0, 1}));
}

BOOST_AUTO_TEST_CASE(a_step_goes_on_from_the_tokens_before) {
  const AttentionShape shape{1, 2, 1, 4};
  const AttentionNumbers numbers(shape, DType::float64, {});
  for (const AttentionOperator& what : attention_operators()) {
    if (!what.make_step) continue;
    BOOST_TEST_CONTEXT(what.name) {
      const AttentionStep step = what.make_step(numbers);
      const std::vector<Tensor> first = step.advance({}, 0), second = step.advance(first, 1);
      BOOST_REQUIRE_EQUAL(first.size(), second.size());
      BOOST_TEST(first[0].shape() == Shape({1, 2, 4, 4}));
      BOOST_TEST(first[0].at<double>({0, 0, 0, 0}) != second[0].at<double>({0, 0, 0, 0}));
    }
  }
}

BOOST_AUTO_TEST_CASE(steps_are_measured_with_what_is_carried) {
  const Run result = run(tiny_decode());
  BOOST_REQUIRE_EQUAL(result.rows.size(), 3u);
  const double heads = 2 * 2, d = 8, memory = heads * d * d * 4;
  for (const BenchAttentionRow& row : result.rows) {
    BOOST_TEST(row.pass == "step");
    BOOST_TEST(row.seconds > 0);
    BOOST_TEST(row.operations == 0);
  }
  BOOST_TEST(result.row("linear", "step").bytes == 4 * heads * d * 4 + 2 * memory);
  BOOST_TEST(result.row("deltanet", "step").bytes == 5 * heads * d * 4 + 2 * memory);
  // M and A, twice as wide, the product of gamma, and beta and lambda0.
  BOOST_TEST(result.row("vla", "step").bytes ==
             4 * heads * d * 4 + (heads + 2) * 4 + 2 * (5 * memory + heads * 8));
}

BOOST_AUTO_TEST_CASE(peers_stand_beside_the_rows_of_their_shape) {
  const TemporaryDirectory directory;
  BenchAttentionOptions options = tiny();
  options.peers = directory / "peers.json";
  options.json = directory / "rows.json";
  write_text(options.peers, kPeers);
  const Run result = run(options);
  const auto has = [&](const char* text) { return result.text.find(text) != std::string::npos; };
  BOOST_TEST(has("[1] other: forward 2.0000 ms, forward+backward 5.0000 ms\n"));
  BOOST_TEST(has("[2] half: forward+backward 7.0000 ms\n"));
  BOOST_TEST(!has("elsewhere"));
  const nlohmann::json json = json_of(options.json);
  BOOST_REQUIRE(json.is_object());
  BOOST_TEST(json.at("options").at("shapes") == "2x2x20x8");
  BOOST_TEST(json.at("machine").at("device") == "cpu");
  BOOST_TEST(json.at("copy_bytes_per_second") > 0);
  BOOST_TEST((json.at("peers") == nlohmann::json::parse(kPeers)));
  BOOST_REQUIRE_EQUAL(json.at("rows").size(), result.rows.size());
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    const nlohmann::json& row = json.at("rows")[i];
    const double seconds = result.rows[i].seconds;
    BOOST_TEST(row.at("operator") == result.rows[i].op);
    BOOST_TEST(row.at("time") == 20);
    BOOST_TEST(row.at("seconds") == seconds);
    const bool forward = row.at("pass") == "forward";
    BOOST_REQUIRE_EQUAL(row.at("ratios").size(), forward ? 1u : 2u);
    BOOST_TEST(row.at("ratios")[0].at("peer") == "other");
    const double ratio = row.at("ratios")[0].at("ours_over_peer");
    BOOST_TEST(ratio == seconds / (forward ? 2e-3 : 5e-3), boost::test_tools::tolerance(1e-12));
  }
  options = tiny_decode();
  options.peers = directory / "peers.json";
  BOOST_TEST((run(options).text.find("[1] decoder: step 4000.0000 us\n") != std::string::npos));
}

BOOST_AUTO_TEST_CASE(a_bad_file_of_peers_is_refused_in_one_line) {
  const TemporaryDirectory directory;
  BenchAttentionOptions options = tiny();
  options.peers = directory / "peers.json";
  const std::string path = options.peers.string();
  BOOST_TEST(message_of(options) == "cannot read " + path + ": No such file or directory");
  const auto message = [&](const std::string& text) {
    write_text(options.peers, text);
    return message_of(options);
  };
  for (const char* text : {"", "[]", "{\"rows\": 1}", "{\"rows\": [", "\xff"})
    BOOST_TEST(message(text) == path + ": not a JSON object with \"rows\"");
  const auto row = [&](const std::string& text) {
    return message(R"({"rows": [{"name": "a", "batch": 1, "heads": 1, "time": 1, "width": 1,
                                 "forward_ms": 1}, )" +
                   text + "]}");
  };
  const std::string where = path + ": row 2: ";
  BOOST_TEST(row("3") == where + "not a JSON object");
  BOOST_TEST(row("{}") == where + "'name' is not a string");
  BOOST_TEST(row(R"({"name": "a"})") == where + "'batch' is missing");
  BOOST_TEST(row(R"({"name": "a", "batch": 0})") ==
             where + "'batch' is 0; a whole number of 1 or more is needed");
  const std::string sizes = R"({"name": "a", "batch": 1, "heads": 1, "time": 1, "width": 1)";
  BOOST_TEST(row(sizes + "}") == where + "forward_ms or both_ms is needed");
  BOOST_TEST(row(sizes + R"(, "forward_ms": "fast"})") ==
             where + "'forward_ms' is \"fast\"; a number above 0 is needed");
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_left_out_and_the_rest_goes_on) {
  const TemporaryDirectory directory;
  BenchAttentionOptions options = tiny();
  options.shapes = "1x1x2000x2,2x2x20x8";
  options.operators = "linear,softmax";
  options.json = directory / "rows.json";
  limit_memory(memory_statistics().live + (Index{8} << 20));  // half of the weights
  const Run result = run(options);
  limit_memory(0);
  for (const BenchAttentionRow& row : result.rows) {
    const bool large = row.op == "softmax" && row.shape.time == 2000;
    BOOST_TEST(row.skipped == (large ? "does not fit" : ""), row.op << " " << row.pass);
  }
  BOOST_TEST((result.text.find("softmax   forward           does not fit\n") != std::string::npos));
  BOOST_TEST(json_of(options.json).at("rows")[2].at("skipped") == "does not fit");
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused_before_anything_is_measured) {
  const auto message = [](const std::function<void(BenchAttentionOptions&)>& change,
                          BenchAttentionOptions options = tiny()) {
    change(options);
    return message_of(options);
  };
  for (const std::string shape : {"8x16", "axbxcxd", "1x1x1x0", "1x1x1x1x1", "1x1x1x1 ", ""})
    BOOST_TEST(message([&](auto& o) { o.shapes = "1x1x1x1," + shape; }) ==
               "--shapes '" + shape +
                   "' is not allowed; four numbers of 1 or more, BxHxTxd, such as 8x16x1024x64");
  BOOST_TEST(message([](auto& o) { o.repeats = 0; }) == "--repeats 0 is not allowed; 1 or more");
  BOOST_TEST(message([](auto& o) { o.dtype = DType::bfloat16; }) ==
             "--dtype bfloat16 is for CUDA devices, --device is cpu");
  BOOST_TEST(message([](auto& o) { o.dtype = DType::int64; }) ==
             "--dtype int64 is not allowed; float32, float64, or on CUDA bfloat16");
  BOOST_TEST(message([](auto& o) { o.operators = "vla,delta"; }) ==
             "--operators 'delta' is not known; allowed: all, vla, deltanet, linear, softmax");
  BOOST_TEST(message([](auto& o) { o.operators = "softmax"; }, tiny_decode()) ==
             "--operators 'softmax' is not known with --decode; allowed: all, vla, deltanet, "
             "linear");
  BOOST_TEST(message([](auto& o) { o.shapes = "2x2x20x8"; }, tiny_decode()) ==
             "--shapes 2x2x20x8 is not allowed with --decode; a step is one token, BxHx1xd");
  BOOST_TEST(message([](auto& o) { o.json = "/nowhere/rows.json"; }) ==
             "cannot write /nowhere/rows.json: No such file or directory");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
