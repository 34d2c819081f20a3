// The sizes of the models that make_model imitates.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace make_model {

enum class Head { kOwn, kTied };

struct Shape {
  std::string_view name;
  std::uint32_t layers;
  std::uint32_t embedding_length;
  std::uint32_t feed_forward_length;
  std::uint32_t n_heads;
  std::uint32_t n_kv_heads;
  std::uint32_t vocab_size;
  std::uint32_t context_length;
  float rope_freq_base;
  float epsilon;
  Head head;

  [[nodiscard]] std::uint32_t kv_length() const { return embedding_length / n_heads * n_kv_heads; }
};

std::span<const Shape> all_shapes();

/// Null for an unknown name.
const Shape* find_shape(std::string_view name);

}  // namespace make_model
