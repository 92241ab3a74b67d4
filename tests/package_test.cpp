// The package as others use it: installed, moved, found by CMake and by pkg-config, and as a
// subdirectory. tests/consumer is the project that uses it.

#include <cstdlib>
#include <sstream>

#include "framework/device.hpp"
#include "framework/distributed/communicator.hpp"
#include "tests/optional.hpp"
#include "tests/program.hpp"

namespace vla {
namespace {

namespace fs = std::filesystem;

// Runs a line of the shell in `folder`; what it printed is in stdout.txt and stderr.txt there.
Outcome shell(const fs::path& folder, const std::string& line) {
  return Place::run_in(folder, "/bin/sh", "-c " + quoted(line));
}

void check_done(const Outcome& outcome, const std::string& what) {
  BOOST_REQUIRE_MESSAGE(outcome.code == 0, what << " ended with " << outcome.code << ":\n"
                                                << outcome.out << outcome.errors);
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What every build of the consumer's program must say.
void check_program(const fs::path& program) {
  const Place place;
  const Outcome outcome = Place::run_in(place.path(), program.string(), "");
  check_done(outcome, program.string());
  BOOST_TEST(outcome.out.starts_with("gradients right\nsteps learned\nrecall learned\n"),
             outcome.out);
  BOOST_TEST(
      (holds(outcome.out, "\ncuda steps learned\n") || holds(outcome.out, "\nno CUDA device: ")),
      outcome.out);
}

boost::test_tools::assertion_result has_cuda_build(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(kCudaBuild);
  if (!result) result.message() << "this is a build without CUDA";
  return result;
}

const std::string kConfigure = "cmake -DCMAKE_BUILD_TYPE=Release " VLA_CONSUMER_OPTIONS " -S ";
const std::string kConsumer = VLA_SOURCE_DIR "/tests/consumer";

// The installed tree, moved from where it was installed. Made once, removed at the end.
const fs::path& installed() {
  static const Place place;
  static const fs::path tree = [] {
    check_done(shell(place.path(), "cmake --install " + quoted(VLA_BINARY_DIR) + " --prefix " +
                                       quoted((place / "first").string())),
               "cmake --install");
    fs::create_directories(place / "moved");
    fs::rename(place / "first", place / "moved/tree");
    return place / "moved/tree";
  }();
  return tree;
}

std::vector<fs::path> files_of(const fs::path& tree) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(tree))
    if (entry.is_regular_file()) files.push_back(entry.path());
  return files;
}

void configure_as_subdirectory(const Place& place) {
  check_done(
      shell(place.path(), kConfigure + quoted(kConsumer) + " -B build -G Ninja -DVLA_CUDA=OFF" +
                              " -DVLA_SOURCE=" + quoted(VLA_SOURCE_DIR)),
      "configuring");
}

// Configures the project that a README's one block of CMake makes, with the sources it names (empty
// files) and this repository as its folder vla.
void configure_block(const std::string& readme, const std::string& options) {
  const std::string text = read(fs::path(VLA_SOURCE_DIR) / readme), opening = "\n```cmake\n";
  BOOST_REQUIRE_MESSAGE(holds(text, opening), readme << " has no block of CMake");
  const std::size_t begin = text.find(opening) + opening.size();
  BOOST_TEST(text.find(opening, begin) == std::string::npos, readme << " has a second block");
  const Place place;
  std::ofstream(place / "CMakeLists.txt")
      << text.substr(begin, text.find("\n```", begin) + 1 - begin);
  for (const char* source : {"program.cpp", "distance.cpp", "distance.cu"})
    std::ofstream(place / source) << "";
  fs::create_directory_symlink(VLA_SOURCE_DIR, place / "vla");
  check_done(shell(place.path(), kConfigure + ". -B build " + options), readme);
}

fs::path folder_of(const std::string& file) {
  for (const fs::path& path : files_of(installed()))
    if (path.filename() == file) return path.parent_path();
  BOOST_FAIL(file << " was not installed");
  return {};
}

// What compiling `program` against the installed headers says, and how it ends.
Outcome compiled(const std::string& program) {
  const Place place;
  std::ofstream(place / "program.cpp") << "#include \"framework/framework.hpp\"\n"
                                       << "using namespace vla;\n"
                                       << program;
  return shell(place.path(),
               VLA_CXX " -std=c++20 -Wall -Wextra -Werror -fsyntax-only program.cpp -isystem " +
                   quoted((installed() / "include/vla").string()));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(package)

BOOST_AUTO_TEST_CASE(the_installed_program_runs) {
  const Place place;
  const Outcome outcome = Place::run_in(place.path(), installed() / "bin/vla", "models");
  check_done(outcome, "vla models");
  BOOST_TEST(holds(outcome.out, "deltanet"));
}

// Libraries and the program are left out: they name their own sources in call sites, unless built
// by `cmake --preset package`.
BOOST_AUTO_TEST_CASE(no_text_names_the_sources_or_the_build) {
  int seen = 0;
  for (const fs::path& path : files_of(installed())) {
    const std::string kind = path.extension().string();
    if (kind == ".a" || kind == ".so" || path.filename() == "vla") continue;
    const std::string text = read(path);
    ++seen;
    for (const char* place : {VLA_SOURCE_DIR, VLA_BINARY_DIR, "/first"})
      BOOST_TEST(!holds(text, place), path << " names " << place);
  }
  BOOST_TEST(seen > 70);
}

BOOST_AUTO_TEST_CASE(headers_need_nothing_private) {
  const fs::path include = installed() / "include/vla";
  std::string all;
  for (const fs::path& path : files_of(include))
    if (path.extension() == ".hpp" && path.filename() != "xtensor.hpp")
      all += "#include \"" + fs::relative(path, include).string() + "\"\n";
  const Place place;
  std::ofstream(place / "all.cpp") << all;
  const std::string compiler = VLA_CXX
                               " -std=c++20 -Wall -Wextra -Werror -Wno-unknown-pragmas -I " +
                               quoted(include.string());
  check_done(shell(place.path(), compiler + " -c all.cpp -M -MF all.d"), "reading all headers");
  check_done(shell(place.path(), compiler + " -fsyntax-only all.cpp"), "compiling all headers");
  const std::string read_files = read(place / "all.d");
  BOOST_TEST(holds(read_files, "framework/tape.hpp"));
  for (const char* library : {"xtensor", "nlohmann", "/fmt/", "cblas", "lapack", "png.h", "lzma",
                              "zip.h", "cuda_runtime", "cublas", "CLI", "boost"})
    BOOST_TEST(!holds(read_files, library), library << " is read by the public headers");
}

BOOST_AUTO_TEST_CASE(a_struct_that_is_no_elementwise_op_is_refused_in_a_sentence) {
  const auto says = [](const std::string& functions, const std::string& sentence) {
    const Outcome outcome =
        compiled("struct Mine {\n  static constexpr auto name = \"mine\";\n  double a = 1;\n" +
                 functions + "};\nVar mine(const Var& x) { return elementwise<Mine>(x); }\n");
    BOOST_TEST(outcome.code != 0);
    BOOST_TEST(holds(outcome.errors, sentence), outcome.errors);
    const std::string one = " error: ";
    const std::size_t first = outcome.errors.find(one);
    BOOST_TEST((outcome.errors.find(one, first + 1) == std::string::npos), "more than a sentence:\n"
                                                                               << outcome.errors);
  };
  const std::string value = "  template <class T> T value(T x) const { return T(a) * x; }\n",
                    slope = "  template <class T> T slope(T, T) const { return T(a); }\n";
  says(value, "an elementwise struct needs a slope, which is dy/dx: template <class T>");
  says(slope, "an elementwise struct needs a value: template <class T>");
  says(slope + "  template <class T> T value(T x) { return T(a) * x; }\n",
       "the value of an elementwise struct must be const or static");
  says(value + "  template <class T> T slope(T, T) { return T(a); }\n",
       "the slope of an elementwise struct must be const or static");
}

BOOST_AUTO_TEST_CASE(an_elementwise_struct_with_kernels_elsewhere_takes_its_constants_by_name) {
  check_done(compiled("struct Mine {\n"
                      "  static constexpr auto name = \"mine\";\n"
                      "  static constexpr bool has_cuda_kernel = true;\n"
                      "  double factor = 1;\n"
                      "  template <class T> T value(T x) const { return T(factor) * x; }\n"
                      "  template <class T> T slope(T, T) const { return T(factor); }\n"
                      "};\n"
                      "Var mine(const Var& x) { return elementwise(x, Mine{.factor = 3}); }\n"),
             "compiling");
}

BOOST_AUTO_TEST_CASE(what_a_lesson_includes_is_installed) {
  const fs::path include = installed() / "include/vla";
  int seen = 0;
  for (const fs::path& path : files_of(VLA_SOURCE_DIR "/framework/lessons")) {
    std::ifstream lesson(path);
    for (std::string line; std::getline(lesson, line);) {
      const std::string opening = "#include \"";
      if (!line.starts_with(opening)) continue;
      const std::string header = line.substr(opening.size(), line.rfind('"') - opening.size());
      BOOST_TEST(fs::exists(include / header), path << " includes " << header);
      ++seen;
    }
  }
  BOOST_TEST(seen > 7);
}

BOOST_AUTO_TEST_CASE(every_public_class_and_function_is_documented,
                     *boost::unit_test::precondition(has_program("doxygen"))) {
  const Place place;
  check_done(shell(place.path(), quoted(VLA_SOURCE_DIR "/tools/docs") + " pages"), "tools/docs");
  BOOST_TEST(place.has("pages/html/classvla_1_1Tensor.html"));
  BOOST_TEST(holds(read(place / "pages/html/index.html"), "Variational Linear Attention"));
}

BOOST_AUTO_TEST_CASE(found_by_cmake) {
  const Place place;
  check_done(shell(place.path(), kConfigure + quoted(kConsumer) + " -B build -DCMAKE_PREFIX_PATH=" +
                                     quoted(installed().string())),
             "configuring");
  check_done(shell(place.path(), "cmake --build build --parallel 2"), "building");
  check_program(place / "build/program");
}

// Whether or not vla was built for CUDA, nvcc is told the C++ that its headers are written in.
BOOST_AUTO_TEST_CASE(found_by_a_project_with_kernels_of_its_own,
                     *boost::unit_test::precondition(has_program("nvcc"))) {
  const Place place;
  std::ofstream(place / "CMakeLists.txt")
      << "cmake_minimum_required(VERSION 3.25)\nset(CMAKE_CUDA_ARCHITECTURES 80)\n"
         "project(kernels LANGUAGES CXX CUDA)\nfind_package(vla CONFIG REQUIRED)\n"
         "add_library(kernels STATIC kernel.cu)\ntarget_link_libraries(kernels vla::framework)\n";
  std::ofstream(place / "kernel.cu") << "#include \"framework/tape.hpp\"\n"
                                        "__global__ void kernel(float* y) { *y = 1; }\n"
                                        "template <class T> requires(sizeof(T) == 4)\n"
                                        "void launch(T* y) { kernel<<<1, 1>>>(y); }\n"
                                        "template void launch(float*);\n";
  check_done(shell(place.path(),
                   kConfigure + ". -B build -DCMAKE_PREFIX_PATH=" + quoted(installed().string())),
             "configuring");
  check_done(shell(place.path(), "cmake --build build"), "building");
}

// The toolkit's usual place is the one path in it, and a variable that a user may set.
BOOST_AUTO_TEST_CASE(the_pkg_config_file_has_no_path_of_the_build) {
  std::ifstream file(folder_of("vla.pc") / "vla.pc");
  bool cuda = false;
  for (std::string line; std::getline(file, line);) {
    if (line == "cudalibdir=/usr/local/cuda/lib64") {
      cuda = true;
      continue;
    }
    for (const char* absolute : {"=/", " /", "-L/", "-I/"})
      BOOST_TEST(!holds(line, absolute), "vla.pc has an absolute path: " << line);
  }
  BOOST_TEST(cuda == kCudaBuild);
}

// A project without CMake: the compilers alone.
BOOST_AUTO_TEST_CASE(found_by_pkg_config,
                     *boost::unit_test::precondition(has_program("pkg-config"))) {
  const Place place;
  std::string lines = "set -e; export PKG_CONFIG_PATH=" + quoted(folder_of("vla.pc").string()) +
                      "; cp " + quoted(kConsumer) + "/running_sum.* " + quoted(kConsumer) +
                      "/program.cpp .; sources='program.cpp running_sum.cpp'; ";
  if (kCudaBuild)
    lines += VLA_NVCC
        " -std=c++20 $(pkg-config --cflags vla) -c running_sum.cu -o kernel.o; "
        "sources=\"$sources kernel.o\"; ";
  lines += VLA_CXX
           " -std=c++20 -O2 -Wall -Wextra -Werror -o program $sources "
           "$(pkg-config --define-variable=cudalibdir=" +
           quoted(VLA_CUDA_LIBRARIES) + " --static --cflags --libs vla)";
  check_done(shell(place.path(), lines), "compiling with pkg-config");
  check_program(place / "program");
}

BOOST_AUTO_TEST_CASE(a_component_that_is_missing_is_named) {
  const Place place;
  std::ofstream(place / "CMakeLists.txt")
      << "cmake_minimum_required(VERSION 3.25)\nproject(asks LANGUAGES CXX)\n"
         "find_package(vla CONFIG REQUIRED COMPONENTS ${ASKED})\n";
  const std::string configure =
      "cmake -S . -B build -DCMAKE_PREFIX_PATH=" + quoted(installed().string()) + " -DASKED=";
  check_done(shell(place.path(), configure), "without a component");
  const Outcome cuda = shell(place.path(), configure + "cuda");
  BOOST_TEST((cuda.code == 0) == kCudaBuild);
  if (!kCudaBuild) BOOST_TEST(holds(cuda.errors, "was built without CUDA"), cuda.errors);
  const Outcome mpi = shell(place.path(), configure + "mpi");
  BOOST_TEST((mpi.code == 0) == has_mpi());
  if (!has_mpi()) BOOST_TEST(holds(mpi.errors, "was built without MPI"), mpi.errors);
  const Outcome unknown = shell(place.path(), configure + "opencl");
  BOOST_TEST(unknown.code != 0);
  BOOST_TEST(holds(unknown.errors, "opencl"), unknown.errors);
}

// Building the libraries once more takes minutes: only the program's own file is compiled here,
// with the options that the targets hand on. long_package builds all.
BOOST_AUTO_TEST_CASE(as_a_subdirectory) {
  const Place place;
  configure_as_subdirectory(place);
  const Outcome commands = shell(place.path(), "ninja -C build -t commands program");
  check_done(commands, "listing commands");
  std::istringstream lines(commands.out);
  int own = 0;
  std::string last;
  for (std::string line; std::getline(lines, line); last = line) {
    BOOST_TEST(!holds(line, "/tests/tape_test.cpp"));
    BOOST_TEST(!holds(line, "/tools/main.cpp"));
    BOOST_TEST(!holds(line, "-march=native"), line);
    if (!holds(line, "consumer/program.cpp")) continue;
    ++own;
    for (const char* option : {"-march", "-fopenmp-simd", "-fno-math-errno", "xtensor", "cblas"})
      BOOST_TEST(!holds(line, option), line);
  }
  BOOST_TEST(own == 1);
  for (const char* library :
       {"vla_tasks", "vla_models", "vla_framework", "openblas", "lzma", "png"})
    BOOST_TEST(holds(last, std::string("lib") + library), "the program is linked by " << last);
  check_done(shell(place.path(), "ninja -C build CMakeFiles/program.dir/program.cpp.o"),
             "compiling");
}

BOOST_AUTO_TEST_CASE(the_cmake_block_of_the_readme_configures) {
  configure_block("README.md", "-DVLA_CUDA=OFF");
}

BOOST_AUTO_TEST_CASE(the_cmake_block_with_kernels_configures,
                     *boost::unit_test::precondition(has_cuda_build)) {
  configure_block("framework/README.md", "-DVLA_CUDA=ON");
}

BOOST_AUTO_TEST_SUITE_END()

// Minutes long; run by tools/soak alone.
BOOST_AUTO_TEST_SUITE(long_package)

BOOST_AUTO_TEST_CASE(as_a_subdirectory) {
  const Place place;
  configure_as_subdirectory(place);
  check_done(shell(place.path(), "cmake --build build --target program"), "building");
  check_program(place / "build/program");
}

// Built by the preset, without CUDA: the other flavour where this build has it.
BOOST_AUTO_TEST_CASE(packed_for_debian,
                     *boost::unit_test::precondition(has_program("dpkg-shlibdeps"))) {
  const Place place;
  check_done(shell(place.path(), "cmake --preset package -B build -DVLA_CUDA=OFF -S " +
                                     quoted(VLA_SOURCE_DIR) +
                                     " -DCMAKE_CXX_COMPILER=" + quoted(VLA_CXX_COMPILER)),
             "configuring");
  check_done(shell(place.path(), "cmake --build build --parallel 2"), "building");
  check_done(shell(place / "build", "cpack"), "cpack");
  const std::string unpack =
      "for package in build/*.deb; do dpkg-deb -c $package && dpkg-deb -x $package tree; done";
  const Outcome unpacked = shell(place.path(), unpack);
  check_done(unpacked, "dpkg-deb");
  for (const char* file : {"./usr/bin/vla\n", "./usr/include/vla/framework/tape.hpp\n",
                           "/libvla_tasks.a\n", "/vlaConfig.cmake\n", "/vla.pc\n"})
    BOOST_TEST(holds(unpacked.out, file), file << " is not packed");
  for (const fs::path& path : files_of(place / "tree"))
    BOOST_TEST(!holds(read(path), VLA_SOURCE_DIR), path << " names the sources");

  check_done(shell(place.path(), quoted((place / "tree/usr/bin/vla").string()) + " models"), "vla");
  check_done(
      shell(place.path(), kConfigure + quoted(kConsumer) + " -B consumer " +
                              "-DCMAKE_PREFIX_PATH=" + quoted((place / "tree/usr").string())),
      "configuring the consumer");
  check_done(shell(place.path(), "cmake --build consumer"), "building the consumer");
  check_program(place / "consumer/program");
}

BOOST_AUTO_TEST_CASE(every_header_compiles_alone) {
  const fs::path include = installed() / "include/vla";
  const Place place;
  for (const fs::path& path : files_of(include))
    if (path.extension() == ".hpp")
      check_done(shell(place.path(), VLA_CXX " -std=c++20 -fsyntax-only -x c++ -I " +
                                         quoted(include.string()) + " " + quoted(path.string())),
                 path.string());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace vla
