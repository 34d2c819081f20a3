#include <inlay/tokenizer.hpp>

#include "base/guard.hpp"
#include "tokenizer/utf8.hpp"

namespace inlay {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

Result<std::string> Utf8Stream::push(std::string_view bytes) noexcept {
  const std::size_t before = pending_.size();
  Result<std::string> done = guard([&]() -> Result<std::string> {
    pending_ += bytes;
    std::string complete;
    std::string_view rest = pending_;
    while (!rest.empty()) {
      const Utf8Unit unit = next_utf8(rest);
      if (unit.kind == Utf8Kind::kIncomplete) break;
      complete += unit.kind == Utf8Kind::kValid ? rest.substr(0, unit.size) : kReplacement;
      rest.remove_prefix(unit.size);
    }
    pending_.erase(0, pending_.size() - rest.size());  // at most three bytes stay
    return complete;
  });
  if (!done.ok()) pending_.resize(before);
  return done;
}

std::string Utf8Stream::finish() noexcept {
  // What is pending is always the start of one character.
  std::string last(pending_.empty() ? std::string_view() : kReplacement);
  pending_.clear();
  return last;
}

}  // namespace inlay
