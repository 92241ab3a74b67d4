#include "tools/golden_case.hpp"

#include <sstream>

#include "framework/file.hpp"
#include "framework/nn/layers.hpp"
#include "tests/fuzz/use.hpp"
#include "tests/temporary_directory.hpp"

namespace vla::fuzz {
namespace {

bool loads(std::string_view bytes) {
  static const TemporaryDirectory folder;
  static ChangingFile file(folder / "case.safetensors");
  file.hold(bytes);
  std::ostringstream lines;
  const auto read = loaded(
      [&] { return GoldenCase(file.path().string(), DType::float64, Device{}, 1e-9, lines); });
  if (!read) return false;
  GoldenCase golden = *read;
  for (const auto& [name, tensor] : golden.file().tensors) {
    use(golden.array(name));
    golden.compare(name, tensor);
  }
  for (const auto& [key, text] : golden.file().metadata) {
    loaded([&] { return golden.number(key); });
    loaded([&] { return golden.integer(key); });
    loaded([&] { return golden.numbers(key); });
  }
  loaded([&] {
    Rng rng(1);
    Linear layer(2, 3, rng);
    ParameterMap parameters = parameter_map(layer);
    load(golden, "param.", parameters);
    compare_all(golden, "param.", parameters, [](const Var& value) { return value.value(); });
    return true;
  });
  return true;
}

std::vector<std::string> seeds() {
  const TemporaryDirectory folder;
  write_safetensors(
      folder / "x",
      {.tensors = {{"param.weight", Tensor::full({3, 2}, 0.5, DType::float64)},
                   {"param.bias", Tensor::full({3}, 2, DType::float64)},
                   {"tokens", Tensor::zeros({2, 2}, DType::int64)}},
       .metadata = {
           {"case", "vla"}, {"heads", "2"}, {"rate", "1e-3"}, {"losses", "[1.5, 2, 3e-1]"}}});
  return {read_text(folder / "x")};
}

const AddTarget added({"golden_case", loads, seeds});

}  // namespace
}  // namespace vla::fuzz
