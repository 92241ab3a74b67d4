// Multi-query associative recall: how many pairs a memory holds, and over what length.
#include <fmt/format.h>

#include "tools/experiments/experiment.hpp"

namespace vla {
namespace {

// Two forms of every group: the convolution gives a model the token before a value, which it must
// otherwise find by itself before its memory matters.
void add_with_and_without_convolution(std::vector<ExperimentGroup>& groups,
                                      const ExperimentGroup& group) {
  groups.push_back(group);
  groups.push_back(group);
  groups.back().name += "-plain";
  groups.back().words += " --convolution 0";
}

std::vector<NamedWords> usual_and_wide(Index head_width) {
  std::vector<NamedWords> models = usual_models();
  models.push_back(deltanet_with_values(2, head_width));
  models.push_back(deltanet_with_values(3, head_width));
  return models;
}

std::vector<ExperimentGroup> capacity_groups(bool quick) {
  std::vector<ExperimentGroup> groups;
  if (quick) {
    add_with_and_without_convolution(
        groups, {"pairs-8",
                 "--task mqar --pairs 8 --vocabulary 64 --width 32 --heads 2 --hidden 64 "
                 "--batch 32 --steps 300 --until 0.999",
                 usual_models(),
                 {4e-3, 8e-3},
                 1});
    groups.back().rates = {8e-3};
    groups.push_back({"short-pairs-16",
                      "--task mqar --pairs 16 --vocabulary 64 --width 32 --heads 4 --hidden 64 "
                      "--batch 32 --steps 300 --until 0.999",
                      usual_and_wide(8),
                      {8e-3},
                      1});
    return groups;
  }
  // The public reference's notebook: heads of width 32, in the model that is the default here.
  for (const Index pairs : {4, 8, 16, 24, 32, 48, 64})
    add_with_and_without_convolution(
        groups, {fmt::format("pairs-{}", pairs),
                 fmt::format("--task mqar --pairs {} --steps 3000 --until 0.9998", pairs),
                 usual_and_wide(32),
                 {1e-3, 2e-3, 4e-3}});
  // Memory short: heads of width 16.
  for (const Index pairs : {16, 32, 64})
    add_with_and_without_convolution(
        groups, {fmt::format("short-pairs-{}", pairs),
                 fmt::format("--task mqar --pairs {} --vocabulary 256 --width 64 --heads 4 "
                             "--hidden 128 --steps 3000 --until 0.9998",
                             pairs),
                 usual_and_wide(16),
                 {1e-3, 2e-3, 4e-3, 8e-3}});
  return groups;
}

NamedWords at_length(Index length, const std::string& further = "") {
  return {fmt::format("T-{}", length), fmt::format("--length {} {}", length, further)};
}

std::vector<ExperimentGroup> length_groups(bool quick) {
  std::vector<ExperimentGroup> groups;
  if (quick) {
    const std::string sizes =
        " --pairs 4 --vocabulary 32 --width 32 --heads 2 --hidden 64 --batch 32 --steps 250 "
        "--until 0.999";
    groups.push_back({"T-64", "--task mqar --length 64" + sizes, usual_models(), {8e-3}, 1});
    groups.push_back({"from-T-32",
                      "--task mqar --length 32 --no-positions" + sizes,
                      usual_models(),
                      {8e-3},
                      1,
                      {at_length(64, "--examples 500"), at_length(256, "--examples 100")}});
    return groups;
  }
  const std::string task = "--task mqar --pairs 8 --steps 3000 --until 0.9998";
  const std::vector<double> rates = {1e-3, 2e-3, 4e-3};
  for (const Index length : {49, 64, 128, 256, 512, 1024, 2048, 4096})
    groups.push_back(
        {fmt::format("T-{}", length),
         fmt::format("{} --length {} --batch {}", task, length, length > 512 ? 16 : 64),
         usual_models(), rates});
  std::vector<NamedWords> longer;
  for (const Index length : {64, 128, 256, 512}) longer.push_back(at_length(length));
  for (const Index length : {1024, 2048, 4096})
    longer.push_back(at_length(length, "--examples 200 --batch 8"));
  // What is asked is written too: does it help to forget that?
  std::vector<NamedWords> models = usual_models();
  models.push_back({"vla-forgets", "--model vla --forget"});
  groups.push_back({"from-T-64", task + " --length 64 --no-positions", models, rates, 3, longer});
  return groups;
}

// The lengths and pairs of the usual test set; the last two are beyond the training.
std::vector<NamedWords> zoology_slices() {
  std::vector<NamedWords> slices;
  for (const auto& [length, pairs] : {std::pair<Index, Index>{64, 4},
                                      {64, 8},
                                      {64, 16},
                                      {128, 32},
                                      {256, 64},
                                      {512, 128},
                                      {1024, 256}})
    slices.push_back(
        {fmt::format("T-{}-pairs-{}", length, pairs),
         fmt::format("--form zoology --length {} --pairs {} --examples 1000 --batch 50", length,
                     pairs)});
  return slices;
}

std::vector<ExperimentGroup> zoology_groups(bool quick) {
  if (quick)
    return {{"d-32",
             "--task mqar --form zoology --length 32 --pairs 4 --vocabulary 128 --no-positions "
             "--width 32 --heads 2 --hidden 64 --batch 32 --steps 350 --until 0.99",
             usual_models(),
             {4e-3, 8e-3},
             1,
             {{"T-64-pairs-8", "--length 64 --pairs 8 --examples 500"}}}};
  std::vector<ExperimentGroup> groups;
  for (const Index width : {64, 128, 256}) {
    const std::string sizes = fmt::format(
        "--task mqar --form zoology-mix --vocabulary 8192 --no-positions --width {} --heads 2 "
        "--hidden {} --batch 256 --decay 0.1 --steps 22500 --until 0.999 --report-every 250",
        width, 2 * width);
    groups.push_back({fmt::format("d-{}", width),
                      sizes,
                      usual_and_wide(width / 2),
                      {1e-3, 3.2e-3, 1e-2},
                      3,
                      zoology_slices()});
  }
  return groups;
}

}  // namespace

Experiment mqar_capacity() {
  return {"mqar-capacity", "MQAR with more and more pairs, in heads of width 32 and of 16",
          capacity_groups};
}

Experiment mqar_zoology() {
  return {"mqar-zoology",
          "MQAR in the form of Zoology: learned from five sizes, asked at seven, by width",
          zoology_groups};
}

Experiment mqar_length() {
  return {"mqar-length",
          "MQAR of a few pairs in long sequences: trained there, or evaluated beyond the training",
          length_groups};
}

}  // namespace vla
