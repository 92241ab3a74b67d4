// A checkpoint is the old one or the new one, never neither: whatever fails while it is written,
// whenever its process is killed, and whatever happens to its bytes afterwards. The long form is
// run by tools/soak alone.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <fstream>
#include <limits>
#include <new>
#include <optional>

#include "framework/checkpoint.hpp"
#include "framework/checksum.hpp"
#include "framework/diverged.hpp"
#include "framework/file.hpp"
#include "tests/error_of.hpp"
#include "tests/fault_injection.hpp"
#include "tests/program.hpp"
#include "tools/run.hpp"

namespace vla {
namespace {

// All its numbers are `value`, and so is the step that it is saved under.
struct Run {
  std::vector<Parameter> parameters;
  AdamW optimizer;

  explicit Run(Index size, double value = 0)
      : parameters({{"weight", Var::parameter(Tensor::full({size}, value, DType::float32))},
                    {"bias", Var::parameter(Tensor::full({3}, value, DType::float64))}}),
        optimizer(parameters) {
    set(value);
  }
  void set(double value) {
    for (Parameter& parameter : parameters) parameter.variable.mutable_value().fill(value);
    for (auto& [name, tensor] : optimizer.state()) tensor.fill(value);
    optimizer.set_steps(static_cast<std::int64_t>(value));
  }
  void save(const std::filesystem::path& path) const {
    save_checkpoint(path, parameters, &optimizer, {.step = optimizer.steps()});
  }
  // The value that it all is, or -1 if the parts differ.
  double load(const std::filesystem::path& path) {
    const auto value = static_cast<double>(load_checkpoint(path, parameters, &optimizer).step);
    bool same = static_cast<double>(optimizer.steps()) == value;
    const auto compare = [&](const Tensor& tensor) {
      const Tensor wide = tensor.to(DType::float64);
      for (const double x : wide.values<double>()) same = same && x == value;
    };
    for (const Parameter& parameter : parameters) compare(parameter.variable.value());
    for (const auto& [name, tensor] : optimizer.state()) compare(tensor);
    return same ? value : -1;
  }
};

// Saves 2 over 1 with the k-th call failing, for every k that there is; returns how many there are.
int fail_each(Fault fault, int error) {
  const Index size = 5;
  for (int call = 1;; ++call) {
    TemporaryDirectory folder;
    Run(size, 1).save(folder / "run");
    const Run next(size, 2);
    bool failed = false, happened = false;
    std::string said;
    {
      const FaultAt at(fault, call, error);
      try {
        next.save(folder / "run");
      } catch (const Error& refusal) {
        failed = true;
        said = refusal.what();
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      happened = at.happened();
    }
    BOOST_TEST_CONTEXT("call " << call << ": " << said) {
      if (happened && error != 0) {
        BOOST_TEST(failed);
        check_contains(said, (folder / "run").string());
        check_contains(said, std::generic_category().message(error));
      }
      Run loaded(size);
      const double value = loaded.load(folder / "run");
      const bool in_place = said.find("its folder is not safely on disk") != std::string::npos;
      // What runs out of memory after the new file is in place has kept it.
      if (fault == Fault::allocation && failed)
        BOOST_TEST((value == 1 || value == 2));
      else
        BOOST_TEST(value == (failed && !in_place ? 1 : 2));
      BOOST_TEST(files_in(folder.path()).size() == 1u);
      // The process goes on.
      next.save(folder / "run");
      BOOST_TEST(Run(size).load(folder / "run") == 2);
    }
    if (!happened) return call - 1;
  }
}

bool is_temporary(const std::filesystem::path& path) { return path.extension() == ".tmp"; }
// Not one that was on its way to be a whole file's second name.
bool is_half_written(const std::filesystem::path& path) {
  return is_temporary(path) && std::filesystem::hard_link_count(path) == 1;
}

// The steps of the checkpoints that are kept under the names of their steps, the latest first; each
// must be whole, and so must the last and the best.
std::vector<double> whole_checkpoints(const RunDirectory& directory, Index size) {
  std::vector<double> steps;
  for (const std::filesystem::path& file : directory.kept()) {
    steps.push_back(Run(size).load(file));
    BOOST_TEST(file.filename() == concatenate("checkpoint-", steps.back(), ".safetensors"));
  }
  for (const auto& file : {directory.last_checkpoint(), directory.best_checkpoint()})
    BOOST_TEST(Run(size).load(file) >= 1);
  return steps;
}

// Keeps step 3, of which the k-th call fails, for every k: beside it 2 stays and 1 goes. Returns
// how many calls there are.
int fail_each_of_keeping(Fault fault, bool copies) {
  const Index size = 5;
  std::optional<NoLinks> no_links;
  if (copies) no_links.emplace();
  for (int call = 1;; ++call) {
    TemporaryDirectory folder;
    const RunDirectory directory(folder.path());
    const auto keep = [&](Index step) {
      directory.keep_last(step, 2);
      directory.keep_best(directory.last_checkpoint());
    };
    for (const double step : {1., 2.}) {
      Run(size, step).save(directory.last_checkpoint());
      keep(static_cast<Index>(step));
    }
    const Run last(size, 3);
    last.save(directory.last_checkpoint());
    bool failed = false, happened = false;
    {
      const FaultAt at(fault, call, EIO);
      try {
        keep(3);
      } catch (const Error& refusal) {
        failed = true;
        check_contains(refusal.what(), folder.path().string());
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      happened = at.happened();
    }
    BOOST_TEST_CONTEXT("fault " << static_cast<int>(fault) << ", call " << call) {
      if (fault != Fault::allocation) BOOST_TEST(failed == (happened && fault != Fault::link));
      const std::vector<double> kept = whole_checkpoints(directory, size);
      BOOST_TEST(std::ranges::count(kept, 2) == 1);
      if (!failed) BOOST_TEST(kept == (std::vector<double>{3, 2}));
      // The process goes on.
      last.save(directory.last_checkpoint());
      keep(3);
      BOOST_TEST(whole_checkpoints(directory, size) == (std::vector<double>{3, 2}));
      BOOST_TEST(Run(size).load(directory.best_checkpoint()) == 3);
      BOOST_TEST(files_in(folder.path()).size() == 4u);
    }
    if (!happened) return call - 1;
  }
}

// A child saves 1, 2, 3 .., keeps the last two and makes each the best too, and is killed after a
// while, so many times; each time what is there must be whole and not older than the last that was
// there. Returns how often a kill left a file half written behind.
int kill_while_saving(int kills, std::uint64_t seed, bool copies) {
  std::optional<NoLinks> no_links;
  if (copies) no_links.emplace();
  TemporaryDirectory folder;
  const RunDirectory directory(folder.path());
  const std::filesystem::path path = directory.last_checkpoint();
  const Index size = 100'000;
  const auto save = [&](const Run& run) {
    run.save(path);
    directory.keep_last(run.optimizer.steps(), 2);
    directory.keep_best(path);
  };
  save(Run(size, 1));
  Rng rng(seed);
  int interrupted = 0;
  double before = 1, best_before = 1;
  for (int kill = 0; kill < kills; ++kill) {
    const pid_t child = ::fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
      Run saving(size);
      for (double value = before + 1;; ++value) {
        saving.set(value);
        save(saving);
      }
    }
    ::usleep(static_cast<useconds_t>(1 + rng.below(copies ? 45'000 : 15'000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (std::ranges::any_of(files_in(folder.path()), is_half_written)) ++interrupted;
    const double value = Run(size).load(path);
    BOOST_REQUIRE(!whole_checkpoints(directory, size).empty());
    BOOST_REQUIRE_MESSAGE(value >= before, "kill " << kill << ": " << value << " after " << before);
    before = value;
    const double best = Run(size).load(directory.best_checkpoint());
    BOOST_REQUIRE(best >= best_before);
    best_before = best;
  }
  BOOST_TEST(best_before > 1);
  BOOST_TEST(before > 1);  // the children did save
  // The next that saves clears away what was left.
  save(Run(size, before));
  BOOST_TEST(std::ranges::none_of(files_in(folder.path()), is_temporary));
  BOOST_TEST(directory.kept().size() == 2u);
  return interrupted;
}

// A file anew: some file systems bring one that is cut to nothing and written again to disk at
// once.
void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(durability)

// "123456789" is the usual example of a checksum.
BOOST_AUTO_TEST_CASE(the_checksum_is_that_of_the_standard_and_goes_on) {
  const std::string text = "123456789";
  const auto bytes = std::as_bytes(std::span(text));
  BOOST_TEST(checksum(bytes) == 0x995DC9BBDF1939FAu);
  BOOST_TEST(checksum(bytes.subspan(4), checksum(bytes.first(4))) == checksum(bytes));
  BOOST_TEST(checksum({}) == 0u);
}

BOOST_AUTO_TEST_CASE(every_write_that_fails_leaves_the_old_file) {
  for (const int error : {ENOSPC, EIO}) BOOST_TEST(fail_each(Fault::write, error) >= 5);
}

BOOST_AUTO_TEST_CASE(every_write_may_be_short_or_interrupted) {
  BOOST_TEST(fail_each(Fault::short_write, 0) >= 5);
  BOOST_TEST(fail_each(Fault::interrupted_write, 0) >= 5);
}

// Of the file, then of its folder.
BOOST_AUTO_TEST_CASE(every_sync_that_fails_is_told) {
  BOOST_TEST(fail_each(Fault::sync, EIO) == 2);
}

BOOST_AUTO_TEST_CASE(a_rename_that_fails_leaves_the_old_file) {
  BOOST_TEST(fail_each(Fault::rename, EIO) == 1);
}

BOOST_AUTO_TEST_CASE(every_allocation_that_fails_leaves_a_whole_file) {
  BOOST_TEST(fail_each(Fault::allocation, 0) >= 50);
}

BOOST_AUTO_TEST_CASE(keeping_a_checkpoint_loses_none_whatever_fails) {
  BOOST_TEST(fail_each_of_keeping(Fault::link, false) == 2);
  BOOST_TEST(fail_each_of_keeping(Fault::rename, false) == 2);
  BOOST_TEST(fail_each_of_keeping(Fault::sync, false) == 2);
  BOOST_TEST(fail_each_of_keeping(Fault::allocation, false) > 10);
  // Where there are no links the checkpoint is copied.
  BOOST_TEST(fail_each_of_keeping(Fault::write, true) == 2);
  BOOST_TEST(fail_each_of_keeping(Fault::sync, true) == 4);
  BOOST_TEST(fail_each_of_keeping(Fault::rename, true) == 2);
  BOOST_TEST(fail_each_of_keeping(Fault::allocation, true) > 10);
}

BOOST_AUTO_TEST_CASE(a_process_that_is_killed_leaves_a_whole_file) {
  for (const bool copies : {false, true}) BOOST_TEST(kill_while_saving(40, 1, copies) > 0);
}

BOOST_AUTO_TEST_CASE(what_somebody_still_writes_is_not_cleared_away) {
  TemporaryDirectory folder;
  Run(3, 1).save(folder / "run");
  const int open = ::open((folder / "run.1.0.tmp").c_str(), O_WRONLY | O_CREAT, 0666);
  BOOST_REQUIRE_EQUAL(::flock(open, LOCK_EX), 0);  // as replace_file holds it
  for (const char* name : {"run.1.tmp", "run.1.2.3.tmp", "run.a.0.tmp", "other.1.0.tmp"})
    write_bytes(folder / name, "somebody else's");
  write_bytes(folder / "run.99999999.7.tmp", "left behind");
  Run(3, 2).save(folder / "run");
  BOOST_TEST(!std::filesystem::exists(folder / "run.99999999.7.tmp"));
  BOOST_TEST(files_in(folder.path()).size() == 6u);
  ::close(open);
  Run(3, 3).save(folder / "run");
  BOOST_TEST(files_in(folder.path()).size() == 5u);
}

// Every bit of a checkpoint counts: its file is refused, or means the same.
BOOST_AUTO_TEST_CASE(every_flipped_bit_and_every_truncation_is_refused_or_equal) {
  TemporaryDirectory folder;
  Run saved(2, 1);
  save_checkpoint(folder / "run", saved.parameters, &saved.optimizer,
                  {.step = 1, .random = {{"data", {1, 2, 3}}}, .notes = {{"config", "{}"}}});
  const std::string bytes = read(folder / "run");
  BOOST_TEST(bytes.size() < 3000u);
  int refused = 0, equal = 0;
  const auto look_at = [&](const std::string& changed) {
    write_bytes(folder / "changed", changed);
    Run loaded(2);
    try {
      const TrainingState state =
          load_checkpoint(folder / "changed", loaded.parameters, &loaded.optimizer);
      BOOST_TEST((state.random.at("data") == RandomState{1, 2, 3}));
      BOOST_TEST(state.notes.at("config") == "{}");
      BOOST_TEST(loaded.load(folder / "changed") == 1);
      ++equal;
    } catch (const Error&) {
      BOOST_TEST(loaded.optimizer.steps() == 0);
      ++refused;
    }
  };
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    BOOST_TEST_CONTEXT("bit " << bit) look_at(changed);
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) look_at(bytes.substr(0, length));
  BOOST_TEST_MESSAGE(refused << " refused, " << equal << " equal");
  BOOST_TEST(equal <= 8 * 8);  // in the blanks that fill up the header
}

BOOST_AUTO_TEST_CASE(what_is_not_finite_does_not_replace_what_is) {
  TemporaryDirectory folder;
  Run run(4, 1);
  run.save(folder / "run");
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    run.set(2);
    run.parameters[0].variable.mutable_value().mutable_values<float>()[3] = static_cast<float>(bad);
    BOOST_CHECK_THROW(run.save(folder / "run"), Diverged);
    check_contains(error_of([&] { run.save(folder / "run"); }),
                   "run is kept as it is: 'model.weight' now holds " + concatenate(bad));
    BOOST_TEST(Run(4).load(folder / "run") == 1);
    run.set(2);
    run.optimizer.state()[1].second.fill(bad);
    BOOST_CHECK_THROW(run.save(folder / "run"), Diverged);
    save_parameters(folder / "weights", run.parameters);
    run.parameters[1].variable.mutable_value().fill(bad);
    BOOST_CHECK_THROW(save_parameters(folder / "weights", run.parameters), Diverged);
  }
}

BOOST_AUTO_TEST_CASE(checkpoints_of_before_there_were_checksums_are_read) {
  TemporaryDirectory folder;
  Run(2, 1).save(folder / "run");
  TensorFile file = read_safetensors(folder / "run");
  const auto load = [&] {
    write_safetensors(folder / "run", file);
    return error_of([&] { Run(2).load(folder / "run"); });
  };
  file.metadata["checksum.text"] = "1";
  check_contains(load(), "is damaged: the checksum of its text is ");
  file.metadata.erase("checksum.text");
  check_contains(load(), "no 'checksum.text'");
  file.metadata["checkpoint.version"] = "1";
  file.metadata.erase("checksum.tensors");
  BOOST_TEST(load() == "accepted");
}

BOOST_AUTO_TEST_SUITE_END()

// Not a suite that ctest knows: tools/soak runs it.
BOOST_AUTO_TEST_SUITE(long_durability)

BOOST_AUTO_TEST_CASE(a_thousand_kills) {
  for (const bool copies : {false, true}) {
    const int interrupted = kill_while_saving(1000, 2, copies);
    BOOST_TEST_MESSAGE("1000 kills while saving" << (copies ? ", kept as copies: " : ": ")
                                                 << interrupted << " in the middle of a file");
    BOOST_TEST(interrupted >= 100);  // or they did not hit what they are for
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
