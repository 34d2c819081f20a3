// What the C API's fuzz target calls with: checked errors, structs of any size, and two models that live as long as the
// process.
#pragma once

#include <inlay.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "fuzz/small_model.hpp"
#include "support/temp_dir.hpp"

namespace inlay::fuzz {

/// The error of one call. Half of the callers do not want it.
class Error {
 public:
  explicit Error(Input& input) : wanted_(input.below(2) == 0) {}
  ~Error() { inlay_error_free(error_); }
  Error(const Error&) = delete;
  Error& operator=(const Error&) = delete;

  inlay_error** out() { return wanted_ ? &error_ : nullptr; }

  /// The status of the call, which fits the error and is one that a caller may see.
  inlay_status check(inlay_status status) {
    demand(status >= INLAY_OK && status <= INLAY_BUFFER_TOO_SMALL, "a status is one of the list");
    demand(status != INLAY_INTERNAL, "no internal failure");
    if (!wanted_) return status;
    demand((error_ != nullptr) == (status != INLAY_OK), "an error comes with a failure");
    if (error_ != nullptr) {
      demand(inlay_error_status(error_) == status, "an error has the status of its call");
      demand(inlay_error_message(error_)[0] != '\0', "an error says what failed");
      inlay_error_free(error_);
      error_ = nullptr;
    }
    return status;
  }

 private:
  bool wanted_;
  inlay_error* error_ = nullptr;
};

/// An option struct as a caller of another version may pass it: in a block of exactly its own size, so that the
/// sanitizer sees a read behind its end.
template <class Struct>
class SizedStruct {
 public:
  /// `first_size` as in capi/handles.hpp. Mostly the struct of this version.
  SizedStruct(Input& input, const Struct& values, std::size_t first_size) {
    const std::array<std::size_t, 7> odd_sizes = {
        0, first_size - 1, first_size, sizeof(Struct) + 1, sizeof(Struct) + 64, 4097, SIZE_MAX};
    const std::size_t kind = input.below(32);
    std::size_t size = kind < odd_sizes.size() ? odd_sizes[kind] : sizeof(Struct);
    is_valid_ = size >= first_size && size <= 4096;
    bytes_.resize(is_valid_ ? size : sizeof(std::size_t));
    std::memcpy(bytes_.data(), &values, std::min(bytes_.size(), sizeof(Struct)));
    std::memcpy(bytes_.data(), &size, sizeof size);
    if (is_valid_ && size > sizeof(Struct) && input.one_in(2)) {
      bytes_.back() = 1;
      is_valid_ = false;
    }
  }

  [[nodiscard]] const Struct* get() const { return reinterpret_cast<const Struct*>(bytes_.data()); }
  [[nodiscard]] Struct* get() { return reinterpret_cast<Struct*>(bytes_.data()); }
  /// Whether the library takes a struct of this size.
  [[nodiscard]] bool is_valid() const { return is_valid_; }

 private:
  std::vector<std::uint8_t> bytes_;
  bool is_valid_ = false;
};

/// A model of random weights; `vocab_size` counts the rows of its embedding, of which the tokenizer may know fewer.
class TestModel {
 public:
  TestModel(const SmallModelOptions& options, const char* isa, inlay_kv_format kv_format) {
    gguf::Writer writer;
    add_small_model(writer, options);
    add_small_spm(writer);
    const test::TempDir dir;
    const std::string path = dir.write("model.gguf", writer.finish());
    inlay_model_options model_options;
    inlay_model_options_init(&model_options, sizeof model_options);
    model_options.threads = 1;
    model_options.batch_rows = 16;
    model_options.cpu_isa = isa;
    model_options.kv_format = kv_format;
    if (inlay_model_open(path.c_str(), &model_options, &handle_, nullptr) == INLAY_UNSUPPORTED) {
      model_options.cpu_isa = "generic";  // an older machine
      static_cast<void>(inlay_model_open(path.c_str(), &model_options, &handle_, nullptr));
    }
    demand(handle_ != nullptr, "the small model opens");
    inlay_model_info info;
    info.struct_size = sizeof info;
    demand(inlay_model_get_info(handle_, &info, nullptr) == INLAY_OK, "a model has its info");
    vocab_size_ = info.vocab_size;
  }
  ~TestModel() { inlay_model_close(handle_); }
  TestModel(const TestModel&) = delete;
  TestModel& operator=(const TestModel&) = delete;

  [[nodiscard]] const inlay_model* handle() const { return handle_; }
  [[nodiscard]] inlay_token vocab_size() const { return vocab_size_; }

 private:
  inlay_model* handle_ = nullptr;
  inlay_token vocab_size_ = 0;
};

/// Neither is the kernels of AMX, whose sums over prompts differ from those over single tokens.
inline const TestModel& test_model(std::size_t index) {
  static const TestModel kFloats({.layers = 2, .vocab_rows = 12}, "generic", INLAY_KV_F16);
  static const TestModel kBlocks({.embedding_length = 32,
                                  .n_heads = 1,
                                  .feed_forward_length = 32,
                                  .vocab_rows = 14,
                                  .format = Format::kQ8_0,
                                  .has_biases = true},
                                 "avx2", INLAY_KV_Q8_0);
  return index == 0 ? kFloats : kBlocks;
}

}  // namespace inlay::fuzz
