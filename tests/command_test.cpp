// The vla program as its users see it: exit codes, messages, and the files of a run.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/error_of.hpp"
#include "tests/program.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

std::vector<nlohmann::json> lines_of(const std::filesystem::path& path) {
  std::vector<nlohmann::json> result;
  std::istringstream text(read(path));
  for (std::string line; std::getline(text, line);) {
    result.push_back(nlohmann::json::parse(line, nullptr, false));
    BOOST_REQUIRE(result.back().is_object());
  }
  return result;
}

// The subcommands that a help lists.
std::vector<std::string> commands_in(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  bool listed = false;
  for (std::string line; std::getline(lines, line);) {
    if (listed && line.starts_with("  ") && line[2] != ' ')
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
    else if (listed && line.empty())
      break;
    listed = listed || line == "Subcommands:";
  }
  return names;
}

void check_has_example(const Place& place, const std::string& command) {
  const Outcome help = place.run(command + " --help");
  BOOST_TEST(help.code == 0);
  const std::string line = ":\n  vla " + command;
  BOOST_TEST((help.out.find("Example" + line) != std::string::npos ||
              help.out.find("Examples" + line) != std::string::npos),
             "no example in the help of " << command);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(command)

BOOST_AUTO_TEST_CASE(version_and_help) {
  const Place place;
  BOOST_TEST(place.run("--version").out == "vla " VLA_VERSION "\n");
  BOOST_TEST(place.run("--version").code == 0);
  const std::string help = place.run("--help").out;
  for (const char* part : {"Example:\n  vla ", "Exit code:\n  0 ", "  3    the training diverged"})
    BOOST_TEST((help.find(part) != std::string::npos), help);
  const std::vector<std::string> commands = commands_in(help);
  BOOST_TEST(commands.size() > 12);
  for (const std::string& command : commands) {
    check_has_example(place, command);
    for (const std::string& view : commands_in(place.run(command + " --help").out))
      check_has_example(place, command + " " + view);
  }
}

BOOST_AUTO_TEST_CASE(folders_may_have_any_name) {
  const Place place;
  const std::filesystem::path folder = place / "it's a \"folder\"";
  std::filesystem::create_directory(folder);
  std::filesystem::create_symlink(VLA_PROGRAM, folder / "vla");
  const Outcome outcome = Place::run_in(folder, (folder / "vla").string(),
                                        kSmall + "--steps 3 --out " + quoted("a 'run'"));
  BOOST_TEST(outcome.errors == "");
  BOOST_TEST(outcome.code == 0);
  BOOST_TEST(std::filesystem::exists(folder / "a 'run'/checkpoint.safetensors"));
}

BOOST_AUTO_TEST_CASE(tasks_and_models_are_listed) {
  const Place place;
  const std::string tasks = place.run("tasks").out;
  for (const TaskKind& kind : task_kinds())
    BOOST_TEST(tasks.find(concatenate("\n", kind.name, " ")) != std::string::npos);
  const Outcome models = place.run("models");
  for (const ModelKind& kind : model_kinds())
    BOOST_TEST(models.out.find(kind.name) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(bad_words_are_refused) {
  const Place place;
  check_refused(place, "", {"no command given", "train, eval"});
  check_refused(place, "trian", {"unknown command 'trian'", "train, eval"});
  check_refused(place, "train --stepps 5", {"unknown option '--stepps'", "--steps"});
  check_refused(place, "train word", {"unexpected 'word'"});
  check_refused(place, "train --steps", {"--steps"});
  check_refused(place, "train --steps ten", {"--steps 'ten' is not a whole number"});
  check_refused(place, "train --steps 5.5", {"--steps '5.5' is not a whole number"});
  check_refused(place, "train --steps 99999999999999999999", {"--steps", "out of range"});
  check_refused(place, "train --rate fast", {"--rate 'fast' is not a number"});
  check_refused(place, "train --seed -1", {"--seed '-1' is not a whole number of 0 or more"});
  check_refused(place, "eval", {"run"});
  check_refused(place, "gradcheck nonsense", {"'nonsense'"});
  check_refused(place, "bench --time 0", {"--time 0 is not allowed; 1 or more"});
  check_refused(place, "bench --threads -1", {"--threads -1 is not allowed; 0 to 4096"});
  check_refused(place, "bench --json ''", {"--json is empty"});
}

BOOST_AUTO_TEST_CASE(bad_settings_are_refused_before_anything_is_written) {
  const Place place;
  const auto refused = [&place](const std::string& setting, std::vector<std::string> parts) {
    check_refused(place, "train --out run " + setting, parts);
    BOOST_TEST(!place.has("run"));
  };
  refused("--task sorting", {"unknown task 'sorting'; allowed: mqar, copy, "});
  refused("--task copy --pairs 3", {"--pairs 3 is not for task copy", "--prefix"});
  refused("--no-random-filler --task retrieval", {"--random-filler false is not for task"});
  refused("--model gpt",
          {"unknown model 'gpt'; allowed: vla, vla-v1, vla-v3, deltanet, linear, softmax"});
  refused("--device tpu", {"unknown device 'tpu'; allowed: cpu, cuda, cuda:N, auto"});
  if (cuda_device_count() == 0) refused("--device cuda", {"device 'cuda' is not available: "});
  refused("--precision half", {"--precision 'half' is not allowed; float32, tf32 or bf16"});
  refused("--precision bf16", {"--precision bf16 is for CUDA devices, --device is cpu"});
  refused("--graph", {"--graph is for CUDA devices, --device is cpu"});
  refused("--device cuda --dtype float64 --precision tf32",
          {"--precision tf32 is for parameters of float32, --dtype is float64"});
  refused("--dtype float16", {"--dtype 'float16' is not allowed; float32 or float64"});
  refused("--dtype int64", {"float32 or float64"});
  refused("--form zoo", {"unknown form 'zoo'; allowed: notebook, zoology, zoology-mix"});
  refused("--penalty sum", {"--penalty 'sum' is not allowed; key or learned"});
  refused("--model vla-v1 --operator-form chunk", {"--operator-form chunk is not for", "vla-v1"});
  refused("--model vla-v1 --lambda0 1e-40", {"lambda0 is 1e-40", "float32"});
  refused("--model vla-v3 --nudge-eps 1e38", {"nudge is 1e+38", "float32"});
  refused("--model vla-v3 --nudge-eps -0.5", {"--nudge-eps -0.5 is not allowed"});
  refused("--model deltanet --nudge-period 5", {"'deltanet' has no setting --nudge-period"});
  refused("--model deltanet --features identity", {"'deltanet' has no setting --features"});
  refused("--model vla-v3 --no-learn-lambda0", {"'vla-v3' has no setting --no-learn-lambda0"});
  refused("--model vla-v3 --error-clip 1", {"'vla-v3' has no setting --error-clip"});
  refused("--model vla-v1 --error-clip -2", {"--error-clip -2 is not allowed"});
  refused("--features cube", {"--features 'cube' is not allowed; elu or identity"});
  refused("--model vla-v1 --symbolic 0.5 --task text --text no-file",
          {"--symbolic 0.5 is not for task text"});
  refused("--pairs 70 --vocabulary 65", {"pairs 70 needs at least 70 keys, vocabulary has 64"});
  refused("--length 10", {"length 10 is too short for 8 pairs", "18 or more"});
  refused("--heads 3", {"128", "3"});
  refused("--width 0", {"width 0"});
  refused("--layers 0", {"--layers 0 is not allowed; 1 to"});
  refused("--batch 0", {"--batch 0 is not allowed; 1 or more"});
  refused("--steps 0", {"--steps 0 is not allowed; 1 or more"});
  refused("--rate nan", {"--rate nan is not allowed; above 0"});
  refused("--until 2", {"--until 2 is not allowed; 0 to 1"});
  refused("--threads -1", {"--threads -1 is not allowed; 0 to"});
  refused("--stop-at 9000", {"--stop-at 9000 is not allowed; 1 to 3000"});
  refused("--force --resume run", {"exclude each other"});
  refused("--warm-up 300 --steps 100", {"--warm-up 300 is not allowed; less than --steps 100"});
  refused("--out ''", {"--out is empty"});
}

// More than the 128 TiB that Linux gives a process. Not among the rows above, which want one line:
// AddressSanitizer has one of its own to say about it.
BOOST_AUTO_TEST_CASE(a_model_that_memory_cannot_hold_is_refused) {
  const Place place;
  const Outcome outcome = place.run("train --out run --width 1000000000000 --heads 1");
  BOOST_TEST(outcome.code == 2);
  BOOST_TEST(outcome.out == "");
  check_contains(outcome.errors, "vla: out of memory on cpu: ");
  BOOST_TEST(!place.has("run"));
}

BOOST_AUTO_TEST_CASE(a_run_leaves_its_settings_reports_and_checkpoint) {
  const Place place;
  const Outcome outcome = place.run(kSmall + "--out runs/first");
  BOOST_REQUIRE_EQUAL(outcome.errors, "");
  BOOST_TEST(outcome.code == 0);
  BOOST_TEST(outcome.out.find("step     8/8") != std::string::npos);
  BOOST_TEST(outcome.out.find('\r') == std::string::npos);  // plain lines, not on a terminal

  const auto config = nlohmann::json::parse(read(place / "runs/first/config.json"));
  BOOST_TEST(config["pairs"] == 2);
  BOOST_TEST(config["model"] == "vla");
  BOOST_TEST(config["rate"] == 1e-3);
  BOOST_TEST(config["version"] == VLA_VERSION);

  const auto lines = lines_of(place / "runs/first/metrics.jsonl");
  BOOST_REQUIRE_EQUAL(lines.size(), 5);  // a report every 2 of 8 steps, and the evaluation
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool last = i + 1 == lines.size();
    BOOST_TEST(lines[i].at("split") == (last ? "held-out" : "train"));
    BOOST_TEST(lines[i].at("step") == (last ? 8 : 2 * (i + 1)));
    for (const char* name : {"loss", "accuracy", "tokens_per_second"}) {
      BOOST_TEST(lines[i].at(name).is_number());
      BOOST_TEST(lines[i].at(name).get<double>() >= 0);
    }
  }
  BOOST_TEST(std::abs(lines[0]["loss"].get<double>() - std::log(16.0)) < 1);
  BOOST_TEST(lines.back()["examples"] == 2000);
  BOOST_TEST(place.has("runs/first/checkpoint.safetensors"));
}

BOOST_AUTO_TEST_CASE(a_run_is_not_overwritten_without_force) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").code, 0);
  const std::string before = read(place / "run/checkpoint.safetensors");
  check_refused(place, kSmall + "--out run --seed 2", {"run exists", "--force", "--resume"});
  check_refused(place, kSmall + "--out run --heads 3", {"width 16", "3"});  // settings come first
  BOOST_TEST((read(place / "run/checkpoint.safetensors") == before));
  BOOST_TEST(place.run(kSmall + "--out run --seed 2 --force").code == 0);
  BOOST_TEST((read(place / "run/checkpoint.safetensors") != before));
  BOOST_TEST(lines_of(place / "run/metrics.jsonl").size() == 5);
  std::ofstream(place / "file") << "text";
  check_refused(place, kSmall + "--out file --force", {"file exists and is not a directory"});
  check_refused(place, kSmall + "--out file/run", {"file/run"});
}

// Eight steps at once, and four and four, end in the same bytes; so do the reports, but for times.
BOOST_AUTO_TEST_CASE(a_resumed_run_goes_on_to_the_bit) {
  const Place place;
  for (const std::string model : {"vla", "softmax"}) {
    const std::string words = kSmall + "--model " + model + " --out " + model;
    BOOST_REQUIRE_EQUAL(place.run(words + "_whole").code, 0);
    const Outcome left = place.run(words + "_parts --stop-at 4");
    BOOST_TEST(left.out.find("left at step 4 of 8") != std::string::npos);
    const std::string whole = read(place / (model + "_whole/checkpoint.safetensors"));
    const std::string parts = model + "_parts/checkpoint.safetensors";
    BOOST_TEST((read(place / parts) != whole));
    const Outcome resumed = place.run("train --resume " + model + "_parts");
    BOOST_TEST(resumed.errors == "");
    BOOST_TEST((read(place / parts) == whole));

    const auto expected = lines_of(place / (model + "_whole/metrics.jsonl"));
    const auto reports = lines_of(place / (model + "_parts/metrics.jsonl"));
    BOOST_REQUIRE_EQUAL(reports.size(), expected.size());
    for (std::size_t i = 0; i < reports.size(); ++i)
      for (const char* name : {"split", "step", "loss", "accuracy"})
        BOOST_TEST((reports[i].at(name) == expected[i].at(name)), "line " << i << ", " << name);
    for (std::size_t i = 1; i < reports.size(); ++i)  // those of both sessions together
      BOOST_TEST(reports[i].at("seconds") > reports[i - 1].at("seconds"));
  }
}

BOOST_AUTO_TEST_CASE(a_run_that_was_cut_off_goes_on_from_its_checkpoint) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out whole").code, 0);
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out cut --stop-at 3").code, 0);
  // Reports beyond the checkpoint, the last one cut off in the middle.
  std::ofstream(place / "cut/metrics.jsonl", std::ios::app)
      << R"({"split":"train","step":4,"loss":9,"accuracy":0,"tokens_per_second":1})"
      << "\n"
      << R"({"split":"train","st)";
  BOOST_TEST(place.run("train --resume --out cut").errors == "");
  BOOST_TEST(
      (read(place / "cut/checkpoint.safetensors") == read(place / "whole/checkpoint.safetensors")));
  BOOST_TEST(lines_of(place / "cut/metrics.jsonl").size() == 5);
}

BOOST_AUTO_TEST_CASE(a_run_that_was_cut_off_before_its_first_checkpoint_starts_again) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run").code, 0);
  const std::string whole = read(place / "run/checkpoint.safetensors");
  std::filesystem::remove(place / "run/checkpoint.safetensors");
  std::ofstream(place / "run/metrics.jsonl")
      << R"({"split":"train","step":2,"loss":9,"accuracy":1,"tokens_per_second":1})"
      << "\n";
  const Outcome resumed = place.run("train --resume run");
  BOOST_TEST(resumed.errors == "");
  BOOST_TEST(resumed.out.starts_with("run has no checkpoint yet: it starts from step 0\n"));
  BOOST_TEST((read(place / "run/checkpoint.safetensors") == whole));
  const auto lines = lines_of(place / "run/metrics.jsonl");
  BOOST_REQUIRE_EQUAL(lines.size(), 5);
  BOOST_TEST(lines[0]["loss"] != 9);
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_another_run_is_refused) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run --stop-at 4").code, 0);
  const auto config = nlohmann::json::parse(read(place / "run/config.json"));
  // None of these changes the shape of a parameter.
  for (const auto& [name, value] : std::map<std::string, nlohmann::json>{
           {"seed", 7}, {"batch", 5}, {"pairs", 1}, {"heads", 4}, {"form", "zoology"}}) {
    auto changed = config;
    changed[name] = value;
    std::ofstream(place / "run/config.json") << changed;
    const std::string now = value.is_string() ? value.get<std::string>() : value.dump();
    for (const char* words : {"train --resume run", "eval run"})
      check_refused(place, words,
                    {"run/checkpoint.safetensors was made with " + name,
                     "config.json has " + name + " " + now});
  }
  auto longer = config;  // what is no part of the model or the data may be edited
  longer["checkpoint-every"] = 1;
  std::ofstream(place / "run/config.json") << longer;
  BOOST_TEST(place.run("eval run --examples 10").errors == "");
  BOOST_TEST(place.run("train --resume run").errors == "");
}

BOOST_AUTO_TEST_CASE(the_warm_up_fits_the_steps_unless_it_is_given) {
  const Place place;
  const std::string words =
      "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
      "--threads 1 --until 0.0001 --report-every 1 ";
  const auto warm_up = [&](const std::string& name, const std::string& settings) {
    BOOST_TEST(place.run(words + settings + " --out " + name).errors == "");
    return nlohmann::json::parse(read(place / (name + "/config.json"))).at("warm-up").get<int>();
  };
  BOOST_TEST(warm_up("usual", "--stop-at 1") == 300);
  BOOST_TEST(warm_up("long", "--steps 50000 --stop-at 1") == 300);
  BOOST_TEST(warm_up("short", "--steps 25 --stop-at 1") == 2);
  BOOST_TEST(warm_up("single", "--steps 1") == 0);
  BOOST_TEST(warm_up("given", "--steps 25 --warm-up 5 --stop-at 1") == 5);
  BOOST_TEST(
      (place.run("train --help").out.find("a tenth of --steps, 300 at most") != std::string::npos));
}

BOOST_AUTO_TEST_CASE(a_resumed_run_keeps_its_settings) {
  const Place place;
  BOOST_REQUIRE_EQUAL(place.run(kSmall + "--out run --stop-at 4").code, 0);
  check_refused(place, "train --resume run --rate 0.5",
                {"--rate 0.5 differs from the run's 0.001"});
  check_refused(place, "train --resume run --tied-head --no-tied-head", {"--tied-head"});
  check_refused(place, "train --resume run --steps 9 --no-positions",
                {"--positions false differs from the run's true; a resumed run keeps its settings",
                 "a new one may have others: "
                 "vla train --config run/config.json --no-positions --steps 9 --out OTHER"});
  check_refused(place, "train --resume run --out other", {"run", "other", "different runs"});
  check_refused(place, "train --resume", {"--resume RUN"});
  check_refused(place, "train --resume nothing", {"nothing/config.json"});
  BOOST_TEST(place.run(kSmall + "--resume --out run").errors == "");
  const std::string metrics = read(place / "run/metrics.jsonl");
  const Outcome again = place.run("train --resume run");
  BOOST_TEST(again.code == 0);
  BOOST_TEST(again.out.find("is finished") != std::string::npos);
  BOOST_TEST(read(place / "run/metrics.jsonl") == metrics);
}

// What a layer refuses because its input is not finite any more is a training that diverged, too.
BOOST_AUTO_TEST_CASE(a_training_that_diverges_has_an_exit_code_of_its_own) {
  const Place place;
  for (const char* words :
       {"--model vla", "--model linear", "--model softmax", "--model linear --non-finite skip",
        "--model linear --non-finite ignore"})
    BOOST_TEST_CONTEXT(words) {
      const Outcome outcome = place.run(
          concatenate(kSmall, words, " --rate 1e30 --clip 0 --warm-up 0 --force --out run"));
      BOOST_TEST(outcome.code == 3);
      BOOST_TEST(std::ranges::count(outcome.errors, '\n') == 1);
    }
}

BOOST_AUTO_TEST_CASE(a_run_stops_once_it_is_good_enough) {
  const Place place;
  BOOST_TEST(place.run(kSmall + "--until 0.0001 --pairs 1 --vocabulary 2 --out run").code == 0);
  const auto lines = lines_of(place / "run/metrics.jsonl");  // one answer is possible: 1.0 at once
  BOOST_REQUIRE_EQUAL(lines.size(), 2);
  BOOST_TEST(lines.back()["step"] == 2);
  BOOST_TEST(place.has("run/checkpoint.safetensors"));
}

BOOST_AUTO_TEST_CASE(a_loss_that_is_not_finite_ends_the_run) {
  const Place place;
  const Outcome outcome = place.run(
      kSmall +
      "--model softmax --rate 1e30 --clip 0 --warm-up 0 --decay 0 --report-every 8 --out run");
  BOOST_TEST(outcome.code == 3);
  BOOST_TEST(std::ranges::count(outcome.errors, '\n') == 1);
  BOOST_TEST((outcome.errors.starts_with("vla: loss is ") &&
              outcome.errors.find(" at step ") != std::string::npos),
             outcome.errors);
}

BOOST_AUTO_TEST_CASE(steps_that_may_be_skipped_are_counted) {
  const Place place;
  BOOST_TEST(place.run(kSmall + "--non-finite skip --out run").errors == "");
  for (const Metrics& line : RunDirectory(place / "run").metrics())
    if (!line.held_out()) BOOST_TEST(line.more.at("skipped_steps") == 0);
}

BOOST_AUTO_TEST_CASE(a_model_that_is_not_causal_says_so) {
  const Place place;
  const std::string words = "not causal: the symbolic penalty normalises over later tokens";
  for (const std::string symbolic : {"0", "0.5"}) {
    const Outcome outcome =
        place.run(kSmall + "--model vla-v1 --symbolic " + symbolic + " --out run" + symbolic);
    BOOST_TEST(outcome.errors == "");
    const std::string first = outcome.out.substr(0, outcome.out.find('\n'));
    BOOST_TEST(first.ends_with(words) == (symbolic != "0"), first);
  }
}

BOOST_AUTO_TEST_CASE(settings_survive_their_text) {
  TrainOptions options;
  options.seed = ~std::uint64_t{0};
  options.rate = 0.1 + 0.2;
  options.data.random_filler = false;
  options.mixer.attention.dtype = DType::float64;
  const TrainOptions again = options_from_json(to_json(options), "text");
  BOOST_TEST(again.seed == options.seed);
  BOOST_TEST(again.rate == options.rate);
  BOOST_TEST(to_json(again) == to_json(options));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
