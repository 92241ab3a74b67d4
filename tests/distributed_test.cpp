// Several processes are one: what they sum, what they learn, and how they end. The checks are made
// in the processes, by tests/ranks.
#include "framework/checkpoint.hpp"
#include "framework/distributed/data_parallel.hpp"
#include "framework/ops/pointwise.hpp"
#include "framework/ops/reduce.hpp"
#include "framework/safetensors.hpp"
#include "tests/compare.hpp"
#include "tests/cuda_guard.hpp"
#include "tests/error_of.hpp"
#include "tests/mpirun.hpp"

namespace vla {
namespace {

namespace utf = boost::unit_test;

// Every process must find its case right.
void check_case(int ranks, const std::string& words) {
  const Place place;
  const Outcome outcome = run_job(place, ranks, quoted(VLA_RANKS_PROGRAM) + " " + words);
  BOOST_TEST_CONTEXT(ranks << " ranks, " << words << "\n" << outcome.out << outcome.errors) {
    BOOST_TEST(outcome.code == 0);
  }
}

std::string train(const std::string& words) { return quoted(VLA_PROGRAM) + " " + words; }

// Lines of a text that begin so.
Index lines_with(const std::string& text, const std::string& begin) {
  std::istringstream lines(text);
  Index count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with(begin);
  return count;
}

// Two runs ended in the same parameters, to rounding.
void check_same_model(const std::filesystem::path& one, const std::filesystem::path& other) {
  const TensorFile a = read_safetensors(one / "checkpoint.safetensors");
  const TensorFile b = read_safetensors(other / "checkpoint.safetensors");
  BOOST_TEST(a.tensors.size() == b.tensors.size());
  for (const auto& [name, tensor] : a.tensors)
    if (name.starts_with("model.")) BOOST_TEST_CONTEXT(name) check_close(tensor, b.at(name), 1e-4);
}

// A long training of two ranks, of which the second gets a signal once a file of the run is there.
Outcome signalled(const Place& place, const std::string& signal, const std::string& file,
                  const std::string& more) {
  const std::string many =
      "train --pairs 2 --vocabulary 16 --width 16 --heads 2 --layers 1 --hidden 16 --batch 4 "
      "--threads 1 --report-every 20 --steps 100000 --out run " +
      more;
  const std::string rank = "echo $$ > pid.$OMPI_COMM_WORLD_RANK; exec " + train(many);
  const std::string script = mpirun(2) + "sh -c " + quoted(rank) + " & job=$!; until [ -s run/" +
                             file +
                             " ]; do sleep 0.1; done; "
                             "kill -" +
                             signal + " $(cat pid.1); wait $job";
  return Place::run_in(place.path(), "sh", "-c " + quoted(script));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(distributed)

BOOST_AUTO_TEST_CASE(one_process_needs_no_mpi) {
  const Communicator alone = Communicator::world();
  BOOST_TEST(alone.rank() == 0);
  BOOST_TEST(alone.size() == 1);
  BOOST_TEST(alone.local_rank() == 0);
  BOOST_TEST((parse_device("auto", alone) == best_device()));
  BOOST_TEST(alone.reversed().separate().size() == 1);
  Tensor x = Tensor::full({2}, 3, DType::float32);
  alone.sum(x);
  alone.broadcast(x);
  alone.begin_sum(x).finish();
  BOOST_TEST(x.at<float>({1}) == 3);
  BOOST_TEST(alone.sum(2) == 2);
  BOOST_TEST(alone.largest(-2) == -2);
  alone.exclusive_sum(x);
  BOOST_TEST(x.at<float>({1}) == 0);
  BOOST_TEST(error_of([&] { alone.send(x, 0); }) == "send: rank 0 is this process");
  BOOST_TEST(error_of([&] { alone.receive(x, 1); }) == "receive: rank 1 does not exist; 0 to 0");
  Tensor tokens = Tensor::range(0, 2);
  BOOST_TEST(error_of([&] { alone.sum(tokens); }) ==
             "sum over ranks: element type int64 is not allowed; float32 or float64");
}

BOOST_AUTO_TEST_CASE(one_process_learns_as_ever) {
  const Var w = Var::parameter(Tensor::full({3}, 2, DType::float64), "w");
  DataParallel parallel(Communicator(), {{"w", w}});
  BOOST_TEST(parallel.buckets() == 0);
  Tape tape;
  const Var loss = mean(square(w));
  const auto [value, share] = parallel.mean(loss, 0);
  BOOST_TEST(value == 4);
  BOOST_TEST(share == 1);
  BOOST_TEST(parallel.backward(tape, loss, share)[w].at<double>({0}) == 4.0 / 3);
}

BOOST_AUTO_TEST_CASE(messages_arrive, *utf::precondition(has_mpirun())) {
  for (int ranks : {2, 3}) check_case(ranks, "collectives " + std::to_string(ranks));
  check_case(2, "refusals");
}

BOOST_AUTO_TEST_CASE(gradients_flow_between_ranks, *utf::precondition(has_mpirun())) {
  for (int ranks : {2, 4}) check_case(ranks, "ops");
}

BOOST_AUTO_TEST_CASE(two_learn_as_one_with_all_examples, *utf::precondition(has_mpirun())) {
  check_case(2, "sgd_in_float32");
  check_case(2, "adamw_in_float64");
  check_case(3, "adamw_in_float64");
  check_case(2, "parts_of_a_model");
}

BOOST_AUTO_TEST_CASE(ranks_go_on_after_one_diverged, *utf::precondition(has_mpirun())) {
  for (int ranks : {2, 3}) check_case(ranks, "one_diverges");
  check_case(2, "one_diverges_late");
  check_case(2, "one_diverges_in_a_kernel cpu");
  for (int ranks : {2, 3}) check_case(ranks, "one_refuses_its_batch cpu");
}

BOOST_AUTO_TEST_CASE(a_split_sequence_is_the_whole, *utf::precondition(has_mpirun())) {
  for (int ranks : {2, 3}) check_case(ranks, "split_sequences");
}

BOOST_AUTO_TEST_CASE(a_model_goes_over_a_split_sequence, *utf::precondition(has_mpirun())) {
  for (int ranks : {2, 3}) check_case(ranks, "language_model");
  check_case(2, "refused_models");
}

BOOST_AUTO_TEST_CASE(a_rank_that_fails_ends_all, *utf::precondition(has_mpirun())) {
  const Place place;
  const auto run = [&](const std::string& name) {
    return run_job(place, 2, quoted(VLA_RANKS_PROGRAM) + " " + name);
  };
  const Outcome one = run("one_throws");
  BOOST_TEST(one.code == 3);
  check_contains(one.errors, "vla_ranks: rank 1: nothing works here\n");
  const Outcome all = run("all_throw");
  BOOST_TEST(all.code == 3);
  BOOST_TEST(lines_with(all.errors, "vla_ranks: ") == 1);
  check_contains(all.errors, "vla_ranks: rank 0: the same everywhere\n");
  const Outcome dead = run("one_dies");
  BOOST_TEST(dead.code != 0);
  BOOST_TEST(dead.code != 124);
  check_contains(dead.errors, "rank 1");  // mpirun's own words
  check_contains(dead.errors, "signal 6");
}

// --- vla train ----------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_training_of_two_ranks_is_one_with_twice_the_batch,
                     *utf::precondition(has_mpirun())) {
  const Place place;
  const Outcome two = run_job(place, 2, train(kSmall + "--out two"));
  BOOST_TEST_CONTEXT(two.errors) BOOST_TEST(two.code == 0);
  BOOST_TEST(lines_with(two.out, "vla on mqar: ") == 1);
  check_contains(two.out, ", 2 ranks of 4 x ");
  BOOST_TEST(lines_with(two.out, "held-out accuracy ") == 1);
  check_contains(read(place / "two/config.json"), "\"ranks\": 2");
  BOOST_TEST(place.run(kSmall + "--batch 8 --out one").code == 0);
  check_same_model(place / "two", place / "one");
  BOOST_TEST(place.run("eval two").code == 0);
}

BOOST_AUTO_TEST_CASE(ranks_train_on_gpus, NEEDS_CUDA* utf::precondition(has_mpirun())) {
  check_case(2, "every_rank_has_its_gpu");
  check_case(2, "one_diverges_in_a_kernel cuda");
  check_case(2, "one_refuses_its_batch cuda");
  const Place place;
  const std::string small = kSmall + "--device cuda ";
  const Outcome two = run_job(place, 2, train(small + "--out two"));
  BOOST_TEST_CONTEXT(two.errors) BOOST_TEST(two.code == 0);
  BOOST_TEST(place.run(small + "--batch 8 --out one").code == 0);
  check_same_model(place / "two", place / "one");
}

BOOST_AUTO_TEST_CASE(a_training_goes_on_with_as_many_ranks, *utf::precondition(has_mpirun())) {
  const Place place;
  BOOST_TEST(run_job(place, 2, train(kSmall + "--out whole")).code == 0);
  BOOST_TEST(run_job(place, 2, train(kSmall + "--out parts --stop-at 5")).code == 0);
  check_refused(place, "train --resume parts",
                {"the run is of 2 ranks, this job has 1; mpirun -n 2 vla train"});
  const Outcome three = run_job(place, 3, train("train --resume parts"));
  BOOST_TEST(three.code == 2);
  check_contains(three.errors, "vla: rank 0: the run is of 2 ranks, this job has 3; ");
  BOOST_TEST(lines_with(three.errors, "vla: ") == 1);
  BOOST_TEST(run_job(place, 2, train("train --resume parts")).code == 0);
  BOOST_TEST((read(place / "parts/checkpoint.safetensors") ==
              read(place / "whole/checkpoint.safetensors")));
  const Outcome again = run_job(place, 2, train("train --resume parts"));
  BOOST_TEST(again.code == 0);
  BOOST_TEST(lines_with(again.out, "parts is finished") == 1);
}

BOOST_AUTO_TEST_CASE(a_request_to_one_rank_stops_all, *utf::precondition(has_mpirun())) {
  const Place place;
  const Outcome outcome = signalled(place, "TERM", "metrics.jsonl", "--checkpoint-every 0");
  BOOST_TEST(outcome.code == 143);
  BOOST_TEST(lines_with(outcome.out, "stopped at step ") == 1);
  BOOST_TEST(place.has("run/checkpoint.safetensors"));
}

BOOST_AUTO_TEST_CASE(a_rank_that_is_killed_ends_all, *utf::precondition(has_mpirun())) {
  const Place place;
  const Outcome outcome =
      signalled(place, "KILL", "checkpoint.safetensors", "--checkpoint-every 20");
  BOOST_TEST(outcome.code != 0);
  BOOST_TEST(outcome.code != 124);
  check_contains(outcome.errors, "rank 1");
  check_contains(outcome.errors, "signal 9");
  BOOST_TEST(read_training_state(place / "run/checkpoint.safetensors").step % 20 == 0);
}

BOOST_AUTO_TEST_CASE(a_training_that_diverges_ends_on_all_ranks, *utf::precondition(has_mpirun())) {
  const Place place;
  for (const char* words :
       {"--model vla", "--model vla --non-finite skip", "--model linear --non-finite skip"})
    BOOST_TEST_CONTEXT(words) {
      const Outcome outcome = run_job(
          place, 2,
          train(concatenate(kSmall, words, " --rate 1e30 --clip 0 --warm-up 0 --force --out run")));
      BOOST_TEST(outcome.code == 3);
      BOOST_TEST(lines_with(outcome.errors, "vla: ") == 1, outcome.errors);
    }
}

// After the first step every rank's operators refuse.
BOOST_AUTO_TEST_CASE(steps_that_are_refused_are_skipped_by_all, *utf::precondition(has_mpirun())) {
  const Place place;
  const std::string words =
      "--model vla --non-finite skip --rate 1e30 --clip 0 --warm-up 0 --stop-at 5 "
      "--report-every 100 --checkpoint-every 0 --out run";
  const Outcome outcome = run_job(place, 2, train(kSmall + words));
  BOOST_TEST(outcome.code == 0, outcome.errors);
  const TrainingState state = read_training_state(place / "run/checkpoint.safetensors");
  BOOST_TEST(state.step == 5);
  BOOST_TEST(state.notes.at("skipped") == "4");
}

BOOST_AUTO_TEST_CASE(wrong_settings_are_told_once, *utf::precondition(has_mpirun())) {
  const Place place;
  const Outcome outcome = run_job(place, 2, train(kSmall + "--batch 0"));
  BOOST_TEST(outcome.code == 2);
  BOOST_TEST(lines_with(outcome.errors, "vla: ") == 1);
  check_contains(outcome.errors, "vla: rank 0: --batch 0 is not allowed; 1 or more\n");
  const Outcome unknown = run_job(place, 2, train("train --pear 0"));
  BOOST_TEST(unknown.code == 2);
  BOOST_TEST(lines_with(unknown.errors, "vla: ") == 1);
}

BOOST_AUTO_TEST_SUITE_END()

// A sequence of 65,536 tokens: the numbers of one process, in a share of its memory. Run by
// tools/soak alone.
BOOST_AUTO_TEST_SUITE(long_sequence_parallel)

BOOST_AUTO_TEST_CASE(the_memory_of_a_rank_falls_with_their_number,
                     *boost::unit_test::precondition(has_mpirun())) {
  for (int ranks : {2, 4}) {
    const Place place;
    const Outcome outcome =
        run_job(place, ranks, quoted(VLA_RANKS_PROGRAM) + " long_sequence 65536");
    BOOST_TEST_MESSAGE(outcome.out);
    BOOST_TEST_CONTEXT(outcome.out << outcome.errors) BOOST_TEST(outcome.code == 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
