// The lessons print what they say they print.

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/program.hpp"

namespace vla {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(VLA_SOURCE_DIR) / "framework/lessons";

// Their names, in order.
std::vector<std::string> all_lessons() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (entry.path().extension() == ".cpp") names.push_back(entry.path().stem());
  std::ranges::sort(names);
  return names;
}

std::string text_of(const std::string& lesson) { return read(kFolder / (lesson + ".cpp")); }

// What a lesson's last comment says that it prints; empty where there is none.
std::string promised(const std::string& text) {
  const std::string opening = "/* It prints\n", closing = "*/\n";
  const std::size_t begin = text.rfind(opening);
  if (begin == std::string::npos || !text.ends_with(closing)) return {};
  return text.substr(begin + opening.size(), text.size() - closing.size() - begin - opening.size());
}

// Words alone count: a line that is long to read may be broken in the comment.
std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// The lessons lie beside the vla program.
void check_lesson(std::size_t number) {
  const std::vector<std::string> names = all_lessons();
  BOOST_REQUIRE(number <= names.size());
  const std::string& lesson = names[number - 1];
  BOOST_TEST_CONTEXT(lesson) {
    const std::string text = text_of(lesson);
    BOOST_TEST(std::ranges::count(text, '\n') <= 80);
    const std::vector<std::string> expected = words(promised(text));
    BOOST_TEST(!expected.empty());
    const Place place;
    const std::filesystem::path folder = std::filesystem::path(VLA_PROGRAM).parent_path();
    const Outcome outcome = Place::run_in(place.path(), folder / "lessons" / lesson, "");
    BOOST_TEST(outcome.code == 0);
    BOOST_TEST(outcome.errors == "");
    BOOST_TEST_CONTEXT("it printed\n" << outcome.out)
    BOOST_TEST(words(outcome.out) == expected, boost::test_tools::per_element());
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(lessons)

BOOST_AUTO_TEST_CASE(a_scalar_tape_prints_what_it_says) { check_lesson(1); }
BOOST_AUTO_TEST_CASE(the_tape_prints_what_it_says) { check_lesson(2); }
BOOST_AUTO_TEST_CASE(reading_gradients_prints_what_it_says) { check_lesson(3); }
BOOST_AUTO_TEST_CASE(elementwise_prints_what_it_says) { check_lesson(4); }
BOOST_AUTO_TEST_CASE(a_primitive_prints_what_it_says) { check_lesson(5); }
BOOST_AUTO_TEST_CASE(sherman_morrison_prints_what_it_says) { check_lesson(6); }
BOOST_AUTO_TEST_CASE(recursive_least_squares_prints_what_it_says) { check_lesson(7); }
BOOST_AUTO_TEST_CASE(training_prints_what_it_says) { check_lesson(8); }

BOOST_AUTO_TEST_CASE(the_list_of_lessons_names_each_in_order) {
  const std::string list = read(kFolder / "README.md");
  std::size_t at = 0;
  int number = 0;
  for (const std::string& lesson : all_lessons()) {
    BOOST_TEST_CONTEXT(lesson) {
      BOOST_TEST(lesson.starts_with(std::to_string(++number) + "_"));
      at = list.find("(" + lesson + ".cpp)", at);
      BOOST_REQUIRE(at != std::string::npos);
    }
  }
  BOOST_TEST(number == 8);
}

BOOST_AUTO_TEST_CASE(the_first_uses_nothing_of_the_framework) {
  BOOST_TEST(text_of("1_scalar_tape").find("#include \"") == std::string::npos);
  BOOST_TEST(text_of("2_tape").find("#include \"") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
