// A model file, opened and ready to run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <inlay/device.hpp>
#include <inlay/export.hpp>
#include <inlay/result.hpp>
#include <inlay/tokenizer.hpp>
#include <inlay/types.hpp>

namespace inlay {

/// Where the CPU's weights are while a model is loaded.
enum class WeightLayout : std::int32_t {
  kRepacked = 0,  ///< in memory, in the order in which the kernels read them: fastest; as many bytes as in the file
  kAsInFile = 1,  ///< in the memory-mapped file: processes share them and loading costs little; a forward pass reorders
                  ///< them again and again
};

/// How a model is opened.
struct ModelOptions {
  DeviceKind device = DeviceKind::kCpu;  ///< where the model runs
  std::int32_t device_index = 0;         ///< among the devices of its kind
  std::int32_t threads =
      0;  ///< CPU threads of a forward pass, the caller's included, 0..1024; 0: one per core of the process
  ParallelFor
      parallel_for{};  ///< the host's threads instead of inlay's own; `threads` then says into how many parts to split
  std::int32_t batch_rows =
      512;  ///< most token rows of one forward pass, 1..4096; longer prompts run in chunks of this size
  /// "": the fastest; or the kernels to use: "generic", "avx2", "avx512", "amx"; kUnsupported if missing. On Linux, a
  /// process that may use AMX asks the system for it the first time that devices are looked for: from then on the
  /// system wants alternate signal stacks to have room for its registers (getauxval(AT_MINSIGSTKSZ) says how much).
  std::string cpu_isa{};
  WeightLayout weight_layout = WeightLayout::kRepacked;  ///< the results are the same, bit for bit
  KvFormat kv_format = KvFormat::kF16;  ///< of the KV cache; kQ8_0: kUnsupported if the head size is no multiple of 32
  ProgressCallback progress{};          ///< of opening; kStop ends it with kCancelled
  LogCallback log{};                    ///< may be called from any thread that is inside a call on this model
};

/// Sizes and names read from the file. Lengths count tokens.
struct ModelInfo {
  std::string architecture;              ///< "llama"
  std::string name;                      ///< general.name, may be empty
  std::string quantization;              ///< the format that holds most weight bytes, "Q4_K"
  std::uint64_t parameters = 0;          ///< number of weights
  std::uint64_t file_bytes = 0;          ///< size of the file
  std::int32_t vocab_size = 0;           ///< number of token ids
  std::int32_t context_length = 0;       ///< what the model was trained for
  std::int32_t n_layers = 0;             ///< each with attention and feed-forward
  std::int32_t embedding_length = 0;     ///< values of a token between layers
  std::int32_t feed_forward_length = 0;  ///< values inside a feed-forward step
  std::int32_t n_heads = 0;              ///< of queries
  std::int32_t n_kv_heads = 0;           ///< of keys and of values
  std::int32_t head_size = 0;            ///< values of a head
};

/// Bytes that a model and one session will take on the device, known before anything is loaded.
struct MemoryEstimate {
  std::uint64_t weight_bytes = 0;      ///< CPU: with pages of the mapped file
  std::uint64_t activation_bytes = 0;  ///< work buffers of a forward pass, once per model
  std::uint64_t kv_bytes = 0;          ///< KV cache of one session of `context_length` positions
  /// The sum of the three.
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return weight_bytes + activation_bytes + kv_bytes; }
};

/// A loaded model. A cheap handle: copies share the weights, which live until the last handle, session and tokenizer
/// is gone. Every call is thread-safe.
class INLAY_API Model {
 public:
  /// Opens a GGUF file (version 2 or 3). The file is memory-mapped and must not be changed while the model lives.
  /// kNotFound, kIoError, kInvalidModel, kUnsupported, kOutOfMemory, kCancelled, kInvalidArgument.
  [[nodiscard]] static Result<Model> open(const std::string& path, const ModelOptions& options = {}) noexcept;

  /// What `open` plus one session of `context_length` positions (0: the trained length) will take. Reads the header
  /// only.
  [[nodiscard]] static Result<MemoryEstimate> estimate(const std::string& path, std::int32_t context_length = 0,
                                                       const ModelOptions& options = {}) noexcept;

  /// What the file says. Lives as long as this handle.
  [[nodiscard]] const ModelInfo& info() const noexcept;
  /// The vocabulary, which may outlive the model.
  [[nodiscard]] Tokenizer tokenizer() const noexcept;
  /// The device that the model runs on, with the kernel table in use.
  [[nodiscard]] const DeviceInfo& device() const noexcept;
  /// CPU threads that a forward pass uses.
  [[nodiscard]] std::int32_t threads() const noexcept;

  class INLAY_LOCAL Impl;
  explicit Model(std::shared_ptr<Impl> impl) noexcept;                                ///< made by open
  [[nodiscard]] const std::shared_ptr<Impl>& impl() const noexcept { return impl_; }  ///< for the library itself

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace inlay
