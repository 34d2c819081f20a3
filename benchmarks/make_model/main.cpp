// make_model: writes a GGUF file with the shape and the formats of a real model and with random weights, for measuring
// speed without a download. The text that it generates means nothing.
#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "base/try.hpp"
#include "gguf/writer.hpp"
#include "quantize/mix.hpp"
#include "shape.hpp"
#include "vocabulary.hpp"
#include "weights.hpp"

namespace make_model {
namespace {

using inlay::Format;

// These keep activations of order one through the layers: a row of n weights of deviation g / sqrt(n) turns unit inputs
// into outputs of deviation g.
constexpr float kGain = 1.0F;
constexpr float kQueryKeyGain = 1.4F;  // scores of deviation 2: neither uniform nor one-hot attention
constexpr float kLogitGain = 3.0F;
constexpr float kNormSpread = 0.1F;  // of norm weights around one

struct Matrix {
  std::string name;
  std::uint64_t rows;  // 0: a norm
  std::uint64_t columns;
  float gain = kGain;
};

std::vector<Matrix> list_tensors(const Shape& shape) {
  const std::uint64_t dim = shape.embedding_length;
  const std::uint64_t hidden = shape.feed_forward_length;
  std::vector<Matrix> list;
  list.push_back({"token_embd.weight", shape.vocab_size, dim, kLogitGain});
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    list.push_back({prefix + "attn_norm.weight", 0, dim});
    list.push_back({prefix + "attn_q.weight", dim, dim, kQueryKeyGain});
    list.push_back({prefix + "attn_k.weight", shape.kv_length(), dim, kQueryKeyGain});
    list.push_back({prefix + "attn_v.weight", shape.kv_length(), dim});
    list.push_back({prefix + "attn_output.weight", dim, dim});
    list.push_back({prefix + "ffn_norm.weight", 0, dim});
    list.push_back({prefix + "ffn_gate.weight", hidden, dim});
    list.push_back({prefix + "ffn_up.weight", hidden, dim});
    list.push_back({prefix + "ffn_down.weight", dim, hidden});
  }
  list.push_back({"output_norm.weight", 0, dim});
  if (shape.head == Head::kOwn) list.push_back({"output.weight", shape.vocab_size, dim, kLogitGain});
  return list;
}

void add_keys(inlay::gguf::Writer& writer, const Shape& shape, const inlay::Mix& mix) {
  writer.add_string("general.architecture", "llama");
  writer.add_string("general.type", "model");
  writer.add_string("general.name", std::string(shape.name) + " with random weights");
  writer.add_uint32("llama.block_count", shape.layers);
  writer.add_uint32("llama.context_length", shape.context_length);
  writer.add_uint32("llama.embedding_length", shape.embedding_length);
  writer.add_uint32("llama.feed_forward_length", shape.feed_forward_length);
  writer.add_uint32("llama.attention.head_count", shape.n_heads);
  writer.add_uint32("llama.attention.head_count_kv", shape.n_kv_heads);
  writer.add_float32("llama.attention.layer_norm_rms_epsilon", shape.epsilon);
  writer.add_float32("llama.rope.freq_base", shape.rope_freq_base);
  writer.add_uint32("llama.rope.dimension_count", shape.embedding_length / shape.n_heads);
  writer.add_uint32("llama.vocab_size", shape.vocab_size);
  writer.add_uint32("general.file_type", mix.file_type);
  writer.add_uint32("general.quantization_version", 2);
}

struct Made {
  std::uint64_t parameters = 0;
  std::uint64_t tensor_bytes = 0;
};

inlay::Result<Made> make(const Shape& shape, const inlay::Mix& mix, std::uint32_t seed, const std::string& path) {
  inlay::gguf::Writer writer;
  add_keys(writer, shape, mix);
  add_vocabulary(writer, shape.vocab_size);
  const inlay::MixModel mix_model = {static_cast<int>(shape.layers), static_cast<int>(shape.n_heads / shape.n_kv_heads),
                                     shape.head == Head::kOwn};
  const std::vector<Matrix> tensors = list_tensors(shape);
  std::vector<Format> formats;
  Made made;
  for (const Matrix& tensor : tensors) {
    const std::array<std::uint64_t, 2> dims = {tensor.columns, tensor.rows};
    const std::size_t n_dims = tensor.rows == 0 ? 1 : 2;
    const auto format = inlay::format_in_mix(mix, mix_model, tensor.name, static_cast<int>(n_dims), tensor.columns)
                            .value_or(Format::kF32);
    formats.push_back(format);
    writer.declare_tensor(tensor.name, format, std::span(dims).first(n_dims));
    const std::uint64_t weights = tensor.columns * std::max<std::uint64_t>(tensor.rows, 1);
    made.parameters += weights;
    made.tensor_bytes += inlay::row_bytes(format, weights);
  }
  INLAY_TRY_ASSIGN(inlay::gguf::TensorStream out, writer.begin(path));
  WeightPools pools(seed);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Matrix& tensor = tensors[i];
    if (tensor.rows == 0) {
      const std::vector<float> norm = pools.gaussian(tensor.columns, 1.0F, kNormSpread);
      INLAY_TRY(out.write(std::as_bytes(std::span(norm))));
    } else {
      const float deviation = tensor.gain / std::sqrt(static_cast<float>(tensor.columns));
      INLAY_TRY(pools.write(formats[i], tensor.rows, tensor.columns, deviation, out));
    }
  }
  INLAY_TRY(out.finish());
  return made;
}

template <class Rows>
std::vector<std::string> names_of(const Rows& rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) names.emplace_back(row.name);
  return names;
}

int run(int argc, char** argv) {
  CLI::App app("Writes a GGUF file with the shape and the formats of a real model and with random weights.",
               "make_model");
  std::string shape_name;
  std::string type;
  std::string path;
  std::uint32_t seed = 1;
  app.add_option("SHAPE", shape_name, "The model to imitate")->required()->check(CLI::IsMember(names_of(all_shapes())));
  app.add_option("TYPE", type, "Of the weights: Q4_K_M and the other types that inlay-quantize knows")->required();
  app.add_option("OUT", path, "The file to write")->required();
  app.add_option("--seed", seed, "Of the weights")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const Shape* shape = find_shape(shape_name);
  const inlay::Mix* mix = inlay::find_mix(type);
  if (mix == nullptr) {
    std::fprintf(stderr, "make_model: type \"%s\" is not known; expected one of", type.c_str());
    for (const std::string& name : names_of(inlay::all_mixes())) std::fprintf(stderr, " %s", name.c_str());
    std::fputs("\n", stderr);
    return 2;
  }
  const auto made = make(*shape, *mix, seed, path);
  if (!made.ok()) {
    std::fprintf(stderr, "make_model: %s\n", made.status().message().c_str());
    return 1;
  }
  std::fprintf(stderr, "make_model: %s %s, %.1f M weights, %.1f MiB of tensors\n", shape_name.c_str(), mix->name,
               static_cast<double>(made->parameters) / 1e6, static_cast<double>(made->tensor_bytes) / 1048576.0);
  return 0;
}

}  // namespace
}  // namespace make_model

int main(int argc, char** argv) {
  try {
    return make_model::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_model: %s\n", error.what());
    return 1;
  }
}
