// Writes the inputs that each target starts from to FOLDER/TARGET/NUMBER.
#include <iostream>

#include "framework/file.hpp"
#include "tests/fuzz/target.hpp"

int main(int count, char** words) try {
  vla::check(count == 2, "usage: fuzz_seeds FOLDER");
  for (const vla::fuzz::Target& target : vla::fuzz::targets()) {
    const std::filesystem::path folder = std::filesystem::path(words[1]) / target.name;
    vla::make_folder(folder);
    int number = 0;
    for (const std::string& seed : target.seeds())
      vla::write_text(folder / std::to_string(number++), seed);
  }
  return 0;
} catch (const vla::Error& error) {
  std::cerr << "fuzz_seeds: " << error.what() << '\n';
  return 1;
}
