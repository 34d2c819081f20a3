#include <inlay/quantize.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/guard.hpp"
#include "base/mapped_file.hpp"
#include "base/system.hpp"
#include "base/try.hpp"
#include "gguf/gguf.hpp"
#include "gguf/writer.hpp"
#include "quant/encode.hpp"
#include "quant/reference.hpp"
#include "quantize/mix.hpp"
#include "quantize/parallel.hpp"

namespace inlay {
namespace {

constexpr std::int32_t kMaxThreads = 1024;
constexpr std::uint32_t kQuantizationVersion = 2;       // of the block layouts, since 2023
constexpr std::size_t kChunk = 16384;                   // weights that a thread decodes and encodes at a time
constexpr std::size_t kWindow = std::size_t{1} << 20U;  // weights a thread between two writes to the file
static_assert(kChunk % kSuperBlock == 0 && kWindow % kChunk == 0);

constexpr std::string_view kFileTypeKey = "general.file_type";
constexpr std::string_view kVersionKey = "general.quantization_version";

std::string type_list() {
  std::string list;
  for (const char* name : quantize_types()) list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

/// The positive integer of a key of the file's architecture; nullopt when there is none.
Result<std::optional<std::int64_t>> arch_integer(const gguf::File& file, std::string_view key) {
  INLAY_TRY_ASSIGN(const auto arch, file.find_string("general.architecture"));
  if (!arch) return std::optional<std::int64_t>();
  const std::string name = std::string(*arch) + "." + std::string(key);
  const gguf::Value* value = file.find(name);  // some architectures have an array here: a number per layer
  if (value == nullptr || value->type == gguf::ValueType::kArray) return std::optional<std::int64_t>();
  return file.find_integer(name);
}

Result<MixModel> read_mix_model(const gguf::File& file) {
  constexpr std::int64_t kMaxCount = 1 << 20;
  INLAY_TRY_ASSIGN(const auto n_layers, arch_integer(file, "block_count"));
  INLAY_TRY_ASSIGN(const auto n_heads, arch_integer(file, "attention.head_count"));
  INLAY_TRY_ASSIGN(const auto n_kv_heads, arch_integer(file, "attention.head_count_kv"));
  MixModel model;
  model.n_layers = static_cast<int>(std::clamp<std::int64_t>(n_layers.value_or(0), 0, kMaxCount));
  const std::int64_t heads = std::clamp<std::int64_t>(n_heads.value_or(1), 1, kMaxCount);
  model.heads_per_kv_head = static_cast<int>(heads / std::clamp<std::int64_t>(n_kv_heads.value_or(heads), 1, heads));
  model.has_output = file.find_tensor("output.weight") != nullptr;
  return model;
}

std::uint64_t count_weights(const gguf::Tensor& tensor) {
  std::uint64_t weights = 1;  // the reader has checked that the product fits
  for (const std::uint64_t dim : tensor.dims) weights *= dim;
  return weights;
}

class Quantizer {
 public:
  Quantizer(const gguf::File& file, const Mix& mix, const QuantizeOptions& options)
      : file_(file), mix_(mix), options_(options) {
    n_parts_ = options.threads != 0 ? options.threads : available_cores();
    for (const gguf::Tensor& tensor : file.tensors()) total_ += count_weights(tensor);
  }

  Result<void> run(const std::string& out_path) {
    INLAY_TRY_ASSIGN(const MixModel model, read_mix_model(file_));
    gguf::Writer header;
    add_metadata(header);
    std::vector<Format> formats;
    formats.reserve(file_.tensors().size());
    for (const gguf::Tensor& tensor : file_.tensors()) {
      formats.push_back(format_in_mix(mix_, model, tensor.name, tensor.n_dims, tensor.dims[0]).value_or(tensor.format));
      header.declare_tensor(tensor.name, formats.back(),
                            std::span(tensor.dims).first(static_cast<std::size_t>(tensor.n_dims)));
    }
    INLAY_TRY_ASSIGN(gguf::TensorStream out, header.begin(out_path));
    INLAY_TRY(report());
    for (std::size_t i = 0; i < formats.size(); ++i) INLAY_TRY(convert(file_.tensors()[i], formats[i], out));
    return out.finish();
  }

 private:
  void add_metadata(gguf::Writer& header) const {
    for (const auto& [key, value] : file_.metadata()) {
      if (key != kFileTypeKey && key != kVersionKey) header.add(key, value);
    }
    header.add_uint32(kFileTypeKey, mix_.file_type);
    header.add_uint32(kVersionKey, kQuantizationVersion);
  }

  Result<void> convert(const gguf::Tensor& tensor, Format format, gguf::TensorStream& out) {
    // Rows are whole blocks in both formats, so that a tensor is one chain of blocks, which may be cut anywhere.
    const std::uint64_t weights = count_weights(tensor);
    const std::size_t window = kWindow * static_cast<std::size_t>(n_parts_);
    for (std::uint64_t begin = 0; begin < weights; begin += window) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(window, weights - begin));
      const auto source = tensor.data.subspan(row_bytes(tensor.format, static_cast<std::size_t>(begin)),
                                              row_bytes(tensor.format, count));
      if (format == tensor.format) {
        INLAY_TRY(out.write(source));
      } else {
        encode(tensor.format, source, format, count);
        INLAY_TRY(out.write(std::span(encoded_).first(row_bytes(format, count))));
      }
      done_ += count;
      INLAY_TRY(report());
    }
    return {};
  }

  /// Fills encoded_ with `weights` weights.
  void encode(Format source_format, std::span<const std::byte> source, Format format, std::size_t weights) {
    const std::size_t bytes = row_bytes(format, weights);
    if (encoded_.size() < bytes) encoded_.resize(bytes);
    const auto chunks = (weights + kChunk - 1) / kChunk;
    const auto n_parts = static_cast<std::int32_t>(std::min<std::size_t>(static_cast<std::size_t>(n_parts_), chunks));
    values_.resize(std::max(values_.size(), static_cast<std::size_t>(n_parts) * kChunk));
    std::atomic<std::size_t> next = 0;
    run_parts(options_.parallel_for, n_parts, [&](std::int32_t part) {
      float* values = values_.data() + static_cast<std::size_t>(part) * kChunk;
      for (std::size_t chunk = next++; chunk < chunks; chunk = next++) {
        const std::size_t begin = chunk * kChunk;
        const std::size_t count = std::min(kChunk, weights - begin);
        decode_row(source_format, source.data() + row_bytes(source_format, begin), count, values);
        encode_row(format, values, count, encoded_.data() + row_bytes(format, begin));
      }
    });
  }

  [[nodiscard]] Result<void> report() const {
    const double fraction = total_ == 0 ? 1.0 : static_cast<double>(done_) / static_cast<double>(total_);
    if (options_.progress && options_.progress(static_cast<float>(fraction)) == Flow::kStop) {
      return Status(StatusCode::kCancelled, "quantize: stopped by the progress callback");
    }
    return {};
  }

  const gguf::File& file_;
  const Mix& mix_;
  const QuantizeOptions& options_;
  std::int32_t n_parts_ = 1;
  std::uint64_t total_ = 0;         // weights
  std::uint64_t done_ = 0;          // of them
  std::vector<float> values_;       // [n_parts, kChunk]
  std::vector<std::byte> encoded_;  // a window
};

Result<void> quantize_file(const std::string& in_path, const std::string& out_path, const QuantizeOptions& options) {
  const Mix* mix = find_mix(options.type);
  if (mix == nullptr) {
    return Status(StatusCode::kInvalidArgument,
                  "type \"" + options.type + "\": is not known; expected one of " + type_list());
  }
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return Status(StatusCode::kInvalidArgument, "threads: " + std::to_string(options.threads) +
                                                    " is out of range, expected 0 to " + std::to_string(kMaxThreads));
  }
  if (out_path.find('\0') != std::string::npos) {
    return Status(StatusCode::kInvalidArgument,
                  "file \"" + std::string(out_path.c_str()) + "\": the path holds a zero byte");
  }
  INLAY_TRY_ASSIGN(const MappedFile input, MappedFile::open(in_path));
  const auto file = gguf::File::parse(input.bytes());
  if (!file.ok()) return Status(file.code(), "file \"" + in_path + "\": " + file.status().message());
  return Quantizer(*file, *mix, options).run(out_path);
}

}  // namespace

Result<void> quantize(const std::string& in_path, const std::string& out_path,
                      const QuantizeOptions& options) noexcept {
  return guard([&] { return quantize_file(in_path, out_path, options); });
}

}  // namespace inlay
