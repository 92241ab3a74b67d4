// A checkpoint gives back every bit, and a file that does not fit changes nothing.
#include "framework/checkpoint.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <limits>

#include "framework/safetensors.hpp"
#include "tests/error_of.hpp"
#include "tests/temporary_directory.hpp"

namespace vla {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

// A model of two parameters of different types.
struct Model {
  Var weight, bias;
  explicit Model(std::uint64_t seed) {
    Rng rng(seed);
    weight = Var::parameter(rng.normal({3, 4}, DType::float32));
    bias = Var::parameter(rng.normal({4}, DType::float64));
  }
  void visit(PartVisitor& parts) {
    parts("layer.weight", weight);
    parts("layer.bias", bias);
  }
};

// An optimiser that only has state: a tensor like each parameter, and a scalar.
class StatefulOptimizer : public Optimizer {
 public:
  StatefulOptimizer(std::vector<Parameter> parameters, std::uint64_t seed)
      : Optimizer(std::move(parameters)), scale_(Rng(seed, 1).normal({}, DType::float64)) {
    Rng rng(seed);
    for (const Parameter& parameter : this->parameters())
      moments_.push_back(rng.normal(parameter.variable.shape(), parameter.variable.dtype()));
  }
  std::vector<std::pair<std::string, Tensor>> state() const override {
    std::vector<std::pair<std::string, Tensor>> result = {{"scale", scale_}};
    for (std::size_t i = 0; i < moments_.size(); ++i)
      result.emplace_back("moment." + parameters()[i].name, moments_[i]);
    return result;
  }

 protected:
  std::vector<double> numbers(double) const override { return {}; }
  void update(const Moves&, const Tensor&) override {}

 private:
  Tensor scale_;
  std::vector<Tensor> moments_;
};

struct Run {
  Model model;
  StatefulOptimizer optimizer;
  explicit Run(std::uint64_t seed) : model(seed), optimizer(parameters(model), seed + 1) {}

  // Every value of model and optimiser, and the step count, as bytes.
  std::string bytes() {
    std::string result = std::to_string(optimizer.steps());
    auto append = [&](const Tensor& tensor) {
      dispatch_floating(tensor.dtype(), "bytes", [&](auto zero) {
        const auto values = std::as_bytes(tensor.values<decltype(zero)>());
        result.append(reinterpret_cast<const char*>(values.data()), values.size());
      });
    };
    for (const Parameter& parameter : parameters(model)) append(parameter.variable.value());
    for (const auto& [name, tensor] : optimizer.state()) append(tensor);
    return result;
  }
};

TrainingState varied_state() {
  TrainingState state;
  state.step = std::numeric_limits<std::int64_t>::max();
  state.data_position = (std::int64_t{1} << 53) + 1;  // not a double
  state.random = {{"data", {1, 2, 3}}, {"", {kMost, kMost - 1, (1ull << 53) + 1}}, {"a b.c", {}}};
  state.notes = {{"config", "{\"rate\": 1e-3,\n \"λ\": [1, 2]}"}, {"", ""}, {"step", "not this"}};
  return state;
}

void check_equal(const TrainingState& a, const TrainingState& b) {
  BOOST_TEST(a.step == b.step);
  BOOST_TEST(a.data_position == b.data_position);
  BOOST_TEST((a.random == b.random));
  BOOST_TEST((a.notes == b.notes));
}

// Loads into a new run and returns the message of the Error, after checking that nothing changed.
std::string refusal(const std::filesystem::path& path, bool with_optimizer = true) {
  Run run(7);
  const std::string before = run.bytes();
  std::string message = "accepted";
  try {
    load_checkpoint(path, parameters(run.model), with_optimizer ? &run.optimizer : nullptr);
  } catch (const Error& error) {
    message = error.what();
    BOOST_TEST((run.bytes() == before), "changed although: " << message);
  }
  BOOST_TEST(message.find('\n') == std::string::npos);
  return message;
}

// A good checkpoint, then changed, of the version that has no checksums to tell of it.
template <class Change>
std::string refusal_of_changed(Change change) {
  TemporaryDirectory folder;
  Run run(1);
  save_checkpoint(folder / "good", parameters(run.model), &run.optimizer, varied_state());
  TensorFile file = read_safetensors(folder / "good");
  file.metadata["checkpoint.version"] = "1";
  change(file);
  write_safetensors(folder / "changed", file);
  return refusal(folder / "changed");
}

Tensor& tensor_of(TensorFile& file, const std::string& name) {
  for (auto& [key, tensor] : file.tensors)
    if (key == name) return tensor;
  fail("no ", name);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(checkpoint)

BOOST_AUTO_TEST_CASE(a_run_comes_back_to_the_bit) {
  TemporaryDirectory folder;
  Run saved(1), loaded(2);
  saved.optimizer.set_steps(12345);
  saved.model.bias.mutable_value().mutable_values<double>()[0] =
      std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST((saved.bytes() != loaded.bytes()));
  save_checkpoint(folder / "run", parameters(saved.model), &saved.optimizer, varied_state());
  check_equal(read_training_state(folder / "run"), varied_state());
  check_equal(load_checkpoint(folder / "run", parameters(loaded.model), &loaded.optimizer),
              varied_state());
  BOOST_TEST(loaded.optimizer.steps() == 12345);
  BOOST_TEST((saved.bytes() == loaded.bytes()));
}

BOOST_AUTO_TEST_CASE(loading_changes_the_parameters_that_the_model_holds) {
  TemporaryDirectory folder;
  Run saved(1), loaded(2);
  const Tensor held = loaded.model.weight.value();
  save_checkpoint(folder / "run", parameters(saved.model), &saved.optimizer, {});
  const std::uint64_t version = held.version();
  load_checkpoint(folder / "run", parameters(loaded.model), &loaded.optimizer);
  BOOST_TEST(held.shares_storage(loaded.model.weight.value()));
  BOOST_TEST(held.version() > version);  // a tape that saved it notices
  BOOST_TEST((held.at<float>({2, 3}) == saved.model.weight.value().at<float>({2, 3})));
}

BOOST_AUTO_TEST_CASE(random_streams_go_on_where_they_were) {
  TemporaryDirectory folder;
  Rng rng(kMost, 3);
  for (int i = 0; i < 7; ++i) rng.word();
  Run run(1);
  TrainingState state;
  state.random["data"] = rng.state();
  save_checkpoint(folder / "run", parameters(run.model), nullptr, state);
  Rng resumed(read_training_state(folder / "run").random.at("data"));
  for (int i = 0; i < 9; ++i) BOOST_TEST(resumed.word() == rng.word());
}

BOOST_AUTO_TEST_CASE(the_optimiser_may_be_left_out) {
  TemporaryDirectory folder;
  Run saved(1), loaded(2);
  save_checkpoint(folder / "with", parameters(saved.model), &saved.optimizer, {});
  save_checkpoint(folder / "without", parameters(saved.model), nullptr, {});
  for (const std::string file : {"with", "without"}) {
    Model model(3);
    load_checkpoint(folder / file, parameters(model), nullptr);
    BOOST_TEST(
        (model.weight.value().at<float>({1, 1}) == saved.model.weight.value().at<float>({1, 1})));
  }
  check_contains(refusal(folder / "without"), "'optimizer.steps'");
}

BOOST_AUTO_TEST_CASE(every_difference_is_listed) {
  const std::string text = refusal_of_changed([](TensorFile& file) {
    for (auto& [name, tensor] : file.tensors) {
      if (name == "model.layer.bias") name = "model.layer.shift";
      if (name == "optimizer.scale") name = "optimizer.\nscale";
    }
    file.tensors.emplace_back("other", Tensor::scalar(1, DType::float32));
    tensor_of(file, "model.layer.weight") = Tensor::zeros({4, 3}, DType::float32);
    tensor_of(file, "optimizer.moment.layer.bias") = Tensor::zeros({4}, DType::float32);
  });
  check_contains(text, "missing: 'model.layer.bias', 'optimizer.scale'");
  check_contains(text, "unexpected: ");
  for (const std::string name : {"'model.layer.shift'", "'optimizer.\\x0ascale'", "'other'"})
    check_contains(text, name);
  check_contains(text, "'model.layer.weight' is float32(4, 3) and must be float32(3, 4)");
  check_contains(text, "'optimizer.moment.layer.bias' is float32(4) and must be float64(4)");
}

BOOST_AUTO_TEST_CASE(one_difference_is_enough) {
  check_contains(refusal_of_changed([](TensorFile& file) { file.tensors.pop_back(); }),
                 "missing: ");
  check_contains(refusal_of_changed([](TensorFile& file) {
                   file.tensors.emplace_back("model.more", Tensor::scalar(1, DType::uint8));
                 }),
                 "unexpected: 'model.more'");
  check_contains(refusal_of_changed([](TensorFile& file) {
                   tensor_of(file, "optimizer.scale") = Tensor::zeros({1}, DType::float64);
                 }),
                 "'optimizer.scale' is float64(1) and must be float64()");
}

BOOST_AUTO_TEST_CASE(metadata_that_is_wrong_is_named) {
  auto refusal_of_text = [](const std::string& key, const std::string& text) {
    return refusal_of_changed([&](TensorFile& file) { file.metadata[key] = text; });
  };
  check_contains(refusal_of_text("checkpoint.version", "3"), "'3' is not known; allowed: 1 and 2");
  for (const std::string key : {"step", "data.position", "optimizer.steps"}) {
    for (const std::string text :
         {"", "-1", "x", "1.0", "1 ", " 1", "1e3", "+1", "9223372036854775808"})
      check_contains(refusal_of_text(key, text), "'" + key + "'");
    check_contains(refusal_of_changed([&](TensorFile& file) { file.metadata.erase(key); }),
                   "no '" + key + "'");
  }
  for (const std::string text : {"", "1", "1 2", "1 2 3 4", "1 2 3 ", " 1 2 3", "1  2 3", "1,2,3",
                                 "1 2 -3", "1 2 18446744073709551616"})
    check_contains(refusal_of_text("random.data", text), "'random.data'");
  check_contains(
      refusal_of_changed([](TensorFile& file) { file.metadata.erase("checkpoint.version"); }),
      "is not a checkpoint");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_saved_leaves_the_old_checkpoint) {
  TemporaryDirectory folder;
  Run run(1);
  const std::vector<Parameter> all = parameters(run.model);
  save_checkpoint(folder / "run", all, &run.optimizer, varied_state());
  BOOST_CHECK_THROW(save_checkpoint(folder / "run", all, nullptr, {.step = -1}), Error);
  BOOST_CHECK_THROW(save_checkpoint(folder / "run", {all[0], all[0]}, nullptr, {}), Error);
  BOOST_CHECK_THROW(save_checkpoint(folder / "absent/run", all, nullptr, {}), Error);
  check_equal(read_training_state(folder / "run"), varied_state());
  BOOST_CHECK_THROW(read_training_state(folder / "absent"), Error);
}

BOOST_AUTO_TEST_CASE(parameters_alone) {
  TemporaryDirectory folder;
  Model saved(1), loaded(2);
  save_parameters(folder / "weights", parameters(saved), {{"made by", "a test"}});
  const TensorFile file = read_safetensors(folder / "weights");
  BOOST_TEST(file.at("layer.weight").shape() == Shape({3, 4}));
  BOOST_TEST(file.text("made by") == "a test");
  load_parameters(folder / "weights", parameters(loaded));
  BOOST_TEST(loaded.bias.value().at<double>({3}) == saved.bias.value().at<double>({3}));

  struct Part {
    Var weight = Var::parameter(Tensor::zeros({3, 4}, DType::float32));
    void visit(PartVisitor& parts) { parts("layer.weight", weight); }
  } part;
  BOOST_CHECK_EXCEPTION(load_parameters(folder / "weights", parameters(part)), Error,
                        [](const Error& error) {
                          return std::strstr(error.what(), "unexpected: 'layer.bias'") != nullptr;
                        });
  BOOST_TEST(part.weight.value().at<float>({0, 0}) == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
