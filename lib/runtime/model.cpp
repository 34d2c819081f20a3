#include <inlay/model.hpp>

#include <algorithm>
#include <map>
#include <string>

#include "base/guard.hpp"
#include "base/system.hpp"
#include "base/try.hpp"
#include "runtime/fingerprint.hpp"
#include "runtime/kv_pages.hpp"
#include "runtime/model_impl.hpp"
#include "runtime/registry.hpp"
#include "tokenizer/tokenizer.hpp"

namespace inlay {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxBatchRows = 4096;
constexpr float kProgressAfterTokenizer = 0.1F;  // the weights, which are read next, take the most time

Status invalid_option(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  return {StatusCode::kInvalidArgument, std::string("model option ") + name + ": " + std::to_string(value) +
                                            " is not in [" + std::to_string(low) + ", " + std::to_string(high) + "]"};
}

Result<ExecutorOptions> check_options(const ModelOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return invalid_option("threads", options.threads, 0, kMaxThreads);
  }
  if (options.batch_rows < 1 || options.batch_rows > kMaxBatchRows) {
    return invalid_option("batch_rows", options.batch_rows, 1, kMaxBatchRows);
  }
  if (options.kv_format != KvFormat::kF16 && options.kv_format != KvFormat::kQ8_0) {
    return invalid_option("kv_format", static_cast<std::int64_t>(options.kv_format), 0, 1);
  }
  if (options.weight_layout != WeightLayout::kRepacked && options.weight_layout != WeightLayout::kAsInFile) {
    return invalid_option("weight_layout", static_cast<std::int64_t>(options.weight_layout), 0, 1);
  }
  ExecutorOptions checked;
  checked.threads = options.threads > 0 ? options.threads : available_cores();
  checked.batch_rows = options.batch_rows;
  checked.parallel_for = options.parallel_for;
  checked.cpu_isa = options.cpu_isa;
  checked.weight_layout = options.weight_layout;
  checked.device_index = options.device_index;
  checked.kv_format = options.kv_format;
  return checked;
}

Result<const Backend*> choose_backend(DeviceKind kind) {
  const Backend* backend = find_backend(kind);
  if (backend != nullptr) return backend;
  return Status(StatusCode::kUnsupported, "model option device: this build of inlay has no backend of kind " +
                                              std::to_string(static_cast<int>(kind)));
}

Result<void> check_kv_format(const ModelSpec& spec, KvFormat format) {
  if (format != KvFormat::kQ8_0 || spec.head_size % kKvBlock == 0) return {};
  return Status(StatusCode::kUnsupported, "model option kv_format: q8_0 needs heads whose size is a multiple of " +
                                              std::to_string(kKvBlock) + ", found " + std::to_string(spec.head_size));
}

Result<void> check_allocator(const HostAllocator& allocator) {
  if (static_cast<bool>(allocator.allocate) == static_cast<bool>(allocator.release)) return {};
  return Status(StatusCode::kInvalidArgument, "model option allocator: one of its two functions is missing");
}

Status in_file(const ModelBytes& file, const Status& status) {
  return {status.code(), file.name() + ": " + status.message()};
}

/// A file and the plan made from it.
struct Opened {
  ModelBytes file;
  gguf::File gguf;
  Plan plan;
};

Result<Opened> make_plan_of(ModelBytes file) {
  auto parsed = gguf::File::parse(file.bytes());
  if (!parsed.ok()) return in_file(file, parsed.status());
  auto plan = make_plan(*parsed);
  if (!plan.ok()) return in_file(file, plan.status());
  return Opened{std::move(file), *std::move(parsed), *std::move(plan)};
}

/// Reads the front of the file, more and more of it until the header is there. What the plan holds of tensors may be
/// zeros.
Result<Opened> open_header(const ModelSource& source) {
  constexpr std::uint64_t kFront = std::uint64_t{4} << 20U;
  for (std::uint64_t n = kFront;; n *= 4) {
    INLAY_TRY_ASSIGN(ModelBytes file, ModelBytes::open_front(source, n));
    const std::uint64_t n_read = file.n_read();
    const bool is_whole = n_read == file.bytes().size();
    Result<Opened> opened = make_plan_of(std::move(file));
    if (is_whole || (opened.ok() && opened->gguf.header_bytes() <= n_read)) return opened;
  }
}

/// The format that holds most bytes of matrices.
std::string main_format(const Plan& plan) {
  std::map<Format, std::size_t> bytes;
  for (const Matrix& matrix : plan.tensors.matrices()) bytes[matrix.format] += matrix.bytes();
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return format_info(most->first).name;  // NOLINT(clang-analyzer-cplusplus.StringChecker): no unknown format gets here
}

ModelInfo make_info(const Opened& opened) {
  const ModelSpec& spec = opened.plan.spec;
  ModelInfo info;
  info.architecture = std::string(spec.arch->name);
  info.name = spec.name;
  info.quantization = main_format(opened.plan);
  for (const Matrix& matrix : opened.plan.tensors.matrices()) {
    info.parameters += static_cast<std::uint64_t>(matrix.rows) * static_cast<std::uint64_t>(matrix.cols);
  }
  for (const Vector& vector : opened.plan.tensors.vectors()) info.parameters += vector.values.size();
  info.file_bytes = opened.file.bytes().size();
  info.vocab_size = spec.vocab_size;
  info.context_length = spec.context_length;
  info.n_layers = spec.n_layers;
  info.embedding_length = spec.embedding_length;
  info.feed_forward_length = spec.feed_forward_length;
  info.n_heads = spec.n_heads;
  info.n_kv_heads = spec.n_kv_heads;
  info.head_size = spec.head_size;
  return info;
}

Result<void> check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec) {
  if (tokenizer.vocab_size() <= spec.vocab_size) return {};
  return Status(StatusCode::kInvalidModel, "tensor \"token_embd.weight\": expected a row for each of the " +
                                               std::to_string(tokenizer.vocab_size()) + " tokens, found " +
                                               std::to_string(spec.vocab_size));
}

/// Maps the executor's own progress into the part of the bar behind the tokenizer.
ProgressCallback remaining_progress(const ProgressCallback& progress) {
  if (!progress) return {};
  return [&progress](float fraction) {
    return progress(kProgressAfterTokenizer + (1.0F - kProgressAfterTokenizer) * fraction);
  };
}

}  // namespace

Result<std::shared_ptr<Model::Impl>> Model::Impl::open(const ModelSource& source, const ModelOptions& options) {
  INLAY_TRY(check_allocator(options.allocator));
  INLAY_TRY_ASSIGN(ExecutorOptions executor_options, check_options(options));
  INLAY_TRY_ASSIGN(const Backend* backend, choose_backend(options.device));
  INLAY_TRY_ASSIGN(DeviceInfo device, backend->choose_device(executor_options));
  auto impl = std::make_shared<Impl>(options.allocator);
  INLAY_TRY_ASSIGN(ModelBytes file, ModelBytes::open(source, &impl->allocator));
  INLAY_TRY_ASSIGN(Opened opened, make_plan_of(std::move(file)));
  INLAY_TRY(check_kv_format(opened.plan.spec, options.kv_format));
  impl->info = make_info(opened);
  impl->file_fingerprint = fingerprint(opened.gguf, opened.file.bytes());
  impl->file = std::move(opened.file);
  impl->gguf = std::move(opened.gguf);
  impl->plan = std::move(opened.plan);
  impl->device = std::move(device);
  impl->log = Logger(options.log);

  auto tokenizer = load_tokenizer(impl->gguf, static_cast<std::size_t>(impl->plan.spec.vocab_size));
  if (!tokenizer.ok()) return in_file(impl->file, tokenizer.status());
  impl->tokenizer = *std::move(tokenizer);
  const auto vocabulary = check_vocabulary(Tokenizer(impl->tokenizer), impl->plan.spec);
  if (!vocabulary.ok()) return in_file(impl->file, vocabulary.status());
  INLAY_TRY(report_progress(options.progress, kProgressAfterTokenizer));

  executor_options.progress = remaining_progress(options.progress);
  executor_options.may_release_file = impl->file.may_release();
  executor_options.allocator = &impl->allocator;
  INLAY_TRY_ASSIGN(impl->executor, backend->load(impl->plan, executor_options));
  executor_options.progress = {};
  impl->executor_options = std::move(executor_options);
  impl->log(LogLevel::kInfo, "opened " + impl->file.name() + ": " + impl->info.architecture + ", " +
                                 impl->info.quantization + ", on " + impl->device.name + " (" + impl->device.isa + ")");
  return impl;
}

Model::Model(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

Result<Model> Model::open(const ModelSource& source, const ModelOptions& options) noexcept {
  return guard([&]() -> Result<Model> {
    INLAY_TRY_ASSIGN(std::shared_ptr<Impl> impl, Impl::open(source, options));
    return Model(std::move(impl));
  });
}

Result<MemoryEstimate> Model::estimate(const ModelSource& source, std::int32_t context_length,
                                       const ModelOptions& options) noexcept {
  return guard([&]() -> Result<MemoryEstimate> {
    INLAY_TRY_ASSIGN(const ExecutorOptions executor_options, check_options(options));
    INLAY_TRY_ASSIGN(const Backend* backend, choose_backend(options.device));
    INLAY_TRY_ASSIGN(const Opened opened, open_header(source));
    INLAY_TRY(check_kv_format(opened.plan.spec, options.kv_format));
    if (context_length < 0) return invalid_option("context_length", context_length, 0, kMaxContextLength);
    if (context_length == 0) context_length = opened.plan.spec.context_length;
    return backend->estimate(opened.plan, std::min(context_length, kMaxContextLength), executor_options);
  });
}

const ModelInfo& Model::info() const noexcept { return impl_->info; }

Result<std::vector<std::string_view>> Model::metadata_keys() const noexcept {
  return guard([&]() -> Result<std::vector<std::string_view>> {
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : impl_->gguf.metadata()) keys.push_back(key);
    return keys;
  });
}

Result<std::string> Model::metadata(std::string_view key) const noexcept {
  return guard([&]() -> Result<std::string> {
    std::optional<std::string> text = impl_->gguf.find_text(key);
    if (text) return *std::move(text);
    return Status(StatusCode::kNotFound, "metadata key \"" + std::string(key) + "\": the file does not have it");
  });
}

Tokenizer Model::tokenizer() const noexcept { return Tokenizer(impl_->tokenizer); }
const DeviceInfo& Model::device() const noexcept { return impl_->device; }
std::int32_t Model::threads() const noexcept { return impl_->executor_options.threads; }

}  // namespace inlay
