// The pre-tokenizers that inlay knows.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace inlay {

/// What a name in `tokenizer.ggml.pre` stands for.
struct PreTokenizerRow {
  std::string_view name;
  std::span<const std::string_view> patterns;  // applied in turn
  bool ignore_merges = false;  // a word that is a token as a whole stays whole, whatever the merges would make of it
  bool add_bos = false;        // unless the file says otherwise
};

// Patterns as the models' tokenizer.json publish them.

inline constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::array kGpt2Patterns = {kGpt2Words};

// Every digit is a word, then GPT-2's words.
inline constexpr std::array kSmollmPatterns = {std::string_view(R"(\p{N})"), kGpt2Words};

// At most three digits to a word.
inline constexpr std::array kLlama3Patterns = {
    std::string_view(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|\s+(?!\S)|\s+)")};

// The same, but every digit is a word.
inline constexpr std::array kQwen2Patterns = {
    std::string_view(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|\s+(?!\S)|\s+)")};

// For files that name no pre-tokenizer; they were all written for this one.
inline constexpr std::array kDefaultPatterns = {std::string_view(R"([\p{P}$+<=>^~|]+)"), kGpt2Words,
                                                std::string_view(R"(\p{N}+)"), std::string_view("[0-9][0-9][0-9]")};

inline constexpr std::array kPreTokenizers = {
    PreTokenizerRow{"default", kDefaultPatterns},
    PreTokenizerRow{"gpt-2", kGpt2Patterns},
    PreTokenizerRow{"phi-2", kGpt2Patterns},
    PreTokenizerRow{"mpt", kGpt2Patterns},
    PreTokenizerRow{"olmo", kGpt2Patterns},
    PreTokenizerRow{"smollm", kSmollmPatterns},
    PreTokenizerRow{"starcoder", kSmollmPatterns},
    PreTokenizerRow{"refact", kSmollmPatterns},
    PreTokenizerRow{"codeshell", kSmollmPatterns},
    PreTokenizerRow{"command-r", kSmollmPatterns},
    PreTokenizerRow{"llama-bpe", kLlama3Patterns, true, true},
    PreTokenizerRow{"llama3", kLlama3Patterns, true, true},
    PreTokenizerRow{"llama-v3", kLlama3Patterns, true, true},
    PreTokenizerRow{"dbrx", kLlama3Patterns},
    PreTokenizerRow{"smaug-bpe", kLlama3Patterns},
    PreTokenizerRow{"glm4", kLlama3Patterns},
    PreTokenizerRow{"chatglm-bpe", kLlama3Patterns},
    PreTokenizerRow{"qwen2", kQwen2Patterns},
    PreTokenizerRow{"deepseek-r1-qwen", kQwen2Patterns},
    PreTokenizerRow{"megrez", kQwen2Patterns},
    PreTokenizerRow{"stablelm2", kQwen2Patterns},
};

}  // namespace inlay
