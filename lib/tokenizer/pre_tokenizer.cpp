#include "tokenizer/pre_tokenizer.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "base/try.hpp"
#include "tokenizer/matchable_text.hpp"
#include "tokenizer/pre_tokenizer_table.hpp"

namespace inlay {
namespace {

// The patterns are ours and need little; these bounds only keep a mistake in one of them from hanging the host. A run
// of white space costs one backtracking step per byte, so that bound grows with the text.
constexpr std::uint32_t kDepthLimit = 1000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kBaseMatchLimit = 10'000'000;

Status pcre2_failure(const char* what, int error) {
  std::array<PCRE2_UCHAR, 128> message{};
  pcre2_get_error_message(error, message.data(), message.size());
  return {StatusCode::kInternal,
          std::string("pre-tokenizer: ") + what + ": " + reinterpret_cast<const char*>(message.data())};
}

/// One thread's use of the compiled patterns.
class Matcher {
 public:
  explicit Matcher(std::size_t text_size)
      : data_(pcre2_match_data_create(1, nullptr)), limits_(pcre2_match_context_create(nullptr)) {
    if (!data_ || !limits_) throw std::bad_alloc();
    const std::size_t match_limit = std::min<std::size_t>(UINT32_MAX, kBaseMatchLimit + 16 * text_size);
    pcre2_set_match_limit(limits_.get(), static_cast<std::uint32_t>(match_limit));
    pcre2_set_depth_limit(limits_.get(), kDepthLimit);
    pcre2_set_heap_limit(limits_.get(), kHeapLimitKib);
  }

  /// The first match at or after `start`; nullopt: none.
  Result<std::optional<std::pair<std::size_t, std::size_t>>> find(const pcre2_code* code, std::string_view text,
                                                                  std::size_t start) {
    constexpr std::uint32_t kOptions = PCRE2_NO_UTF_CHECK;  // a check per match would make the whole quadratic
    const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int count = pcre2_match(code, subject, text.size(), start, kOptions, data_.get(), limits_.get());
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
      count = pcre2_match(code, subject, text.size(), start, kOptions | PCRE2_NO_JIT, data_.get(), limits_.get());
    }
    if (count == PCRE2_ERROR_NOMATCH) return std::optional<std::pair<std::size_t, std::size_t>>();
    if (count == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    if (count < 0) return pcre2_failure("matching failed", count);
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(data_.get());
    return std::optional(std::pair<std::size_t, std::size_t>(ends[0], ends[1]));
  }

 private:
  struct FreeData {
    void operator()(pcre2_match_data* data) const noexcept { pcre2_match_data_free(data); }
  };
  struct FreeContext {
    void operator()(pcre2_match_context* context) const noexcept { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_match_data, FreeData> data_;
  std::unique_ptr<pcre2_match_context, FreeContext> limits_;
};

/// Splits `word`, which begins at `offset` of the whole text. A pattern looks ahead no further than the word's end.
Result<void> split_word(Matcher& matcher, const pcre2_code* code, std::string_view word, std::size_t offset,
                        std::vector<std::size_t>& ends) {
  for (std::size_t start = 0; start < word.size();) {
    INLAY_TRY_ASSIGN(const auto match, matcher.find(code, word, start));
    if (!match || match->first == match->second) {
      ends.push_back(offset + word.size());
      break;
    }
    if (match->first > start) ends.push_back(offset + match->first);
    ends.push_back(offset + match->second);
    start = match->second;
  }
  return {};
}

}  // namespace

void PreTokenizer::FreeCode::operator()(pcre2_real_code_8* code) const noexcept { pcre2_code_free(code); }

Result<PreTokenizer::Code> PreTokenizer::compile(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE where = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                          &where, nullptr));
  if (!code) {
    if (error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
    return pcre2_failure("a pattern does not compile", error);
  }
  // Where there is no just-in-time compiler, or the host forbids executable memory, the interpreter matches the same.
  static_cast<void>(pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE));
  return code;
}

Result<PreTokenizer> PreTokenizer::make(std::string_view name) {
  const std::string_view wanted = name.empty() ? std::string_view("default") : name;
  const auto* const row = std::find_if(kPreTokenizers.begin(), kPreTokenizers.end(),
                                       [&](const PreTokenizerRow& known) { return known.name == wanted; });
  if (row == kPreTokenizers.end()) {
    return Status(StatusCode::kUnsupported,
                  "tokenizer.ggml.pre: unknown pre-tokenizer \"" + std::string(name.substr(0, 64)) + "\"");
  }
  PreTokenizer made;
  made.ignore_merges_ = row->ignore_merges;
  made.add_bos_ = row->add_bos;
  for (const std::string_view pattern : row->patterns) {
    INLAY_TRY_ASSIGN(Code code, compile(pattern));
    made.codes_.push_back(std::move(code));
  }
  return made;
}

Result<std::vector<std::size_t>> PreTokenizer::split(std::string_view text) const {
  std::vector<std::size_t> ends;
  if (text.empty()) return ends;
  const MatchableText matchable(text);
  const std::string_view whole = matchable.view();
  Matcher matcher(text.size());
  ends.push_back(text.size());
  std::vector<std::size_t> finer;
  for (const Code& code : codes_) {
    finer.clear();
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      INLAY_TRY(split_word(matcher, code.get(), whole.substr(begin, end - begin), begin, finer));
      begin = end;
    }
    std::swap(ends, finer);
  }
  return ends;
}

}  // namespace inlay
