#include "tasks/cifar10.hpp"

#include <array>

#include "framework/file.hpp"

namespace vla {
namespace {

constexpr std::size_t kPixels = 1024;
constexpr std::size_t kRecord = 1 + 3 * kPixels;
constexpr Index kClasses = 10;

LabelledSets read_sets(const Cifar10Options& options) {
  check(!options.data.empty(), "cifar10: no folder to learn from; --data DIRECTORY names it");
  check_held_out("cifar10", options.held_out);
  const std::filesystem::path folder = options.data;
  LabelledBytes all;
  for (int batch = 1; batch <= 5; ++batch)
    read_cifar10(folder / concatenate("data_batch_", batch, ".bin"), all);
  LabelledSets sets;
  const Index training = all.size() - all.size() / 10;
  for (Index i = 0; i < all.size(); ++i)
    (i < training ? sets.training : sets.held_out).add({all.part(i, 0)}, all.label(i));
  if (options.held_out == "test") {
    sets.held_out = LabelledBytes();
    read_cifar10(folder / "test_batch.bin", sets.held_out);
  }
  check(sets.held_out.size() > 0, folder.string(), " has ", all.size(),
        " records to learn from; a tenth of them for val needs 10 or more");
  return sets;
}

}  // namespace

void read_cifar10(const std::filesystem::path& path, LabelledBytes& into) {
  const InputFile file(path);
  check(file.bytes() >= kRecord && file.bytes() % kRecord == 0, path.string(), " has ",
        file.bytes(), " bytes: ", file.bytes() / kRecord, " records and ", file.bytes() % kRecord,
        " bytes more; expected whole records of ", kRecord, ", one or more");
  std::array<std::uint8_t, kRecord> record;
  std::array<std::uint8_t, kPixels> grey;
  for (std::uint64_t i = 0; i < file.bytes() / kRecord; ++i) {
    file.read(i * kRecord, std::as_writable_bytes(std::span(record)));
    check(record[0] < kClasses, path.string(), ", record ", i, ": label ", int(record[0]),
          "; expected 0 to ", kClasses - 1);
    const std::uint8_t *red = &record[1], *green = red + kPixels, *blue = green + kPixels;
    for (std::size_t p = 0; p < kPixels; ++p)
      grey[p] =
          static_cast<std::uint8_t>((299 * red[p] + 587 * green[p] + 114 * blue[p] + 500) / 1000);
    into.add({grey}, record[0]);
  }
}

Cifar10::Cifar10(const Cifar10Options& options)
    : LabelledBytesTask("cifar10", kClasses, kPixels, read_sets(options)) {}

}  // namespace vla
