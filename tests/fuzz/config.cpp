#include "tests/fuzz/target.hpp"
#include "tools/settings.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  const auto options = loaded([&] { return options_from_json(std::string(bytes), "config.json"); });
  if (!options) return false;
  const TrainOptions again = options_from_json(to_json(*options), "the same");
  require(setting_texts(again) == setting_texts(*options), "what is written is not what was read");
  try {
    check_settings(*options);
  } catch (const Error&) {  // shows words as they were given, so that it may be of any length
  }
  return true;
}

std::vector<std::string> seeds() {
  TrainOptions text;
  text.task = "text";
  text.data.text = "\xC3\xA4 \" \n";
  text.rate = 1e-300;
  text.seed = ~std::uint64_t{0};
  return {to_json({}), to_json(text), "{}", R"({"version": "9.9", "steps": 40, "rate": 1E-2})"};
}

const AddTarget added({"config", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
