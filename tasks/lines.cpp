#include "tasks/lines.hpp"

#include <algorithm>
#include <span>

namespace vla {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;
constexpr std::size_t kLongestLine = std::size_t{1} << 24;

}  // namespace

bool Lines::next(std::string_view& line) {
  std::size_t end = text_.find('\n', start_);
  while (end == std::string::npos && offset_ < file_.bytes()) {
    const std::size_t searched = text_.size() - start_;
    check(searched <= kLongestLine, path_.string(), ", line ", number_ + 1, ": longer than ",
          kLongestLine, " bytes; expected ", expected_);
    read_block();
    end = text_.find('\n', searched);
  }
  if (start_ == text_.size()) return false;
  ++number_;
  line = std::string_view(text_).substr(start_, end == std::string::npos ? end : end - start_);
  start_ = end == std::string::npos ? text_.size() : end + 1;
  if (line.ends_with('\r')) line.remove_suffix(1);
  return true;
}

// Drops what was used and appends what comes next in the file.
void Lines::read_block() {
  text_.erase(0, start_);
  start_ = 0;
  const std::size_t before = text_.size();
  text_.resize(before + std::min<std::uint64_t>(kBlock, file_.bytes() - offset_));
  const std::span block = std::span(text_).subspan(before);
  file_.read(offset_, std::as_writable_bytes(block));
  offset_ += block.size();
}

std::string shown(std::string_view word) {
  std::string result(word.substr(0, 20));
  std::ranges::replace_if(
      result, [](char letter) { return letter < ' ' || letter > '~'; }, '?');
  return "'" + result + (word.size() > 20 ? "..'" : "'");
}

}  // namespace vla
