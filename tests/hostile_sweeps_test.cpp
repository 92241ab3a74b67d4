// Every parser of tests/fuzz on inputs that are damaged in every way that one byte or bit can be,
// and on those that once were a finding. What a parser may do with them is said in fuzz/target.hpp.
#include <boost/test/unit_test.hpp>

#include "framework/file.hpp"
#include "tests/fuzz/target.hpp"

namespace vla {
namespace {

// A finding does not end the sweep: it is reported with the input.
bool loads(const fuzz::Target& target, const std::string& bytes, const std::string& what) {
  try {
    return target.loads(bytes);
  } catch (const std::exception& finding) {
    BOOST_ERROR(target.name << ", " << what << ": " << finding.what());
    return false;
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(hostile_sweeps)

BOOST_AUTO_TEST_CASE(every_parser_has_a_target) {
  std::vector<std::string> names;
  for (const fuzz::Target& target : fuzz::targets()) names.push_back(target.name);
  std::ranges::sort(names);
  BOOST_TEST(names ==
             (std::vector<std::string>{"aan", "checkpoint", "cifar10", "config", "golden_case",
                                       "imdb", "listops", "metrics", "npy", "npz", "pathfinder",
                                       "png", "safetensors", "text"}));
}

BOOST_AUTO_TEST_CASE(every_truncation_and_every_flipped_bit_is_refused_or_can_be_used) {
  for (const fuzz::Target& target : fuzz::targets()) {
    std::size_t refused = 0;
    for (const std::string& seed : target.seeds()) {
      BOOST_TEST(loads(target, seed, "whole"), target.name << " refuses its own seed");
      for (std::size_t bytes = 0; bytes < seed.size(); ++bytes)
        refused += !loads(target, seed.substr(0, bytes), concatenate("cut to ", bytes));
      for (std::size_t bit = 0; bit < 8 * seed.size(); ++bit) {
        std::string damaged = seed;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        refused += !loads(target, damaged, concatenate("bit ", bit, " turned"));
      }
    }
    BOOST_TEST(refused > 0u, target.name);
  }
}

BOOST_AUTO_TEST_CASE(what_was_found_stays_mended) {
  for (const fuzz::Target& target : fuzz::targets()) {
    const auto folder = std::filesystem::path(VLA_SOURCE_DIR) / "tests/fuzz/corpus" / target.name;
    if (!std::filesystem::exists(folder)) continue;
    for (const std::filesystem::path& path : files_in(folder))
      loads(target, read_text(path), path.filename().string());
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
