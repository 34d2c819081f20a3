// A model file, opened and ready to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

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

/// A model file that the host reads: from an archive, a network, an encrypted store.
struct FileReader {
  std::uint64_t size = 0;  ///< of the file, in bytes
  /// Fills `out` with the bytes from `offset` on; kStop: they cannot be had, and the call ends with kIoError. Never
  /// asks beyond `size`. On the calling thread, during the call only.
  std::function<Flow(std::uint64_t offset, std::span<std::byte> out)> read{};
};

/// Where a GGUF file (version 2 or 3) is:
///   a path               the file is memory-mapped, and must not be changed while the model lives;
///   bytes in memory      used in place: they must stay, unchanged, while the model or a session of it lives;
///   a FileReader         read once, into memory of inlay's own.
using ModelSource = std::variant<std::string, std::span<const std::byte>, FileReader>;

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
  HostAllocator allocator{};            ///< empty: the system's memory, with huge pages for the weights
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
  /// kNotFound, kIoError, kInvalidModel, kUnsupported, kOutOfMemory, kCancelled, kInvalidArgument.
  [[nodiscard]] static Result<Model> open(const ModelSource& source, const ModelOptions& options = {}) noexcept;

  /// What `open` plus one session of `context_length` positions (0: the trained length) will take. Reads little more
  /// than the header of the file.
  [[nodiscard]] static Result<MemoryEstimate> estimate(const ModelSource& source, std::int32_t context_length = 0,
                                                       const ModelOptions& options = {}) noexcept;

  /// What the file says. Lives as long as this handle.
  [[nodiscard]] const ModelInfo& info() const noexcept;
  /// The keys of the file's metadata, in its order. They live as long as the model.
  [[nodiscard]] Result<std::vector<std::string_view>> metadata_keys() const noexcept;
  /// A value as text: a string as it is, numbers in decimal, "true" or "false", an array as its elements in brackets
  /// with ", " between them, its strings quoted as in JSON. kNotFound.
  [[nodiscard]] Result<std::string> metadata(std::string_view key) const noexcept;
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
