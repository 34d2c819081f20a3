// What a model file says about its tokenizer, unchecked.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace inlay {

/// Views into the file. The names in comments are the keys below "tokenizer.ggml.".
struct VocabData {
  std::string_view model;                               // model: "llama" or "gpt2"
  std::string_view pre;                                 // pre; empty: absent
  std::string_view model_name;                          // general.name
  std::vector<std::string_view> pieces;                 // tokens
  std::optional<std::vector<float>> scores;             // scores
  std::optional<std::vector<std::int64_t>> types;       // token_type
  std::optional<std::vector<std::string_view>> merges;  // merges: "left right", best first
  std::optional<std::int64_t> bos;                      // bos_token_id
  std::optional<std::int64_t> eos;                      // eos_token_id
  std::optional<std::int64_t> eot;                      // eot_token_id
  std::optional<std::int64_t> eom;                      // eom_token_id
  std::optional<std::int64_t> unknown;                  // unknown_token_id
  std::optional<std::int64_t> padding;                  // padding_token_id
  std::optional<bool> add_bos;                          // add_bos_token
  std::optional<bool> add_eos;                          // add_eos_token
  std::optional<bool> add_space_prefix;                 // add_space_prefix
};

}  // namespace inlay
