#include "tasks/listops_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <unordered_set>

#include "framework/file.hpp"
#include "tasks/lines.hpp"
#include "tasks/task.hpp"

namespace vla {
namespace {

constexpr std::string_view kHeader = "Source\tTarget";
constexpr const char* kLine = "an expression, a tab and its value";
constexpr Index kRepeats = 10000;  // in a row, after which there is taken to be nothing new

// The symbols of an expression between blanks, without its parentheses.
ListOpsExpression symbols_of(std::string_view source, Index size_below, const Lines& lines) {
  ListOpsExpression symbols;
  while (!source.empty()) {
    const std::string_view word = source.substr(0, source.find(' '));
    source.remove_prefix(std::min(source.size(), word.size() + 1));
    if (word.empty() || word == "(" || word == ")") continue;
    const std::optional<std::uint8_t> symbol = listops_symbol(word);
    if (!symbol)
      lines.refuse("unknown symbol ", shown(word),
                   "; expected [MIN, [MAX, [MED, [SM, ], a digit, ( or )");
    symbols.push_back(*symbol);
    if (static_cast<Index>(symbols.size()) >= size_below)
      lines.refuse("the expression has ", size_below, " symbols or more; expected less than ",
                   size_below, ", the length of the sequence");
  }
  return symbols;
}

void add_line(std::string_view line, Index size_below, const Lines& lines, ListOpsSet& set) {
  const std::size_t tab = line.find('\t');
  if (tab == std::string_view::npos) lines.refuse("no tab; expected ", kLine);
  const std::string_view target = line.substr(tab + 1);
  if (target.size() != 1 || target[0] < '0' || target[0] > '9')
    lines.refuse("target ", shown(target), "; expected a digit, 0 to 9");
  const ListOpsExpression symbols = symbols_of(line.substr(0, tab), size_below, lines);
  int value = 0;
  try {
    value = listops_value(symbols);
  } catch (const Error& error) {
    lines.refuse(error.what(), "; expected one whole expression");
  }
  if (value != target[0] - '0')
    lines.refuse("target ", target, "; expected ", value, ", the value of the expression");
  set.add(symbols);
}

// A file that takes its place when it is whole.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path)
      : path_(path), part_(path.string() + ".part"), stream_(part_, std::ios::binary) {
    check_stream();
  }
  ~NewFile() {
    std::error_code ignored;
    if (!done_) std::filesystem::remove(part_, ignored);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write_line(std::string_view line) {
    stream_ << line << '\n';
    check_stream();
  }
  void finish() {
    stream_.close();
    check_stream();
    std::error_code error;
    std::filesystem::rename(part_, path_, error);
    check(!error, "cannot write ", path_.string(), ": ", error.message());
    done_ = true;
  }

 private:
  void check_stream() const {
    check(stream_.good(), "cannot write ", path_.string(), ": ", std::strerror(errno));
  }

  std::filesystem::path path_, part_;
  std::ofstream stream_;
  bool done_ = false;
};

// Draws expressions that it has not drawn before.
class DifferentExpressions {
 public:
  DifferentExpressions(const ListOpsGrammar& grammar, Rng rng) : grammar_(grammar), rng_(rng) {}

  ListOpsExpression next() {
    for (Index repeats = 0; repeats < kRepeats; ++repeats) {
      ListOpsExpression drawn = next_listops(grammar_, rng_);
      if (seen_.emplace(drawn.begin(), drawn.end()).second) return drawn;
    }
    fail("listops: after ", seen_.size(), " different expressions ", kRepeats,
         " draws gave no other; a smaller --count or larger expressions are needed");
  }

 private:
  ListOpsGrammar grammar_;
  Rng rng_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

std::span<const std::uint8_t> ListOpsSet::operator[](Index i) const {
  check(i >= 0 && i < size(), "listops: there is no expression ", i, "; 0 to ", size() - 1);
  const auto place = static_cast<std::size_t>(i);
  const std::size_t start = place == 0 ? 0 : ends_[place - 1];
  return symbols().subspan(start, ends_[place] - start);
}

void ListOpsSet::add(std::span<const std::uint8_t> expression) {
  symbols_.insert(symbols_.end(), expression.begin(), expression.end());
  ends_.push_back(symbols_.size());
}

std::filesystem::path listops_path(const std::filesystem::path& folder, std::string_view split) {
  return folder / ("basic_" + std::string(split) + ".tsv");
}

ListOpsSet read_listops(const std::filesystem::path& path, Index size_below) {
  Lines lines(path, kLine);
  std::string_view line;
  check(lines.next(line), path.string(), " is empty; expected a first line 'Source<TAB>Target'");
  if (line != kHeader) lines.refuse("begins with ", shown(line), "; expected 'Source<TAB>Target'");
  ListOpsSet set;
  while (lines.next(line)) add_line(line, size_below, lines, set);
  if (set.size() == 0) lines.refuse("the last; expected expressions after it");
  return set;
}

void write_listops(const std::filesystem::path& folder, const ListOpsGrammar& grammar, Index count,
                   Rng rng) {
  check(count >= 3, "listops: count ", count, " is not allowed; 3 or more, one for each file");
  check_listops_grammar(grammar);
  make_folder(folder);
  const Index held_out = std::max<Index>(count / 50, 1);
  NewFile train(listops_path(folder, "train")), val(listops_path(folder, "val")),
      test(listops_path(folder, "test"));
  DifferentExpressions expressions(grammar, rng);
  const auto write = [&](NewFile& file, Index lines) {
    file.write_line(kHeader);
    for (; lines > 0; --lines) {
      const ListOpsExpression next = expressions.next();
      file.write_line(listops_text(next) + "\t" + std::to_string(listops_value(next)));
    }
  };
  write(train, count - 2 * held_out);
  write(val, held_out);
  write(test, held_out);
  for (NewFile* file : {&train, &val, &test}) file->finish();
}

}  // namespace vla
