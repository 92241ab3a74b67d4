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
