// What the runtime asks of a device: load a plan's weights, run its steps over rows, hold KV pages. Implemented by
// lib/cpu and cuda.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <inlay/device.hpp>
#include <inlay/model.hpp>
#include <inlay/profile.hpp>
#include <inlay/result.hpp>
#include <inlay/sampling.hpp>
#include <inlay/types.hpp>

#include "model/kv_page.hpp"
#include "model/plan.hpp"

namespace inlay {

/// An index into the pages that an executor has reserved.
using PageId = std::int32_t;

/// What a row is evaluated for.
enum class Want : std::uint8_t {
  kKvOnly,  // its keys and values only
  kLogits,  // its logits too
};

/// In which company a token came. A device may evaluate the two kinds in different arithmetic: which of them a row is
/// depends on its session's calls alone, so results stay the same whatever else is in the batch.
enum class RowKind : std::uint8_t {
  kSingle,  // alone: sampled by a step, or the only one of its call
  kBulk,    // with others in one call, as prompts do: there are many, and how many a second is what counts
};

/// Row::token of a pass that follows another one of the same row before the host knows its token: the token that the
/// latest pass chose.
inline constexpr TokenId kChosenBefore = -1;

/// The most rows of a pass that chooses their tokens.
inline constexpr int kMostChoices = 8;

/// How the token behind a row is chosen: as a Sampler of these options does.
struct Choice {
  SamplingOptions sampling;  // without penalties
  std::uint64_t random = 0;  // state of the random stream, ahead of the draw
};

/// Names a pass that an executor has started.
using PassId = std::uint64_t;

/// One token of one sequence.
struct Row {
  TokenId token = 0;
  std::int32_t position = 0;
  std::int32_t sequence = 0;  // index into RowBatch::page_tables
  Want want = Want::kKvOnly;
  RowKind kind = RowKind::kSingle;
};

/// Rows of one forward pass. The rows of a sequence stand in the order of their positions, and all earlier positions of
/// the sequence are in its pages already or in the batch before it.
struct RowBatch {
  std::span<const Row> rows;
  std::span<const std::span<const PageId>> page_tables;    // of each sequence: page i holds positions [64 i, 64 i + 64)
  std::span<const std::atomic<bool>* const> cancels = {};  // set by other threads: nobody wants the results any more

  [[nodiscard]] bool is_cancelled() const noexcept {
    return std::any_of(cancels.begin(), cancels.end(), [](const auto* cancel) { return cancel->load(); });
  }
};

/// How a device lays out the bytes of a page. Numbers are part of saved sessions: never reused.
enum class PageLayout : std::uint32_t { kNone = 0, kCpu = 1, kCuda = 2 };

struct StepOutput {
  std::span<float*> logits;  // for each row that wants them, in row order: where they go, [vocab_size]
};

/// A plan's weights, activations and KV memory on one device. One caller at a time.
class Executor {
 public:
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Evaluates at most `batch_rows` rows. kCancelled when it has noticed a cancel: the rows' pages hold anything then.
  virtual Result<void> forward(const RowBatch& batch, const StepOutput& output) = 0;

  /// Whether `start` works: the device chooses tokens itself, so that passes follow each other without the host.
  [[nodiscard]] virtual bool chooses_tokens() const { return false; }
  /// Starts a pass over at most kMostChoices rows that all want logits, each of another sequence, and returns before it
  /// is done. choices: of each row. The tokens may all be kChosenBefore if the latest pass was one of the same
  /// sequences in the same order, at the positions before, with the same choices: their random streams then go on
  /// behind its draws. Passes run in the order of their calls.
  virtual Result<PassId> start(const RowBatch& batch, std::span<const Choice> choices);
  /// The tokens of a pass, [rows], once it is done; of the latest eight passes that were started.
  virtual Result<void> chosen(PassId pass, std::span<TokenId> tokens);
  /// Of the pass that was started last.
  [[nodiscard]] virtual PassId latest_pass() const { return 0; }

  /// Times the steps of passes over one row that wants logits, as Session::profile says. Its keys and values are
  /// written as in a pass; where its logits go is nobody's. kCancelled as of `forward`; kUnsupported where steps are
  /// not timed.
  virtual Result<PassProfile> profile(const RowBatch& batch);

  /// Makes the pages [0, n_pages) usable. The ids and contents of pages stay. kOutOfMemory leaves the executor as it
  /// was.
  virtual Result<void> reserve_pages(int n_pages) = 0;
  /// Copies a whole page.
  virtual Result<void> copy_page(PageId from, PageId to) = 0;
  /// The bytes of a page, which mean something to executors of the same layout, plan and KV format.
  [[nodiscard]] virtual PageLayout page_layout() const { return PageLayout::kNone; }
  [[nodiscard]] virtual std::size_t page_bytes() const { return 0; }
  /// Copies a whole page, [page_bytes()]. kDeviceError; kUnsupported where the layout is kNone.
  virtual Result<void> read_page(PageId page, std::byte* out);
  virtual Result<void> write_page(PageId page, const std::byte* bytes);
  /// The page's contents are not needed any more: its memory may go back to the system. It stays usable.
  virtual void discard_page(PageId page) = 0;

 protected:
  Executor() = default;
};

/// Tells the callback, if there is one, how much of opening a model is done. kCancelled when it wants to stop.
Result<void> report_progress(const ProgressCallback& progress, float fraction);

/// How a plan is to be run, validated.
struct ExecutorOptions {
  int threads = 1;
  int batch_rows = 1;
  ParallelFor parallel_for = {};
  std::string cpu_isa = {};
  WeightLayout weight_layout = WeightLayout::kRepacked;
  bool may_release_file = false;  // the file's pages may go back to the system behind the matrices that are copied
  int device_index = 0;
  KvFormat kv_format = KvFormat::kF16;
  const HostAllocator* allocator = nullptr;  // outlives the executor
  ProgressCallback progress = {};            // of loading, 0 to 1
};

/// A kind of device. Stateless, thread-safe, lives as long as the process: nothing is left for its end to destroy, so
/// that the library need not register a handler for it.
class Backend {
 public:
  [[nodiscard]] virtual DeviceKind kind() const = 0;
  [[nodiscard]] virtual std::vector<DeviceInfo> devices() const = 0;
  /// The device that `load` would use with these options.
  [[nodiscard]] virtual Result<DeviceInfo> choose_device(const ExecutorOptions& options) const = 0;
  /// Bytes for the weights, the work buffers, and the KV pages of one sequence of `context_length` positions.
  [[nodiscard]] virtual MemoryEstimate estimate(const Plan& plan, int context_length,
                                                const ExecutorOptions& options) const = 0;
  /// `plan`, and the file that it points into, must outlive the executor.
  [[nodiscard]] virtual Result<std::unique_ptr<Executor>> load(const Plan& plan,
                                                               const ExecutorOptions& options) const = 0;

 protected:
  ~Backend() = default;
};

}  // namespace inlay
