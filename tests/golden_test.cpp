// Golden cases of the public reference and of the definition, and that `verify` can fail.

#include <filesystem>
#include <sstream>

#include "framework/safetensors.hpp"
#include "tests/compare.hpp"
#include "tools/verify.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> golden_files() {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(fs::path(VLA_SOURCE_DIR) / "tests/golden"))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(golden)

BOOST_AUTO_TEST_CASE(every_case_in_float64) {
  const std::vector<std::string> files = golden_files();
  BOOST_REQUIRE(files.size() == 20u);
  for (const std::string& file : files) {
    std::ostringstream lines;
    const int failed = run_verify({file}, DType::float64, Device{}, 1e-9, lines);
    BOOST_TEST(failed == 0, lines.str());
  }
}

BOOST_AUTO_TEST_CASE(every_case_in_float32) {
  for (const std::string& file : golden_files()) {
    std::ostringstream lines;
    const int failed = run_verify({file}, DType::float32, Device{}, 3e-4, lines);
    BOOST_TEST(failed == 0, lines.str());
  }
}

BOOST_AUTO_TEST_CASE(a_wrong_number_is_found) {
  const fs::path folder = fs::temp_directory_path() / "vla_golden_test";
  fs::create_directories(folder);
  TensorFile file =
      read_safetensors(fs::path(VLA_SOURCE_DIR) / "tests/golden/vla_exact_plain.safetensors");
  for (auto& [name, tensor] : file.tensors)
    if (name == "grad.lambda0") tensor.mutable_values<double>()[0] *= 1.00001;
  const fs::path path = folder / "wrong.safetensors";
  write_safetensors(path, file);
  std::ostringstream lines;
  BOOST_TEST(run_verify({path.string()}, DType::float64, Device{}, 0, lines) == 1);
  for (const char* line : {"vla_exact_plain/step grad.lambda0", "vla_exact_plain/chunk grad.lam"})
    BOOST_TEST((lines.str().find(line) != std::string::npos), line << " in " << lines.str());

  file.metadata["case"] = "mamba";
  write_safetensors(path, file);
  std::ostringstream unknown;
  BOOST_TEST(run_verify({path.string()}, DType::float64, Device{}, 0, unknown) == 1);
  BOOST_TEST(unknown.str() == "mamba unknown kind of case\n");
  fs::remove_all(folder);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
