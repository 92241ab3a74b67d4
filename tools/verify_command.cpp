// vla verify
#include <cmath>
#include <iostream>
#include <memory>

#include "tools/command_line.hpp"
#include "tools/verify.hpp"

namespace vla {
namespace {

struct Request {
  std::vector<std::string> files;
  DType dtype = DType::float64;
  std::string device = "cpu";
  double tolerance = 0;
};

}  // namespace

Command verify_command(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("verify", "Compare models and operators with golden cases");
  app->footer(
      "Example:\n  vla verify tests/golden/*.safetensors\n"
      "A line per array: case (and form, where operators have two), array, relative error.\n"
      "Exit code 1 above the tolerance.");
  const auto request = std::make_shared<Request>();
  app->add_option("files", request->files, "golden cases")->type_name("FILE")->required();
  add_setting(*app, "dtype", request->dtype, "float64 or float32");
  add_setting(*app, "device", request->device, kDeviceHelp);
  add_setting(*app, "tolerance", request->tolerance,
              "largest relative error; 0: 1e-9 in float64, 3e-4 in float32");
  return {app, [request] {
            check(std::isfinite(request->tolerance) && request->tolerance >= 0, "--tolerance ",
                  request->tolerance, " is not allowed; 0 or more");
            return run_verify(request->files, request->dtype, parse_device(request->device),
                              request->tolerance, std::cout);
          }};
}

}  // namespace vla
