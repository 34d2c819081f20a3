#include "vocabulary.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace make_model {
namespace {

// Token types of tokenizer.ggml.token_type.
enum : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

class Vocabulary {
 public:
  explicit Vocabulary(std::uint32_t size) : size_(size) {
    add("<unk>", kUnknown);
    add("<s>", kControl);
    add("</s>", kControl);
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (std::size_t byte = 0; byte < 256; ++byte) {
      add(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">", kByte);
    }
    add(std::string(kSpaceMark), kNormal);
    for (std::size_t length = 1; tokens_.size() < size_; ++length) {
      add_strings("", length);
      add_strings(kSpaceMark, length);
    }
  }

  void write(inlay::gguf::Writer& writer) const {
    writer.add_strings("tokenizer.ggml.tokens", tokens_);
    writer.add_float32s("tokenizer.ggml.scores", scores_);
    writer.add_int32s("tokenizer.ggml.token_type", types_);
  }

 private:
  void add(std::string piece, std::int32_t type) {
    if (tokens_.size() == size_) return;
    scores_.push_back(type == kNormal ? -static_cast<float>(tokens_.size()) : 0.0F);
    types_.push_back(type);
    tokens_.push_back(std::move(piece));
  }

  /// All strings of `length` letters, as many as there is room for.
  void add_strings(std::string_view prefix, std::size_t length) {
    std::string letters(length, 'a');
    while (tokens_.size() < size_) {
      add(std::string(prefix) + letters, kNormal);
      std::size_t i = length;
      while (i > 0 && letters[i - 1] == 'z') letters[--i] = 'a';
      if (i == 0) return;
      ++letters[i - 1];
    }
  }

  std::size_t size_;
  std::vector<std::string> tokens_;
  std::vector<float> scores_;
  std::vector<std::int32_t> types_;
};

}  // namespace

void add_vocabulary(inlay::gguf::Writer& writer, std::uint32_t size) {
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_string("tokenizer.ggml.pre", "default");
  Vocabulary(size).write(writer);
  writer.add_uint32("tokenizer.ggml.bos_token_id", 1);
  writer.add_uint32("tokenizer.ggml.eos_token_id", 2);
  writer.add_uint32("tokenizer.ggml.unknown_token_id", 0);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
  writer.add_bool("tokenizer.ggml.add_eos_token", false);
}

}  // namespace make_model
