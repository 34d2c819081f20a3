// Which format every tensor of a model gets when the model is quantised to a named type: "Q4_K_M" is a mix of formats.
// Source: the files in circulation, whose choice is that of llama.cpp without an importance matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "quant/formats.hpp"

namespace inlay {

/// When a tensor gets the bigger one of its two formats.
enum class BiggerWhen : std::uint8_t {
  kNever,
  kMoreBits,        // in the first and the last eighth of the layers and in every third between
  kFirstEighth,     // of the layers
  kFirstSixteenth,  // the same
  kFirstTwo,        // layers
  kFirstFour,       // the same
  kSharedByFour,    // at least four heads read the same values: a small tensor that matters much
};

struct FormatChoice {
  Format usual = Format::kF32;
  Format bigger = Format::kF32;
  BiggerWhen when = BiggerWhen::kNever;
};

/// One named type.
struct Mix {
  const char* name = nullptr;
  std::uint32_t file_type = 0;  // general.file_type
  Format usual = Format::kF32;
  Format output = Format::kF32;  // of the output matrix, or of the embedding that is used as one
  FormatChoice value;            // attn_v
  FormatChoice attention_output;
  FormatChoice down;  // ffn_down
  FormatChoice qkv;   // attn_qkv: query, key and value in one matrix
};

/// Every type, from the largest to the smallest.
[[nodiscard]] std::span<const Mix> all_mixes() noexcept;

/// Also knows the short names "Q3_K", "Q4_K" and "Q5_K" of the medium mixes. Null for an unknown name.
[[nodiscard]] const Mix* find_mix(std::string_view name) noexcept;

/// What the choice asks about the model.
struct MixModel {
  int n_layers = 0;
  int heads_per_kv_head = 1;
  bool has_output = true;  // false: the embedding is the output matrix too
};

/// The format of `tensor` ("blk.3.attn_v.weight"), a tensor of n_dims dimensions whose rows have row_weights weights: a
/// format with larger blocks than the row allows is replaced by the next better one with smaller blocks. nullopt: the
/// tensor stays what it is (norms, biases, frequency factors).
[[nodiscard]] std::optional<Format> format_in_mix(const Mix& mix, const MixModel& model, std::string_view tensor,
                                                  int n_dims, std::uint64_t row_weights) noexcept;

}  // namespace inlay
