#include "fuzz/hostile_files.hpp"

#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "fuzz/small_model.hpp"
#include "gguf/gguf.hpp"
#include "gguf/raw_file.hpp"
#include "gguf/writer.hpp"

namespace inlay::fuzz {
namespace {

using gguf::ValueType;
using gguf::Writer;
using test::RawFile;

constexpr StatusCode kInvalid = StatusCode::kInvalidModel;
constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

using Bytes = std::vector<std::byte>;

Bytes small_file(const SmallModelOptions& options) {
  Writer writer;
  add_small_model(writer, options);
  add_small_spm(writer);
  return writer.finish();
}

/// The sound file with one key set, whether it was there or not.
Bytes with_key(const std::string& key, const std::function<void(Writer&)>& add) {
  const Bytes bytes = sound_file();
  const auto file = gguf::File::parse(bytes);
  Writer writer;
  for (const auto& [name, value] : file->metadata()) {
    if (name != key) writer.add(name, value);
  }
  add(writer);
  for (const gguf::Tensor& tensor : file->tensors()) {
    const std::span dims(tensor.dims.data(), static_cast<std::size_t>(tensor.n_dims));
    writer.add_tensor(tensor.name, tensor.format, dims, {tensor.data.begin(), tensor.data.end()});
  }
  return writer.finish();
}

template <class T>
Bytes with_number(const std::string& key, ValueType type, T value) {
  return with_key(key, [&](Writer& writer) { writer.add_raw(key, type, std::as_bytes(std::span(&value, 1))); });
}

template <class T>
Bytes with_array(const std::string& key, ValueType element_type, std::vector<T> values) {
  RawFile encoded;
  encoded.u32(static_cast<std::uint32_t>(element_type)).u64(values.size());
  for (const T value : values) encoded.number(value);
  return with_key(key, [&](Writer& writer) { writer.add_raw(key, ValueType::kArray, encoded.bytes()); });
}

Bytes with_strings(const std::string& key, const std::vector<std::string>& values) {
  return with_key(key, [&](Writer& writer) { writer.add_strings(key, values); });
}

Bytes one_tensor(const std::vector<std::uint64_t>& dims, std::uint32_t type, std::uint64_t offset) {
  return RawFile().header(1, 0).tensor("t", dims, type, offset).align(32).zeros(256).bytes();
}

Bytes nested_arrays(int depth) {
  RawFile raw;
  raw.header(0, 1).key("deep", ValueType::kArray);
  for (int i = 0; i < depth; ++i) raw.u32(static_cast<std::uint32_t>(ValueType::kArray)).u64(1);
  return raw.u32(0).u64(1).zeros(1).bytes();
}

Bytes string_in_array(std::uint64_t length) {
  RawFile raw;
  raw.header(0, 1).key("texts", ValueType::kArray).u32(static_cast<std::uint32_t>(ValueType::kString)).u64(2);
  return raw.string("ok").u64(length).zeros(16).bytes();
}

void append(std::vector<HostileFile>& files, std::vector<HostileFile> more) {
  for (HostileFile& file : more) files.push_back(std::move(file));
}

std::vector<HostileFile> wrapped_sizes() {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  return {
      {"a size that its padding wraps around to 0", one_tensor({(1ULL << 62U) - 1}, 0, 0), kInvalid,
       "tensor \"t\": size of F32"},
      {"blocks whose bytes wrap around to less than one", one_tensor({32, kMax / 34 + 1}, 8, 0), kInvalid,
       "tensor \"t\": size of Q8_0"},
      {"an end of data that wraps around behind a second tensor",
       RawFile().header(2, 0).tensor("a", {8}, 0, 0).tensor("b", {8}, 0, kMax - 63).align(32).zeros(64).bytes(),
       kInvalid, "tensor \"b\": data: expected to end by byte 64"},
      {"a string of an array whose end wraps around", string_in_array(kMax - 8), kInvalid,
       "metadata key \"texts\": string length: expected at most the 16 bytes left"},
      {"arrays nested a thousand deep", nested_arrays(1000), kUnsupported, "metadata key \"deep\": an array of arrays"},
      {"an alignment that is no integer", with_number("general.alignment", ValueType::kFloat32, 32.0F), kInvalid,
       "metadata key \"general.alignment\": expected an integer, found float32"},
  };
}

std::vector<HostileFile> confused_elements() {
  const std::string scores = "tokenizer.ggml.scores";
  const std::string types = "tokenizer.ggml.token_type";
  const std::string merges = "tokenizer.ggml.merges";
  const std::string tokens = "tokenizer.ggml.tokens";
  const std::vector<std::string> words(12, "word");
  return {
      {"scores of one byte each", with_array(scores, ValueType::kUint8, std::vector<std::uint8_t>(12)), kInvalid,
       "\"tokenizer.ggml.scores\": expected array of float32 or float64, found array of uint8"},
      {"scores that are integers", with_array(scores, ValueType::kInt32, std::vector<std::int32_t>(12)), kInvalid,
       "\"tokenizer.ggml.scores\": expected array of float32 or float64, found array of int32"},
      {"scores that are strings", with_strings(scores, words), kInvalid,
       "\"tokenizer.ggml.scores\": expected array of float32 or float64, found array of string"},
      {"one score for all", with_number(scores, ValueType::kFloat32, 0.0F), kInvalid,
       "\"tokenizer.ggml.scores\": expected array of float32 or float64, found float32"},
      {"fewer scores than tokens", with_array(scores, ValueType::kFloat32, std::vector<float>(11)), kInvalid,
       "tokenizer.ggml.scores: expected 12 entries, found 11"},
      {"types that are floats", with_array(types, ValueType::kFloat32, std::vector<float>(12)), kInvalid,
       "\"tokenizer.ggml.token_type\": expected array of an integer type, found array of float32"},
      {"types that are strings", with_strings(types, words), kInvalid,
       "\"tokenizer.ggml.token_type\": expected array of an integer type, found array of string"},
      {"types that are truth values", with_array(types, ValueType::kBool, std::vector<std::uint8_t>(12)), kInvalid,
       "\"tokenizer.ggml.token_type\": expected array of an integer type, found array of bool"},
      {"types of which 32 bits would do",
       with_array(types, ValueType::kInt64, std::vector<std::int64_t>(12, 1LL << 32U)), kInvalid,
       "tokenizer.ggml.token_type: entry 0: expected 0 to 6, found 4294967296"},
      {"merges that are numbers", with_array(merges, ValueType::kInt32, std::vector<std::int32_t>(3)), kInvalid,
       "\"tokenizer.ggml.merges\": expected array of string, found array of int32"},
      {"tokens that are bytes", with_array(tokens, ValueType::kUint8, std::vector<std::uint8_t>(12)), kInvalid,
       "\"tokenizer.ggml.tokens\": expected array of string, found array of uint8"},
      {"a token of a megabyte",
       with_strings(tokens,
                    {"<unk>", "<s>", "</s>", std::string(1U << 20U, 'x'), "h", "e", "l", "o", "he", "ll", "a", "b"}),
       kInvalid, "tokenizer.ggml.tokens: entry 3: expected at most 8192 bytes, found 1048576"},
  };
}

std::vector<HostileFile> ids_outside() {
  std::vector<HostileFile> files;
  for (const char* const name : {"bos", "eos", "eot", "eom", "unknown", "padding"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    files.push_back({key + " is the vocabulary's size", with_number(key, ValueType::kUint32, std::uint32_t{12}),
                     kInvalid, key + ": expected an id below the vocabulary's size 12, found 12"});
    files.push_back({key + " of which 32 bits are an id",
                     with_number(key, ValueType::kInt64, (std::int64_t{1} << 32U) + 2), kInvalid,
                     key + ": expected an id below the vocabulary's size 12, found 4294967298"});
    files.push_back({key + " is -1", with_number(key, ValueType::kInt32, std::int32_t{-1}), kInvalid,
                     key + ": expected an id below the vocabulary's size 12, found -1"});
  }
  files.push_back({"more tokens than the embedding has rows", small_file({.vocab_rows = 11}), kInvalid,
                   "tensor \"token_embd.weight\": expected a row for each of the 12 tokens, found 11"});
  return files;
}

std::vector<HostileFile> absurd_shapes() {
  std::vector<HostileFile> files;
  for (const char* const name :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "rope.dimension_count"}) {
    const std::string key = std::string("llama.") + name;
    files.push_back({key + " of which 32 bits are sound",
                     with_number(key, ValueType::kUint64, (std::uint64_t{1} << 32U) + 2), kInvalid,
                     "metadata \"" + key + "\": is 4294967298, expected "});
    files.push_back({key + " is negative", with_number(key, ValueType::kInt32, std::int32_t{-2}), kInvalid,
                     "metadata \"" + key + "\": is -2, expected "});
    files.push_back({key + " is beyond 2^63", with_number(key, ValueType::kUint64, ~std::uint64_t{0}), kInvalid,
                     "metadata key \"" + key + "\": expected an integer, found a number outside"});
  }
  files.push_back({"an embedding that is longer than its tensors",
                   with_number("llama.embedding_length", ValueType::kUint32, std::uint32_t{16}), kInvalid,
                   "tensor \"token_embd.weight\": expected [12, 16], found [12, 8]"});
  files.push_back({"more layers than tensors",
                   with_number("llama.block_count", ValueType::kUint32, std::uint32_t{4096}), kInvalid,
                   "tensor \"blk.1.attn_norm.weight\": is missing"});
  return files;
}

}  // namespace

Bytes sound_file() { return small_file({}); }

std::vector<HostileFile> hostile_files() {
  std::vector<HostileFile> files = wrapped_sizes();
  append(files, confused_elements());
  append(files, ids_outside());
  append(files, absurd_shapes());
  return files;
}

}  // namespace inlay::fuzz
