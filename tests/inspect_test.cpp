// vla inspect: its table, its refusals, and that its files hold what the diagnostics hold.

#include <cmath>
#include <map>
#include <sstream>

#include "framework/ops/softmax.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/safetensors.hpp"
#include "models/diagnostics.hpp"
#include "tests/compare.hpp"
#include "tests/error_of.hpp"
#include "tests/optional.hpp"
#include "tests/program.hpp"
#include "tools/csv.hpp"
#include "tools/run.hpp"
#include "tools/training.hpp"

namespace vla {
namespace {

void train(const Place& place, const std::string& model) {
  const Outcome outcome = place.run(
      "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 2 --hidden 16 --batch 4 "
      "--steps 2 --threads 1 --out " +
      model + " --model " + model);
  BOOST_REQUIRE_EQUAL(outcome.errors, "");
}

// The columns of a file by name; an empty cell is NaN.
std::map<std::string, std::vector<double>> columns_of(const std::filesystem::path& path) {
  std::istringstream text(read(path));
  std::string line, cell;
  std::getline(text, line);
  std::vector<std::string> names;
  for (std::istringstream head(line); std::getline(head, cell, ',');) names.push_back(cell);
  std::map<std::string, std::vector<double>> columns;
  while (std::getline(text, line)) {
    line += ',';
    std::istringstream row(line);
    for (const std::string& name : names) {
      BOOST_REQUIRE(std::getline(row, cell, ','));
      columns[name].push_back(cell.empty() ? std::nan("") : std::stod(cell));
    }
  }
  return columns;
}

// What the program should have found about layer 1 of a run.
Diagnostics expected(const Place& place, const std::string& model, DiagnosticsOptions options) {
  const RunDirectory run(place / model);
  const TrainOptions settings = run.options();
  LanguageModel trained = trained_model(settings, run.checkpoint(), Device{});
  Rng rng = run_rng(7, RunStream::final_evaluation);
  const Tensor tokens = make_task(settings)->sample_held_out(1, rng).tokens;
  SequenceModel& body = trained.body();
  Block &first = body.blocks()[0], &second = body.blocks()[1];
  const Var x = first(body.embed(tokens), tokens);
  return second.mixer->diagnose(second.norm1(x), tokens, options);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(inspect)

BOOST_AUTO_TEST_CASE(the_files_hold_what_the_tensors_hold) {
  const Place place;
  train(place, "vla");
  const std::string rest = " vla --layer 1 --every 3 --seed 7 --out inside/deep";
  for (const std::string view : {"penalty", "memory", "attention"}) {
    const Outcome outcome = place.run("inspect " + view + rest);
    BOOST_TEST(outcome.errors == "");
    BOOST_TEST(outcome.code == 0);
  }
  const Diagnostics found = expected(place, "vla", {.every = 3, .maps = true});
  const TensorFile penalty = read_safetensors(place / "inside/deep/penalty.safetensors");
  check_close(penalty.at("eigenvalues"), found.eigenvalues, 0);
  check_close(penalty.at("condition"), found.condition, 0);
  check_close(penalty.at("penalty_strength"), found.penalty_strength, 0);
  check_close(penalty.at("inverse"), found.inverse, 0);
  BOOST_TEST(penalty.at("times").values<Index>() == (std::vector<Index>{0, 3, 6}),
             boost::test_tools::per_element());
  BOOST_TEST(penalty.text("model") == "vla");
  const TensorFile memory = read_safetensors(place / "inside/deep/memory.safetensors");
  check_close(memory.at("survival"), found.survival, 0);
  check_close(memory.at("error_norm"), found.error_norm, 0);
  const TensorFile attention = read_safetensors(place / "inside/deep/attention.safetensors");
  check_close(attention.at("attention"), found.attention, 0);

  auto columns = columns_of(place / "inside/deep/penalty.csv");
  const Index time = found.inverse_norm.size(1);
  BOOST_REQUIRE_EQUAL(columns["head"].size(), static_cast<std::size_t>(2 * time));
  std::size_t row = 0;
  for (Index t = 0; t < time; ++t)
    for (Index h = 0; h < 2; ++h, ++row) {
      BOOST_TEST(columns["time"][row] == t);
      BOOST_TEST(columns["head"][row] == h);
      BOOST_TEST(columns["token"][row] == penalty.at("tokens").at<Index>({0, t}));
      BOOST_TEST(columns["inverse_norm"][row] == found.inverse_norm.at<double>({0, t, h}));
      if (t % 3 == 0) {
        BOOST_TEST(columns["largest_eigenvalue"][row] ==
                   found.eigenvalues.at<double>({0, t / 3, h, 7}));
        BOOST_TEST(columns["smallest_eigenvalue"][row] ==
                   found.eigenvalues.at<double>({0, t / 3, h, 0}));
      } else {
        BOOST_TEST(std::isnan(columns["condition"][row]));
      }
    }
  columns = columns_of(place / "inside/deep/memory.csv");
  BOOST_TEST(columns["transition_norm"].back() ==
             found.transition_norm.at<double>({0, time - 1, 1}));
}

BOOST_AUTO_TEST_CASE(the_table_has_a_row_a_quantity_and_head) {
  const Place place;
  train(place, "vla");
  const std::string both = place.run("inspect memory vla").out;
  for (const char* word : {"memory of layer 0 (0 to 1), vla on mqar, 7 tokens, seed 1", "median",
                           "\nmemory_norm           0 ", "\nerror_norm            1 ",
                           "\ntransition_norm       1 ", "\nsurvival              1 "})
    BOOST_TEST((both.find(word) != std::string::npos), "no " << word << " in " << both);
  const std::string one = place.run("inspect memory vla --head 1 --out one").out;
  BOOST_TEST(one.find("norm           0 ") == std::string::npos);
  BOOST_TEST(one.find("\nmemory_norm           1 ") != std::string::npos);
  BOOST_TEST(columns_of(place / "one/memory.csv")["head"] == std::vector<double>(7, 1),
             boost::test_tools::per_element());
  BOOST_TEST(place.run("inspect memory vla --seed 2").out != both);
}

BOOST_AUTO_TEST_CASE(what_a_model_does_not_have_is_refused) {
  const Place place;
  for (const std::string model : {"deltanet", "softmax"}) {
    train(place, model);
    check_refused(place, "inspect penalty " + model,
                  {"model '" + model + "' has no penalty; allowed: vla, vla-v1, vla-v3"});
    BOOST_TEST(place.run("inspect attention " + model).code == 0);
  }
  BOOST_TEST(place.run("inspect memory deltanet").code == 0);
  check_refused(place, "inspect memory softmax",
                {"model 'softmax' has no memory; allowed: vla, vla-v1, vla-v3, deltanet, linear"});
  check_refused(place, "inspect weights softmax",
                {"'weights' cannot be looked at; allowed: penalty, memory, attention, gradients, "
                 "graph"});
  check_refused(place, "inspect memory deltanet --layer 2", {"--layer 2", "layers 0 to 1"});
  check_refused(place, "inspect memory deltanet --layer -1", {"--layer -1", "layers 0 to 1"});
  check_refused(place, "inspect memory deltanet --head 2", {"--head 2", "heads 0 to 1"});
  check_refused(place, "inspect memory deltanet --every 0",
                {"--every 0 is not allowed; 1 or more"});
  check_refused(place, "inspect memory nothing", {"nothing/config.json"});
  check_refused(place, "inspect memory", {"run"});
}

// The valid part alone has capitals.
BOOST_AUTO_TEST_CASE(text_is_of_the_part_that_was_never_trained_on) {
  const Place place;
  const auto write_corpus = [&](const std::string& word) {
    std::ofstream corpus(place / "corpus");
    for (int i = 0; i < 90; ++i) corpus << word;
    for (int i = 0; i < 10; ++i) corpus << "ABCDEFGH";
  };
  write_corpus("abcdefgh");
  BOOST_REQUIRE_EQUAL(place
                          .run("train --task text --text corpus --length 6 --width 16 --heads 2 "
                               "--layers 1 --hidden 16 --batch 4 --steps 2 --warm-up 1 "
                               "--threads 1 --out run")
                          .errors,
                      "");
  for (const std::string seed : {"1", "2", "3"}) {
    const Outcome outcome = place.run("inspect memory run --out inside --seed " + seed);
    BOOST_TEST(outcome.errors == "");
    auto columns = columns_of(place / "inside/memory.csv");
    BOOST_TEST(columns["token"].size() == 12u);  // 6 of each head
    for (const double token : columns["token"]) BOOST_TEST((token >= 'A' && token <= 'H'), token);
  }
  write_corpus("abcdefgg");
  check_refused(place, "inspect memory run", {"run/checkpoint.safetensors was made from data of"});
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_a_batch_of_the_run) {
  const Place place;
  train(place, "vla");
  const Outcome outcome = place.run("inspect gradients vla --out inside");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  for (const char* word :
       {"gradients of vla on mqar, 4 examples of 7 tokens, seed 1; loss ", ", a step of adamw at",
        "\n\nparameter ", "update/weight", "\nblocks.1.mlp.up.weight ", "\n\nlayer ", "\nblocks.1 ",
        "wrote inside/gradients.csv\n"})
    check_contains(outcome.out, word);

  const RunDirectory run(place / "vla");
  LanguageModel model = trained_model(run.options(), run.checkpoint(), Device{});
  Rng rng = run_rng(1, RunStream::batches);
  const Batch batch = make_task(run.options())->sample(4, rng);
  const std::vector<Parameter> all = parameters(model);
  Tape tape;
  const Gradients gradients = tape.backward(cross_entropy(model(batch.tokens), batch.targets));
  const std::filesystem::path file = place / "inside/gradients.csv";
  const Table table = read_csv(file);
  const std::vector<double> norms = csv_column(table, "norm", file),
                            updates = csv_column(table, "update", file);
  BOOST_REQUIRE(norms.size() > all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    BOOST_TEST(table[i + 1][1] == all[i].name);
    BOOST_TEST(std::abs(norms[i] - global_norm({all[i]}, gradients)) <= 1e-8 * norms[i]);
  }
  BOOST_TEST(updates[0] > 0);
  BOOST_TEST(updates[0] < 1);
  BOOST_TEST(place.run("inspect gradients vla").out + "wrote inside/gradients.csv\n" ==
             outcome.out);
  BOOST_TEST(place.run("inspect gradients vla --seed 2").out.find("seed 2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_graph_is_written_and_drawn_where_there_is_dot) {
  const Place place;
  train(place, "vla");
  const Outcome outcome = place.run("inspect graph vla --out inside");
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  for (const char* word : {"graph of vla on mqar, 1 example of 7 tokens, seed 1; ",
                           " ops\n\nvalue ", "\nblocks.0.mlp.up.weight  ", " cross_entropy(%",
                           "\n\nop ", "\ntogether ", "\nwrote inside/graph.dot\n"})
    check_contains(outcome.out, word);
  BOOST_TEST(read(place / "inside/graph.dot").starts_with("digraph tape {\n"));
  BOOST_TEST(!place.has("inside/graph.svg.log"));
  const Outcome without =
      Place::run_in(place.path(), "/usr/bin/env",
                    "PATH=/nowhere " + quoted(VLA_PROGRAM) + " inspect graph vla --out other");
  BOOST_TEST(without.code == 0);
  BOOST_TEST(without.out.ends_with("wrote other/graph.dot\nno other/graph.svg: the program dot, "
                                   "which draws it, is missing (Debian's graphviz)\n"),
             without.out);
}

BOOST_AUTO_TEST_CASE(dot_draws_the_graph, *boost::unit_test::precondition(has_program("dot"))) {
  const Place place;
  train(place, "linear");
  const Outcome outcome = place.run("inspect graph linear --out inside");
  BOOST_TEST(outcome.out.ends_with("wrote inside/graph.dot\nwrote inside/graph.svg\n"));
  BOOST_TEST(read(place / "inside/graph.svg").find("</svg>") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_gradients_and_graph_do_not_have_is_refused) {
  const Place place;
  train(place, "linear");
  check_refused(place, "inspect gradients linear --layer 1",
                {"inspect gradients: --layer, --head and --every are of penalty, memory and "
                 "attention"});
  check_refused(place, "inspect graph linear --every 2", {"inspect graph: --layer"});
  check_refused(place, "inspect graph nothing", {"nothing/config.json"});
  check_refused(place, "inspect gradients linear --out linear/config.json",
                {"cannot make the directory linear/config.json"});
}

BOOST_AUTO_TEST_CASE(a_file_in_the_way_is_named) {
  const Place place;
  train(place, "linear");
  BOOST_TEST(place.run("inspect memory linear --out linear/config.json")
                 .errors.find("cannot make the directory linear/config.json") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
