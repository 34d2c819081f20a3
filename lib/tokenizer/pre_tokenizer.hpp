// Splits text into the words inside which byte-level BPE merges.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include <inlay/result.hpp>

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;

namespace inlay {

/// Immutable: thread-safe.
class PreTokenizer {
 public:
  /// Compiles the patterns of `name`, empty for "default". kUnsupported for a name that is not known.
  static Result<PreTokenizer> make(std::string_view name);

  /// The ends of the words of `text`, ascending; the last is the text's size. Every pattern in turn splits what the
  /// ones before it left: its matches and what lies between them are words. A byte that is not part of a UTF-8
  /// character counts as a control character.
  [[nodiscard]] Result<std::vector<std::size_t>> split(std::string_view text) const;

  [[nodiscard]] bool ignore_merges() const noexcept { return ignore_merges_; }
  [[nodiscard]] bool add_bos() const noexcept { return add_bos_; }

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const noexcept;
  };
  using Code = std::unique_ptr<pcre2_real_code_8, FreeCode>;

  PreTokenizer() = default;
  static Result<Code> compile(std::string_view pattern);

  std::vector<Code> codes_;
  bool ignore_merges_ = false;
  bool add_bos_ = false;
};

}  // namespace inlay
