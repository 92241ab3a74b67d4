#include "tools/report/run_table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tools/training.hpp"

namespace vla {
namespace {

using Row = std::vector<std::string>;

constexpr std::size_t kBitsColumn = 4;

std::optional<double> number_of(const Metrics& line, const std::string& name) {
  const auto found = line.more.find(name);
  return found == line.more.end() ? std::nullopt : std::optional(found->second);
}

Row row_of(const RunDirectory& run) {
  const TrainOptions options = run.options();
  Row row = {run.path().string(), options.model};
  const std::vector<Metrics> lines = run.metrics();
  // A finished run knows its chance, also when the data it learned from are gone.
  std::optional<double> chance;
  if (lines.empty()) {
    row.insert(row.end(), {"-", "-", "-", fmt::format("0 of {}", options.steps), "-"});
  } else {
    const Metrics& last = lines.back();
    const std::optional<double> bits = number_of(last, "bits_per_byte");
    chance = number_of(last, "chance");
    row.insert(row.end(), {fmt::format("{:.4f}", last.accuracy), fmt::format("{:.4f}", last.loss),
                           bits ? fmt::format("{:.4f}", *bits) : "-",
                           last.held_out() ? fmt::format("{}", last.step)
                                           : fmt::format("{} of {}", last.step, options.steps),
                           fmt::format("{:.0f}", last.tokens_per_second)});
  }
  if (!chance) chance = make_task(options.task, options.data)->chance();
  row.push_back(fmt::format("{:.4f}", *chance));
  return row;
}

// Most tasks have no bits per byte.
void drop_bits_unless_used(std::vector<Row>& rows) {
  const auto has_bits = [](const Row& row) { return row[kBitsColumn] != "-"; };
  if (std::any_of(rows.begin() + 1, rows.end(), has_bits)) return;
  for (Row& row : rows) row.erase(row.begin() + kBitsColumn);
}

}  // namespace

Table run_table(const std::vector<RunDirectory>& runs) {
  Table rows = {{"run", "model", "accuracy", "loss", "bits/byte", "steps", "tokens/s", "chance"}};
  for (const RunDirectory& run : runs) rows.push_back(row_of(run));
  drop_bits_unless_used(rows);
  return rows;
}

}  // namespace vla
