// C API: models and their vocabulary.
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <inlay/inlay.hpp>

#include "call.hpp"
#include "callbacks.hpp"
#include "handles.hpp"

namespace {

using inlay::ModelOptions;
using inlay::Result;
using inlay::Status;
using inlay::StatusCode;
using inlay::capi::call;
using inlay::capi::check_buffer;
using inlay::capi::check_input;
using inlay::capi::check_output;
using inlay::capi::convert_parallel_for;
using inlay::capi::convert_progress;
using inlay::capi::require;
using inlay::capi::write_array;
using inlay::capi::write_struct;

inlay_model_options default_model_options() noexcept {
  const ModelOptions defaults;
  inlay_model_options options = {};
  options.device = static_cast<inlay_device_kind>(defaults.device);
  options.device_index = defaults.device_index;
  options.threads = defaults.threads;
  options.batch_rows = defaults.batch_rows;
  options.kv_format = static_cast<inlay_kv_format>(defaults.kv_format);
  options.weight_layout = static_cast<inlay_weight_layout>(defaults.weight_layout);
  return options;
}

inlay::LogCallback convert_log(inlay_log_fn function, void* user_data) {
  if (function == nullptr) return {};
  return [function, user_data](inlay::LogLevel level, std::string_view message) {
    function(user_data, static_cast<inlay_log_level>(level), message.data(), message.size());
  };
}

inlay::HostAllocator convert_allocator(const inlay_model_options& options) {
  inlay::HostAllocator allocator;
  void* const user_data = options.allocator_user_data;
  if (options.allocate != nullptr) {
    allocator.allocate = [allocate = options.allocate, user_data](std::size_t size, std::size_t alignment) {
      return allocate(user_data, size, alignment);
    };
  }
  if (options.release != nullptr) {
    allocator.release = [release = options.release, user_data](void* memory, std::size_t size, std::size_t alignment) {
      release(user_data, memory, size, alignment);
    };
  }
  return allocator;
}

Result<inlay::ModelSource> convert(const inlay_model_source* given) {
  const auto source = inlay::capi::read_struct(given, inlay_model_source{});
  if (!source.ok()) return source.status();
  if ((source->data != nullptr) == (source->read != nullptr)) {
    return Status(StatusCode::kInvalidArgument, "inlay_model_source: exactly one of data and read must be set");
  }
  if (source->data != nullptr) {
    return inlay::ModelSource(std::span(static_cast<const std::byte*>(source->data), source->size));
  }
  inlay::FileReader reader;
  reader.size = source->size;
  reader.read = [read = source->read, user_data = source->read_user_data](std::uint64_t offset,
                                                                          std::span<std::byte> out) {
    return static_cast<inlay::Flow>(read(user_data, offset, out.data(), out.size()));
  };
  return inlay::ModelSource(std::move(reader));
}

Result<ModelOptions> convert(const inlay_model_options* given) {
  auto options = inlay::capi::read_struct(given, default_model_options());
  if (!options.ok()) return options.status();
  if (options->device != INLAY_DEVICE_CPU && options->device != INLAY_DEVICE_CUDA) {
    return Status(StatusCode::kInvalidArgument,
                  "inlay_model_options.device: " + std::to_string(options->device) + " is no device kind");
  }
  ModelOptions converted;
  converted.device = static_cast<inlay::DeviceKind>(options->device);
  converted.device_index = options->device_index;
  converted.threads = options->threads;
  converted.batch_rows = options->batch_rows;
  converted.kv_format = static_cast<inlay::KvFormat>(options->kv_format);
  converted.weight_layout = static_cast<inlay::WeightLayout>(options->weight_layout);
  if (options->cpu_isa != nullptr) converted.cpu_isa = options->cpu_isa;
  converted.progress = convert_progress(options->progress, options->progress_user_data);
  converted.log = convert_log(options->log, options->log_user_data);
  converted.parallel_for = convert_parallel_for(options->parallel_for, options->parallel_for_user_data);
  converted.allocator = convert_allocator(*options);
  return converted;
}

Status open_model(const inlay::ModelSource& source, const inlay_model_options* options, inlay_model** model) {
  const auto converted = convert(options);
  INLAY_CAPI_TRY(converted.status());
  auto opened = inlay::Model::open(source, *converted);
  INLAY_CAPI_TRY(opened.status());
  *model = new inlay_model{*std::move(opened)};
  return {};
}

Status estimate_model(const inlay::ModelSource& source, std::int32_t context_length, const inlay_model_options* options,
                      inlay_memory_estimate* estimate) {
  INLAY_CAPI_TRY(check_output(estimate, "estimate"));
  const auto converted = convert(options);
  INLAY_CAPI_TRY(converted.status());
  const auto bytes = inlay::Model::estimate(source, context_length, *converted);
  INLAY_CAPI_TRY(bytes.status());
  inlay_memory_estimate values = {};
  values.weight_bytes = bytes->weight_bytes;
  values.activation_bytes = bytes->activation_bytes;
  values.kv_bytes = bytes->kv_bytes;
  write_struct(values, estimate);
  return {};
}

Status check_flags(std::uint32_t flags, std::uint32_t known) {
  if ((flags & ~known) == 0) return {};
  return {StatusCode::kInvalidArgument, "flags: " + std::to_string(flags & ~known) + " is not a flag of this function"};
}

inlay::RenderSpecial render_special(std::uint32_t flags) {
  return (flags & INLAY_RENDER_SPECIAL) != 0 ? inlay::RenderSpecial::kYes : inlay::RenderSpecial::kNo;
}

}  // namespace

void inlay_model_options_init(inlay_model_options* options, size_t struct_size) {
  inlay::capi::init_struct(options, struct_size, default_model_options());
}

inlay_status inlay_model_open(const char* path, const inlay_model_options* options, inlay_model** model,
                              inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{path, "path"}, {model, "model"}}));
    return open_model(path, options, model);
  });
}

void inlay_model_source_init(inlay_model_source* source, size_t struct_size) {
  inlay::capi::init_struct(source, struct_size, inlay_model_source{});
}

inlay_status inlay_model_open_source(const inlay_model_source* source, const inlay_model_options* options,
                                     inlay_model** model, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{source, "source"}, {model, "model"}}));
    const auto converted = convert(source);
    INLAY_CAPI_TRY(converted.status());
    return open_model(*converted, options, model);
  });
}

void inlay_model_close(inlay_model* model) { delete model; }

inlay_status inlay_model_estimate(const char* path, int32_t context_length, const inlay_model_options* options,
                                  inlay_memory_estimate* estimate, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{path, "path"}}));
    return estimate_model(path, context_length, options, estimate);
  });
}

inlay_status inlay_model_estimate_source(const inlay_model_source* source, int32_t context_length,
                                         const inlay_model_options* options, inlay_memory_estimate* estimate,
                                         inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{source, "source"}}));
    const auto converted = convert(source);
    INLAY_CAPI_TRY(converted.status());
    return estimate_model(*converted, context_length, options, estimate);
  });
}

inlay_status inlay_model_get_info(const inlay_model* model, inlay_model_info* info, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_output(info, "info"));
    const inlay::ModelInfo& source = model->value.info();
    const inlay::Tokenizer tokenizer = model->value.tokenizer();
    inlay_model_info values = {};
    values.architecture = source.architecture.c_str();
    values.name = source.name.c_str();
    values.quantization = source.quantization.c_str();
    values.parameters = source.parameters;
    values.file_bytes = source.file_bytes;
    values.vocab_size = source.vocab_size;
    values.context_length = source.context_length;
    values.n_layers = source.n_layers;
    values.embedding_length = source.embedding_length;
    values.feed_forward_length = source.feed_forward_length;
    values.n_heads = source.n_heads;
    values.n_kv_heads = source.n_kv_heads;
    values.head_size = source.head_size;
    values.bos_token = tokenizer.bos();
    values.eos_token = tokenizer.eos();
    values.threads = model->value.threads();
    write_struct(values, info);
    return {};
  });
}

inlay_status inlay_model_get_device(const inlay_model* model, inlay_device_info* info, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_output(info, "info"));
    inlay::capi::write_device(model->value.device(), info);
    return {};
  });
}

inlay_status inlay_model_metadata_count(const inlay_model* model, size_t* count, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}, {count, "count"}}));
    const auto keys = model->value.metadata_keys();
    INLAY_CAPI_TRY(keys.status());
    *count = keys->size();
    return {};
  });
}

inlay_status inlay_model_metadata_key(const inlay_model* model, size_t index, char* out, size_t capacity, size_t* size,
                                      inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    const auto keys = model->value.metadata_keys();
    INLAY_CAPI_TRY(keys.status());
    if (index >= keys->size()) {
      return {StatusCode::kNotFound,
              "metadata key " + std::to_string(index) + ": there are " + std::to_string(keys->size())};
    }
    return write_array(std::span<const char>((*keys)[index]), out, capacity, size);
  });
}

inlay_status inlay_model_metadata(const inlay_model* model, const char* key, size_t key_size, char* out,
                                  size_t capacity, size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_input(key, key_size, "key"));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    const auto text = model->value.metadata(std::string_view(key, key_size));
    INLAY_CAPI_TRY(text.status());
    return write_array(std::span<const char>(*text), out, capacity, size);
  });
}

inlay_status inlay_tokenize(const inlay_model* model, const char* text, size_t text_size, uint32_t flags,
                            inlay_token* out, size_t capacity, size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_input(text, text_size, "text"));
    INLAY_CAPI_TRY(check_flags(flags, INLAY_ADD_SPECIAL | INLAY_PARSE_SPECIAL));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    inlay::EncodeOptions options;
    options.add_special = (flags & INLAY_ADD_SPECIAL) != 0 ? inlay::AddSpecial::kYes : inlay::AddSpecial::kNo;
    options.parse_special = (flags & INLAY_PARSE_SPECIAL) != 0 ? inlay::ParseSpecial::kYes : inlay::ParseSpecial::kNo;
    const auto tokens = model->value.tokenizer().encode(std::string_view(text, text_size), options);
    INLAY_CAPI_TRY(tokens.status());
    return write_array(std::span<const inlay_token>(*tokens), out, capacity, size);
  });
}

inlay_status inlay_detokenize(const inlay_model* model, const inlay_token* tokens, size_t n_tokens, uint32_t flags,
                              char* out, size_t capacity, size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_input(tokens, n_tokens, "tokens"));
    INLAY_CAPI_TRY(check_flags(flags, INLAY_RENDER_SPECIAL));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    const std::vector<inlay_token> copy(tokens, tokens + n_tokens);
    const auto text = model->value.tokenizer().decode(copy, render_special(flags));
    INLAY_CAPI_TRY(text.status());
    return write_array(std::span<const char>(*text), out, capacity, size);
  });
}

inlay_status inlay_token_piece(const inlay_model* model, inlay_token token, uint32_t flags, char* out, size_t capacity,
                               size_t* size, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}}));
    INLAY_CAPI_TRY(check_flags(flags, INLAY_RENDER_SPECIAL));
    INLAY_CAPI_TRY(check_buffer(out, capacity, size));
    const auto text = model->value.tokenizer().piece(token, render_special(flags));
    INLAY_CAPI_TRY(text.status());
    return write_array(std::span<const char>(*text), out, capacity, size);
  });
}

inlay_status inlay_token_is_end(const inlay_model* model, inlay_token token, int32_t* is_end, inlay_error** error) {
  return call(error, [&]() -> Status {
    INLAY_CAPI_TRY(require({{model, "model"}, {is_end, "is_end"}}));
    *is_end = model->value.tokenizer().is_end_of_generation(token) ? 1 : 0;
    return {};
  });
}
