// That a run which was left and gone on with ends in the bytes of one that was not.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "models/models.hpp"
#include "tests/program.hpp"

namespace vla {

inline const std::vector<std::string> kOptimizers = {"--optimizer adamw",
                                                     "--optimizer sgd --momentum 0.9 --rate 0.1"};

inline std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const ModelKind& model : model_kinds()) names.emplace_back(model.name);
  return names;
}

/// Words of a training that is left in the middle of its second epoch, on files that this writes.
inline std::string words_with_epochs(const Place& place) {
  BOOST_REQUIRE_EQUAL(
      place.run("data --task listops --length 32 --size-above 4 --count 10 --out data --force")
          .errors,
      "");
  return "train --task listops --data data --length 32 --width 16 --heads 2 --layers 1 --hidden 16 "
         "--batch 4 --warm-up 2 --steps 8 --report-every 3 ";
}

/// Eight steps at once, twice, and four and four, each in a process of its own: the same bytes.
inline void check_resumes(const Place& place, const std::string& words) {
  BOOST_TEST_CONTEXT("vla " << words) {
    const auto checkpoint_of = [&](const std::string& run) {
      return read(place / (run + "/checkpoint.safetensors"));
    };
    for (const char* run :
         {"--out whole --force", "--out again --force", "--out parts --force --stop-at 4"})
      BOOST_TEST(place.run(words + " " + run).errors == "");
    const std::string whole = checkpoint_of("whole");
    BOOST_TEST(!whole.empty());
    BOOST_TEST((checkpoint_of("again") == whole));
    BOOST_TEST((checkpoint_of("parts") != whole));
    BOOST_TEST(place.run("train --resume parts").errors == "");
    BOOST_TEST((checkpoint_of("parts") == whole));
  }
}

}  // namespace vla
