// Reading what is there, and replacing a file as a whole or not at all.
#include "framework/file.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "framework/check.hpp"
#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(file)

BOOST_AUTO_TEST_CASE(pieces_become_a_file_and_replace_one) {
  TemporaryDirectory folder;
  const std::string first = "one ", second = "two", large(3'000'000, 'x');
  replace_file(folder / "a",
               {std::as_bytes(std::span(first)), {}, std::as_bytes(std::span(second))});
  BOOST_TEST(content(folder / "a") == "one two");
  write_text(folder / "a", large);
  BOOST_TEST((content(folder / "a") == large));
  replace_file(folder / "a", {});
  BOOST_TEST(content(folder / "a") == "");
  BOOST_TEST(files_in(folder.path()).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_name_without_a_folder_is_in_the_working_folder) {
  TemporaryDirectory folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_text("a", "text");
  std::filesystem::current_path(before);
  BOOST_TEST(content(folder / "a") == "text");
}

BOOST_AUTO_TEST_CASE(parts_of_a_file) {
  TemporaryDirectory folder;
  write_text(folder / "a", "0123456789");
  const InputFile file(folder / "a");
  BOOST_TEST(file.bytes() == 10u);
  std::string part(4, ' ');
  file.read(3, std::as_writable_bytes(std::span(part)));
  BOOST_TEST(part == "3456");
  file.read(10, {});
  check_contains(error_of([&] { file.read(8, std::as_writable_bytes(std::span(part))); }),
                 "ends at byte 10, 2 more");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read) {
  TemporaryDirectory folder;
  const std::string absent = (folder / "absent").string();
  check_contains(error_of([&] { InputFile{absent}; }), absent + ": No such file");
  check_contains(error_of([&] { InputFile{folder.path()}; }), "not a regular file");
  check_contains(error_of([&] { InputFile{"/dev/zero"}; }), "not a regular file");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written) {
  TemporaryDirectory folder;
  write_text(folder / "a", "old");
  check_contains(error_of([&] { write_text(folder / "absent/a", "new"); }), "No such file");
  check_contains(error_of([&] { write_text(folder / "a/a", "new"); }), "Not a directory");
  std::filesystem::create_directories(folder / "full/inner");
  check_contains(error_of([&] { write_text(folder / "full", "new"); }),
                 "irectory");  // in the rename
  BOOST_TEST(content(folder / "a") == "old");
  BOOST_TEST(files_in(folder.path()).size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_path_is_checked_before_there_is_something_to_write) {
  TemporaryDirectory folder;
  write_text(folder / "a", "old");
  std::filesystem::create_directory(folder / "full");
  for (const char* name : {"absent/a", "a/a", "full"})
    BOOST_TEST(error_of([&] { check_replaceable(folder / name); }) ==
               error_of([&] { write_text(folder / name, "new"); }));
  check_replaceable(folder / "a");
  check_replaceable(folder / "b");
  BOOST_TEST(content(folder / "a") == "old");
  BOOST_TEST(files_in(folder.path()).size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_write_that_fails_half_way_leaves_the_old_file) {
  TemporaryDirectory folder;
  write_text(folder / "a", "old");
  rlimit limit{};
  BOOST_REQUIRE_EQUAL(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{.rlim_cur = 1 << 16, .rlim_max = limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  BOOST_REQUIRE_EQUAL(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text = error_of([&] { write_text(folder / "a", std::string(1'000'000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  check_contains(text, (folder / "a").string() + ": File too large");
  BOOST_TEST(content(folder / "a") == "old");
  BOOST_TEST(files_in(folder.path()).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_folder_without_permission_leaves_the_old_file) {
  if (::geteuid() == 0) return;  // root may write anywhere; the two cases above fail for root too
  TemporaryDirectory folder;
  write_text(folder / "a", "old");
  using std::filesystem::perms;
  std::filesystem::permissions(folder.path(), perms::owner_read | perms::owner_exec);
  check_contains(error_of([&] { write_text(folder / "a", "new"); }), "Permission denied");
  std::filesystem::permissions(folder.path(), perms::owner_all);
  BOOST_TEST(content(folder / "a") == "old");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
