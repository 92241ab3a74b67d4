// The vla program: trains, evaluates, checks and measures. One file per subcommand.
#include <iostream>
#include <new>
#include <vector>

#include "framework/distributed/communicator.hpp"
#include "framework/diverged.hpp"
#include "tools/command_line.hpp"
#include "tools/exit_code.hpp"

int main(int count, char** words) {
  CLI::App program("Variational Linear Attention and its baselines: train, evaluate, check");
  vla::set_help_style(program);
  program.set_version_flag("--version", "vla " VLA_VERSION);
  program.require_subcommand(1);
  program.footer(
      "Example:\n"
      "  vla train --task mqar --model vla --out runs/first\n"
      "  vla eval runs/first --pairs 16\n"
      "`vla COMMAND --help` has an example of every command.\n\n"
      "Exit code:\n"
      "  0    done\n"
      "  1    what was checked is wrong (gradcheck, verify, doctor), or not all that was asked\n"
      "       could be done (experiment)\n"
      "  2    wrong use or input: one line on the standard error says what\n"
      "  3    the training diverged: its numbers are not finite any more\n"
      "  130  stopped by Ctrl-C; 143: by another program (SIGTERM); 129: its terminal was closed\n"
      "       (SIGHUP); a second one ends a training at once, without a checkpoint");
  const std::vector<vla::Command> commands = {
      vla::train_command(program),      vla::eval_command(program),
      vla::experiment_command(program), vla::generate_command(program),
      vla::report_command(program),     vla::inspect_command(program),
      vla::bench_command(program),      vla::tasks_command(program),
      vla::data_command(program),       vla::models_command(program),
      vla::gradcheck_command(program),  vla::verify_command(program),
      vla::devices_command(program),    vla::regression_command(program),
      vla::stability_command(program),  vla::export_command(program),
      vla::import_command(program),     vla::doctor_command(program),
      vla::completion_command(program),
  };
  try {
    program.parse(count, words);
    for (const vla::Command& command : commands)
      if (command.app->parsed()) return command.run();
  } catch (const CLI::Success& request) {  // --help, --version
    return program.exit(request);
  } catch (const CLI::ParseError& error) {
    return vla::end_job("vla", vla::explain(program, error), vla::kRefused);
  } catch (const vla::Diverged& error) {
    return vla::end_job("vla", error.what(), vla::kDiverged);
  } catch (const std::bad_alloc&) {
    return vla::end_job("vla", "out of memory; try smaller sizes", vla::kRefused);
  } catch (const std::exception& error) {
    return vla::end_job("vla", error.what(), vla::kRefused);
  }
  return vla::kRefused;
}
