// vla gradcheck
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "tools/cases.hpp"
#include "tools/command_line.hpp"

namespace vla {
namespace {

// What the project asks of its own gradients, stricter than what gradcheck starts from.
constexpr GradcheckOptions kStrict{.absolute = 1e-8, .relative = 1e-6};

// One line of the table; returns whether the gradient is right.
bool print_case(const GradientCase& row, Device device, std::size_t width) {
  GradcheckOptions options = kStrict;
  options.device = device;
  try {
    const double ratio = gradcheck(row.name, row.function, row.inputs, options);
    std::cout << fmt::format("{:<{}}  {:>9.2e}  ok", row.name, width, ratio) << std::endl;
    return true;
  } catch (const Error& error) {
    std::cout << fmt::format("{:<{}}  {:>9}  FAILED: {}", row.name, width, "", error.what())
              << std::endl;
    return false;
  }
}

int run_gradcheck(const std::string& wanted, const std::string& device_name) {
  const Device device = parse_device(device_name);
  std::vector<GradientCase> rows;
  for (auto& part : {op_cases(), layer_cases()})
    for (const GradientCase& row : part)
      if (row.name.find(wanted) != std::string::npos) rows.push_back(row);
  check(!rows.empty(), "gradcheck: no op or layer has '", wanted,
        "' in its name; without a name all are checked and listed");
  std::size_t width = 4, failed = 0;
  for (const GradientCase& row : rows) width = std::max(width, row.name.size());
  std::cout << fmt::format("{:<{}}  {:>9}  (largest error, as a share of what is allowed)\n",
                           "case", width, "error");
  for (const GradientCase& row : rows) failed += print_case(row, device, width) ? 0 : 1;
  std::cout << fmt::format("{} checked, {} failed\n", rows.size(), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

Command gradcheck_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "gradcheck", "Compare the gradient of every op and layer with finite differences");
  app->footer("Example:\n  vla gradcheck softmax\nExit code 1 if a gradient is wrong.");
  const auto wanted = std::make_shared<std::string>(),
             device = std::make_shared<std::string>("cpu");
  app->add_option("name", *wanted, "only those with this in their name")->type_name("NAME");
  add_setting(*app, "device", *device, kDeviceHelp);
  return {app, [wanted, device] { return run_gradcheck(*wanted, *device); }};
}

}  // namespace vla
