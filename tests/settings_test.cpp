// config.json from a stranger: whatever it is, one line of Error or settings that are written as
// they were read.
#include "tools/settings.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/error_of.hpp"

namespace vla {
namespace {

std::string refusal(const std::string& text) {
  const std::string message = error_of([&] { options_from_json(text, "c.json"); });
  BOOST_TEST((message == "accepted" || message.starts_with("c.json: ")), message);
  BOOST_TEST((message.find('\n') == std::string::npos), message);
  BOOST_TEST(message.size() < 400u);
  return message;
}

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(settings)

BOOST_AUTO_TEST_CASE(what_is_written_is_read) {
  TrainOptions options;
  options.seed = ~std::uint64_t{0};
  options.mixer.nudge_period = -1;
  options.rate = 5e-324;
  options.data.text = "\xC3\xA4 \"quoted\"\n";
  options.mixer.attention.dtype = DType::float64;
  const TrainOptions again = options_from_json(to_json(options), "c.json");
  BOOST_TEST((setting_texts(again) == setting_texts(options)));
  BOOST_TEST((setting_texts(options_from_json("{}", "c.json")) == setting_texts({})));
  BOOST_TEST(options_from_json(R"({"steps": 40})", "c.json").warm_up == 4);
}

BOOST_AUTO_TEST_CASE(attacks_on_the_text) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{}{}"), std::string("{,}"),
        std::string("{\"steps\": 4,}"), std::string("{steps: 4}"), std::string("// x\n{}"),
        std::string("{\"task\": \"\xFF\"}"), std::string("{\"task\": \"\xC0\x80\"}"),
        std::string(R"({"task": "\ud800"})"), std::string("{\"task\": \"a\nb\"}"),
        std::string("{}\0{\"steps\": 4}", 16), std::string("{\"st\0eps\": 4}", 13),
        "{\"task\": \"" + std::string(1'000'000, 'a')})
    BOOST_TEST(refusal(text).starts_with("c.json: not JSON: "));
  for (const char* text : {"[]", "null", "4", "\"{}\"", "[{}]"})
    BOOST_TEST(refusal(text) != "accepted");
}

// The library would take the last.
BOOST_AUTO_TEST_CASE(a_name_that_is_there_twice_is_refused) {
  BOOST_TEST(refusal(R"({"steps": 4, "rate": 1, "steps": 4})") ==
             "c.json: setting 'steps' is there twice");
  BOOST_TEST(refusal(R"({"steps": 4, "st\u0065ps": 5})") ==
             "c.json: setting 'steps' is there twice");
  BOOST_TEST(refusal(R"({"version": "1", "version": "1"})") ==
             "c.json: setting 'version' is there twice");
}

BOOST_AUTO_TEST_CASE(attacks_by_nesting) {
  for (const std::string& start : {std::string("{\"steps\": "), std::string("{\"more\": ")})
    for (const std::string& nested : {std::string("["), std::string("{\"a\":")}) {
      BOOST_TEST(refusal(start + repeated(nested, 1)).ends_with("a single value is needed"));
      BOOST_TEST(refusal(start + repeated(nested, 300'000)).ends_with("a single value is needed"));
    }
  const std::string closed = repeated("[", 300'000) + repeated("]", 300'000);
  BOOST_TEST(refusal("{\"steps\": " + closed + "}") ==
             "c.json: setting 'steps' is an object or an array; a single value is needed");
  BOOST_TEST(refusal(closed) == "c.json: not a JSON object");
}

BOOST_AUTO_TEST_CASE(attacks_on_numbers) {
  for (const char* number :
       {"NaN", "nan", "Infinity", "-Infinity", "inf", "+1", "01", ".5", "1.", "0x10", "1e", "--1"})
    BOOST_TEST(refusal(concatenate("{\"rate\": ", number, "}")).starts_with("c.json: not JSON: "),
               number);
  for (const char* number : {"1e999", "-1e999", "1e99999999999999999999"})
    for (const char* name : {"rate", "steps", "task"})
      BOOST_TEST(refusal(concatenate("{\"", name, "\": ", number, "}"))
                     .starts_with("c.json: not JSON: number overflow"),
                 number);
  BOOST_TEST(refusal("{\"rate\": 1e" + std::string(1'000'000, '9') + "}")
                 .starts_with("c.json: not JSON: number overflow"));
  for (const char* number : {"9223372036854775808", "18446744073709551615"})
    BOOST_TEST(refusal(concatenate("{\"steps\": ", number, "}")) ==
               concatenate("c.json: setting 'steps' is ", number, ", which is out of range"));
  for (const char* number : {"18446744073709551616", "-9223372036854775809", "1e3", "-0.0"})
    BOOST_TEST(
        refusal(concatenate("{\"steps\": ", number, "}")).ends_with("; a whole number is needed"),
        number);
  BOOST_TEST(refusal(R"({"seed": 18446744073709551615, "steps": 9223372036854775807})") ==
             "accepted");
  for (const char* number : {"-1", "18446744073709551616", "0.5"})
    BOOST_TEST(refusal(concatenate("{\"seed\": ", number, "}"))
                   .ends_with("; a whole number of 0 or more is needed"),
               number);
}

BOOST_AUTO_TEST_CASE(what_a_message_shows_is_short) {
  const std::string all(100'000, 'x');
  BOOST_TEST(refusal("{\"steps\": \"" + all + "\"}").ends_with("xxx...; a whole number is needed"));
  BOOST_TEST(refusal("{\"" + all + "\": 1}").starts_with("c.json: unknown setting 'xxx"));
  BOOST_TEST(refusal(R"({"a\nb": 1})") == "c.json: unknown setting 'a\\x0ab'");
  BOOST_TEST(
      refusal(R"({"dtype": "a\nb"})").starts_with("c.json: setting 'dtype' 'a\\x0ab' is not"));
  BOOST_TEST(refusal("{\"a\": 1, \"version\": \"" + all + "\\n\"}").starts_with("c.json: unknown"));
  BOOST_TEST(refusal(R"({"task": ["a"]})").ends_with("a single value is needed"));
  BOOST_TEST(refusal("{\"rate\": \"\xC3\xA4\\n\"}") ==
             "c.json: setting 'rate' is \"\\u00e4\\n\"; a number is needed");
}

BOOST_AUTO_TEST_CASE(values_that_training_could_not_use) {
  const auto wrong = [](const std::string& text) {
    return error_of([&] { check_settings(options_from_json(text, "c.json")); });
  };
  BOOST_TEST(wrong("{}") == "accepted");
  for (const char* text :
       {R"({"steps": 0})", R"({"steps": -9223372036854775808})", R"({"batch": -1})",
        R"({"layers": 1001})", R"({"threads": 9223372036854775807})", R"({"rate": -1})",
        R"({"rate": 0})", R"({"clip": -1e300})", R"({"until": 2})", R"({"deviation": 0})",
        R"({"task": "none"})", R"({"text": "file"})", R"({"precision": "half"})",
        R"({"graph": true})", R"({"warm-up": 3000})", R"({"report-every": 0})"})
    BOOST_TEST(wrong(text) != "accepted", text);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
