// vla export and import: our names and the reference's, there and back, and that a model of the
// reference computes here what it computed there.
#include <boost/test/unit_test.hpp>

#include "framework/npz.hpp"
#include "tests/npy_files.hpp"
#include "tests/program.hpp"
#include "tools/golden_case.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

// The reference's parameters before training, as in a file of the reference.
TensorFile state_dict(const std::string& golden) {
  const TensorFile all = read_safetensors(std::string(VLA_SOURCE_DIR "/tests/golden/") + golden);
  TensorFile file;
  for (const auto& [name, tensor] : all.tensors)
    if (name.starts_with("init.")) file.tensors.emplace_back(name.substr(5), tensor);
  return file;
}

const std::string kReferenceTask = "--heads 2 --task mqar --pairs 4 --vocabulary 32 ";

void check_same(const TensorFile& file, const TensorFile& expected) {
  BOOST_TEST(file.tensors.size() == expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors)
    BOOST_TEST(same_bits(file.at(name), tensor), name);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(interchange)

BOOST_AUTO_TEST_CASE(a_model_of_the_reference_computes_the_same_here) {
  for (const auto& [golden, model] : {std::pair{"train3_vla.safetensors", "vla-v3"},
                                      {"train3_softmax.safetensors", "softmax"},
                                      {"train3_linear.safetensors", "linear"}}) {
    BOOST_TEST_CONTEXT(golden) {
      const Place place;
      const TensorFile theirs = state_dict(golden);
      write_safetensors(place / "theirs.safetensors", theirs);
      const Outcome outcome =
          place.run("import theirs.safetensors --names reference --out run " + kReferenceTask);
      BOOST_TEST(outcome.errors == "");
      BOOST_REQUIRE(outcome.code == 0);
      const RunDirectory run(place / "run");
      const TrainOptions options = run.options();
      BOOST_TEST(options.model == model);
      BOOST_TEST(options.layers == 2);
      BOOST_TEST(options.hidden == 64);

      const TensorFile all =
          read_safetensors(std::string(VLA_SOURCE_DIR "/tests/golden/") + golden);
      LanguageModel ours = trained_model(options, run.checkpoint(), Device{});
      const Tensor& tokens = all.at("tokens");
      const Index count = tokens.size(1) * tokens.size(2);
      const Tensor first = Tensor::from<std::int64_t>(
          {tokens.size(1), tokens.size(2)},
          tokens.values<std::int64_t>().first(static_cast<std::size_t>(count)));
      BOOST_TEST(relative_error(ours(first).value(), all.at("logits0")) < 1e-9);

      BOOST_TEST(place.run("eval run --examples 20").errors == "");
      BOOST_TEST(place.run("generate run --tokens 1,2,3 --count 5").errors == "");
      BOOST_TEST(place.run("export run --names reference --out back.safetensors").errors == "");
      const TensorFile back = read_safetensors(place / "back.safetensors");
      TensorFile expected = theirs;
      expected.tensors.emplace_back("head.weight", theirs.at("tok.weight"));
      check_same(back, expected);
      // With the head, which the reference ties to the table, and as PyTorch's safetensors writes
      // it.
      BOOST_TEST(place.run("import back.safetensors --names reference --out both").errors == "");
      std::erase_if(expected.tensors,
                    [](const auto& named) { return named.first == "tok.weight"; });
      write_safetensors(place / "head.safetensors", expected);
      BOOST_TEST(place.run("import head.safetensors --names reference --out head " + kReferenceTask)
                     .errors == "");
      for (const char* other : {"both", "head"})
        BOOST_TEST((read(place / (std::string(other) + "/checkpoint.safetensors")) ==
                    read(run.checkpoint())));
    }
  }
}

BOOST_AUTO_TEST_CASE(our_own_come_back) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").errors, "");
  const std::string accuracy = place.run("eval run --examples 100").out;
  BOOST_TEST(place.run("export run --out own.safetensors").errors == "");
  BOOST_TEST(place.run("export run --out own.npz").errors == "");
  check_same(read_npz(place / "own.npz"), read_safetensors(place / "own.safetensors"));
  BOOST_TEST(place.run("import own.safetensors --out first").errors == "");
  BOOST_TEST(place.run("import own.npz --config run/config.json --out second").errors == "");
  for (const char* run : {"first", "second"}) {
    BOOST_TEST(place.run(std::string("eval ") + run + " --examples 100").out == accuracy);
    BOOST_TEST(
        (read(place / (std::string(run) + "/config.json")) == read(place / "run/config.json")));
  }
  // It is a run that has not begun to learn.
  const Outcome trained = place.run("train --resume first");
  BOOST_TEST(trained.errors == "");
  BOOST_TEST((trained.out.find("from step 0") != std::string::npos), trained.out);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_is_refused) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").errors, "");
  check_refused(place, "export run --out model.pt", {"model.pt: the ending '.pt' is not allowed"});
  check_refused(place, "export run --out x.npz --names torch", {"--names 'torch' is not allowed"});
  check_refused(place, "export run --out x.npz --names reference",
                {"has no model vla; it has vla-v3, softmax, linear"});
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--model vla-v3 --out v3").errors, "");
  check_refused(place, "export v3 --out x.npz --names reference", {"--convolution 4 is not in"});
  // Other values than the reference's of what leaves no trace in the names.
  int count = 0;
  for (const auto& [words, message] :
       {std::pair{"--lambda0 0.5", "--lambda0 0.5 is not in the reference; 0.1 is"},
        {"--nudge-period 0", "--nudge-period 0 is not in the reference; 20 is"},
        {"--nudge-eps 0.5", "--nudge-eps 0.5 is not in the reference; 0.001 is"},
        {"--rank 2", "--rank 2 is not in the reference; 1 is"},
        {"--key-width 4", "--key-width 4 is not in the reference; 8 is"},
        {"--value-width 4", "--value-width 4 is not in the reference; 8 is"},
        {"--no-positions", "--positions false is not in the reference; true is"},
        {"--no-tied-head", "--tied-head false is not in the reference; true is"}}) {
    const std::string run = concatenate("other", ++count);
    BOOST_REQUIRE_EQUAL(
        place.run(kSmall + "--model vla-v3 --convolution 0 " + words + " --out " + run).errors, "");
    check_refused(place, "export " + run + " --out x.npz --names reference",
                  {"--names reference: ", message});
  }
  // The reference's own values may be said.
  BOOST_REQUIRE_EQUAL(
      place
          .run(kSmall + "--model vla-v3 --convolution 0 --lambda0 0.1 --nudge-period 20 "
                        "--nudge-eps 0.001 --key-width 8 --out same")
          .errors,
      "");
  BOOST_TEST(!place.has("x.npz"));
  BOOST_TEST(place.run("export same --out y.npz --names reference").errors == "");

  BOOST_REQUIRE_EQUAL(place.run("export run --out own.npz").errors, "");
  check_refused(place, "import own.npz --out new --pairs 2 --vocabulary 16",
                {"own.npz does not fit", "missing: "});
  check_refused(place, "import own.npz --out new",
                {"own.npz has 16 tokens, task mqar as it is set"});
  check_refused(place, "import own.npz --names reference --out new", {"no tensor is named 'tok."});
  check_refused(place, "import own.npz --config run/config.json --out v3", {"v3 exists"});

  const auto refused = [&](const TensorFile& file, std::vector<std::string> parts) {
    write_safetensors(place / "t.safetensors", file);
    check_refused(place, "import t.safetensors --names reference --out new " + kReferenceTask,
                  parts);
    BOOST_TEST(!place.has("new"));
  };
  refused(state_dict("train3_deltanet.safetensors"), {"has a gate Wg", "vla-v3, softmax, linear"});
  TensorFile file = state_dict("train3_linear.safetensors");
  file.tensors.emplace_back("head.weight", Tensor::zeros({32, 32}, DType::float64));
  refused(file, {"t.safetensors: head.weight is not tok.weight"});
  file = state_dict("train3_linear.safetensors");
  file.tensors.emplace_back("more", Tensor::zeros({1}, DType::float64));
  std::erase_if(file.tensors, [](const auto& named) { return named.first == "ln_f.bias"; });
  refused(file,
          {"is not the reference's linear of 2 layers; missing: ln_f.bias; unexpected: more"});
  file = state_dict("train3_linear.safetensors");
  for (auto& [name, tensor] : file.tensors)
    if (name == "pos.weight") tensor = Tensor::zeros({4, 32}, DType::float64);
  refused(file, {"has 4 positions, task mqar as it is set has "});
  file = state_dict("train3_linear.safetensors");
  for (auto& named : file.tensors) named.second = named.second.to(DType::int64);
  refused(file, {"t.safetensors: --dtype 'int64' is not allowed; float32 or float64"});
  const std::string header =
      R"({"tok.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}})";
  std::ofstream(place / "b.safetensors", std::ios::binary)
      << static_cast<char>(header.size()) << std::string(7, '\0') << header << "xx";
  check_refused(place, "import b.safetensors --names reference --out new",
                {"b.safetensors: tensor 'tok.weight': dtype 'BF16' is not supported"});
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
