// vla doctor
#include <cblas.h>
#include <fmt/core.h>
#include <unistd.h>
#include <zip.h>

#include <CLI/Version.hpp>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "framework/cuda/runtime.hpp"
#include "framework/distributed/communicator.hpp"
#include "framework/ops/matmul.hpp"
#include "framework/parallel.hpp"
#include "framework/random.hpp"
#include "tools/command_line.hpp"
#include "tools/devices.hpp"
#include "tools/exit_code.hpp"

namespace vla {
namespace {

// What is found wrong, with what to do about it.
struct Findings {
  std::vector<std::string> hints, problems;
};

// The value of the first line "key : value" of a file of the system's, or "".
std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t value = line.find_first_not_of(": \t", key.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

struct Instructions {
  bool avx2 = false, fma = false, avx512 = false, bfloat16 = false;
};
Instructions instructions_here() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return {.avx2 = __builtin_cpu_supports("avx2") != 0,
          .fma = __builtin_cpu_supports("fma") != 0,
          .avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"),
          .bfloat16 = __builtin_cpu_supports("avx512bf16") != 0};
#else
  return {};
#endif
}

// Cores that a container may use at once, where its group is limited.
std::optional<double> cores_allowed() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (file >> quota >> period && period > 0) return quota / period;
  return std::nullopt;
}

void print_build() {
#if defined(__clang__)
  const char* compiler = "clang++ ";
#else
  const char* compiler = "g++ ";
#endif
  std::cout << fmt::format("vla        {}, {} build{}, {}{}{}{}\n", VLA_VERSION, VLA_BUILD_TYPE,
                           VLA_NATIVE_BUILD ? " for this kind of processor" : "", compiler,
                           __VERSION__, kCudaBuild ? ", with CUDA" : ", without CUDA",
                           has_mpi() ? ", with MPI" : ", without MPI");
}

void print_cpu(Findings& found) {
  const Instructions has = instructions_here();
  std::string model = field_of("/proc/cpuinfo", "model name");
  if (model.empty()) model = "unknown model";
  std::cout << fmt::format("cpu        {}; AVX2 {}, FMA {}, AVX-512 {}, its bfloat16 {}\n", model,
                           has.avx2 ? "yes" : "no", has.fma ? "yes" : "no",
                           has.avx512 ? "yes" : "no", has.bfloat16 ? "yes" : "no");
  const std::string memory = field_of("/proc/meminfo", "MemAvailable");
  std::cout << fmt::format("memory     {:.1f} GB available\n",
                           std::atof(memory.c_str()) * 1024 * 1e-9);
  std::cout << fmt::format("threads    {} of {} cores\n", thread_count(),
                           std::thread::hardware_concurrency());
  if (const auto cores = cores_allowed(); cores && thread_count() > std::ceil(*cores))
    found.hints.push_back(
        fmt::format("this container may use {} cores at once, and {} threads wait for each other; "
                    "give --threads {}",
                    *cores, thread_count(), std::max(1.0, std::floor(*cores))));
#if defined(__AVX512F__)
  if (!has.avx512)
    found.problems.push_back(
        "this build is for a processor with AVX-512, which this one does not have; build it here, "
        "or with -D VLA_NATIVE=OFF");
#elif defined(__AVX2__)
  if (!has.avx2 || !has.fma)
    found.problems.push_back(
        "this build is for a processor with AVX2 and FMA, which this one does not have; build it "
        "here, or with -D VLA_NATIVE=OFF");
#endif
  if (!has.avx2 || !has.fma)
    found.hints.push_back("without AVX2 and FMA products are several times slower");
}

void print_blas(Findings& found) {
  const std::string kernels = openblas_get_corename();
  std::cout << fmt::format("blas       {}; kernels {}; {} thread inside ours\n",
                           openblas_get_config(), kernels, openblas_get_num_threads());
  const bool amd = field_of("/proc/cpuinfo", "vendor_id") == "AuthenticAMD";
  if (amd && instructions_here().avx512 && (kernels == "Zen" || kernels == "Haswell"))
    found.hints.push_back(
        "OpenBLAS takes AVX2 kernels on this AMD processor, which has AVX-512; set "
        "OPENBLAS_CORETYPE=SkylakeX in the environment, about 10 % a training step");
}

// Whether a product comes out right there, row by row against sums made here.
void try_out(Device device, Findings& found) {
  try {
    const Index n = 64;
    const Tensor a = Rng(1).normal({n, n}, DType::float64),
                 b = Rng(2).normal({n, n}, DType::float64);
    const Tensor c = matmul(Var(a.to(device)), Var(b.to(device))).value().to(Device{});
    double worst = 0;
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        double sum = 0;
        for (Index k = 0; k < n; ++k) sum += a.at<double>({i, k}) * b.at<double>({k, j});
        worst = std::max(worst, std::abs(sum - c.at<double>({i, j})));
      }
    if (!(worst < 1e-10))
      found.problems.push_back(
          fmt::format("a product on {} is wrong by {}; try another BLAS or driver",
                      concatenate(device), worst));
  } catch (const Error& error) {
    found.problems.push_back(
        fmt::format("a product on {} fails: {}", concatenate(device), error.what()));
  }
}

void print_libraries() {
  std::cout << fmt::format("libraries  fmt {}.{}.{}, nlohmann-json {}.{}.{}, CLI11 {}, libzip {}\n",
                           FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100,
                           NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                           NLOHMANN_JSON_VERSION_PATCH, CLI11_VERSION, zip_libzip_version());
}

bool on_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

int run_doctor() {
  Findings found;
  print_build();
  print_cpu(found);
  try_out(Device{}, found);  // sets up the BLAS
  print_blas(found);
  std::cout << cuda_devices(11);  // as wide as the first column of the other lines
  for (int i = 0; i < cuda_device_count(); ++i) try_out({Device::Kind::cuda, i}, found);
  print_libraries();
  if (std::string(VLA_BUILD_TYPE) != "Release" && std::string(VLA_BUILD_TYPE) != "RelWithDebInfo")
    found.hints.push_back(
        fmt::format("a {} build is slow; cmake -D CMAKE_BUILD_TYPE=Release", VLA_BUILD_TYPE));
  if (!on_path("gnuplot"))
    found.hints.push_back(
        "gnuplot is not on the PATH; vla report --out needs it (Debian: apt install gnuplot-nox)");
  for (const std::string& hint : found.hints) std::cout << "hint: " << hint << '\n';
  for (const std::string& problem : found.problems) std::cout << "problem: " << problem << '\n';
  std::cout << (found.problems.empty() ? "usable\n" : "not usable\n");
  return found.problems.empty() ? kDone : kFailed;
}

}  // namespace

Command doctor_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand(
      "doctor", "Look at processor, BLAS, GPUs and versions, and say what could be better");
  app->footer(
      "Example:\n  vla doctor\n"
      "Each hint and problem has what to do about it. Exit code 1 if the program cannot be used.");
  return {app, [] { return run_doctor(); }};
}

}  // namespace vla
